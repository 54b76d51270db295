"""A moto server in a process of its own, once per test session, for the contract suites of the real adapters."""

import json
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.session import Session

from relayd.adapters.aws import Timeouts, client, new_session

REGION = "eu-west-1"
TIMEOUTS = Timeouts(connect=2.0, read=10.0)

# It ends when its standard input does: also when the tests are killed.
_SERVER = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""


class MotoServer:
    """Where it is, and clients for it."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.session = fake_session()
        """For relayd's clients: made-up credentials, whatever the environment says."""
        self._clients: dict[str, Any] = {}
        self._boto3 = boto3.Session(botocore_session=fake_session())
        self.sqs: Any = self._boto3.client("sqs", endpoint_url=endpoint)
        self.s3: Any = self._boto3.client("s3", endpoint_url=endpoint)
        self.ses: Any = self._boto3.client("sesv2", endpoint_url=endpoint)

    def relayd_client(self, service: Any) -> Any:
        """A client as relayd builds it; the same one for every test."""
        if service not in self._clients:
            self._clients[service] = client(
                service, pool=4, timeouts=TIMEOUTS, session=self.session, endpoint=self.endpoint
            )
        return self._clients[service]

    def new_queue(self, *, max_receive_count: int = 1000) -> tuple[str, str]:
        """URLs of a new queue and of its dead-letter queue."""
        name = f"mail-{uuid.uuid4().hex[:12]}"
        dead_url = self.sqs.create_queue(QueueName=f"{name}-dead")["QueueUrl"]
        arn = self.sqs.get_queue_attributes(QueueUrl=dead_url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        redrive = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": max_receive_count})
        attributes = {"RedrivePolicy": redrive, "VisibilityTimeout": "45"}
        return self.sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"], dead_url

    def new_bucket(self) -> str:
        name = f"mail-{uuid.uuid4().hex[:12]}"
        self.s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
        return name

    def sent_mails(self) -> list[dict[str, Any]]:
        """What SES took, as moto remembers it."""
        with urllib.request.urlopen(f"{self.endpoint}/moto-api/data.json", timeout=5) as answer:
            data = json.load(answer)
        mails: list[dict[str, Any]] = data.get("ses", {}).get("RawMessage", [])
        return mails


def fake_session() -> Session:
    """A botocore session that asks nothing of its surroundings."""
    made = new_session()
    made.set_credentials("test", "test")
    made.set_config_variable("region", REGION)
    return made


@pytest.fixture(scope="session")
def moto() -> Iterator[MotoServer]:
    with subprocess.Popen(
        [sys.executable, "-c", _SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            port = int(process.stdout.readline())
            yield MotoServer(f"http://127.0.0.1:{port}")
        finally:
            process.stdin.close()
            process.wait(timeout=10)
