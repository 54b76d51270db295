"""The embedded AWS in a process of its own, once per session, with clients as the suites know them from moto."""

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config

from relayd.sandbox.cloud.client import EmbeddedAws
from tests.contract.moto_server import MotoServer, fake_session


class EmbeddedServer(MotoServer):
    """Where it is, clients for it, and its own ways of being controlled."""

    def __init__(self, aws: EmbeddedAws) -> None:
        super().__init__(aws.endpoint)
        self.aws = aws
        made: Any = boto3.Session(botocore_session=fake_session())
        # Retries would hide faults, and wait.
        common = {"endpoint_url": aws.endpoint, "config": Config(retries={"total_max_attempts": 1})}
        self.sqs, self.s3, self.ses = (made.client(name, **common) for name in ("sqs", "s3", "sesv2"))
        self.sns: Any = made.client("sns", **common)
        self.sts: Any = made.client("sts", **common)

    def sent_mails(self) -> list[dict[str, Any]]:
        sent: list[dict[str, Any]] = []
        while page := self.aws.sent(len(sent)):
            sent += [{"source": s.sender, "destinations": list(s.recipients), "raw_data": s.data} for s in page]
        return sent

    def attributes(self, url: str) -> dict[str, str]:
        found: dict[str, str] = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        return found


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    log = tmp_path_factory.mktemp("embedded") / "aws.log"
    aws = EmbeddedAws(log)
    yield EmbeddedServer(aws)
    aws.stop()
    # It writes only when it has met something that it did not foresee.
    assert log.read_text() == ""
