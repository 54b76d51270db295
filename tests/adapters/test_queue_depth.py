"""The counts of a queue: from the embedded AWS, from moto, and when SQS does not answer as it should."""

from typing import Any

import pytest

from relayd.adapters.queue_depth import QueueDepth, depth
from relayd.errors import HoldError, RelaydError, TransientError
from tests.adapters.scripted_server import Hang, Reset, ScriptedServer, Step, json_error
from tests.adapters.test_sqs import URL, answer, sqs
from tests.cloud.server import EmbeddedServer
from tests.contract.moto_server import MotoServer


def fill(client: Any, url: str) -> None:
    """Three visible, two delayed, one in flight."""
    for number in range(4):
        client.send_message(QueueUrl=url, MessageBody=str(number))
    for number in range(2):
        client.send_message(QueueUrl=url, MessageBody=str(number), DelaySeconds=60)
    client.receive_message(QueueUrl=url, MaxNumberOfMessages=1)


def test_the_embedded_aws(embedded: EmbeddedServer) -> None:
    """Each kind in its own count."""
    url = embedded.new_queue()[0]
    assert depth(embedded.sqs, url) == QueueDepth(0, 0, 0)
    fill(embedded.sqs, url)
    found = depth(embedded.sqs, url)
    assert (found, found.total) == (QueueDepth(3, 2, 1), 6)


def test_moto(moto: MotoServer) -> None:
    """The second implementation agrees."""
    client = sqs(moto.endpoint)
    url = client.create_queue(QueueName="depth")["QueueUrl"]
    fill(client, url)
    assert depth(client, url) == QueueDepth(3, 2, 1)


def test_a_count_that_is_left_out_is_none() -> None:
    """Some emulators know nothing of delayed messages."""
    with ScriptedServer(answer(Attributes={"ApproximateNumberOfMessages": "7"})) as server:
        assert depth(sqs(server.endpoint), URL) == QueueDepth(7, 0, 0)


@pytest.mark.parametrize(
    ("step", "kind", "reason"),
    [
        (json_error(400, "com.amazonaws.sqs#QueueDoesNotExist"), HoldError, "queue_missing"),
        (json_error(403, "AccessDenied"), HoldError, "access_denied"),
        (json_error(400, "RequestThrottled"), TransientError, "queue_throttled"),
        (Reset(after_request=True), TransientError, "queue_unreachable"),
        (Hang(after_request=True), TransientError, "queue_timeout"),
    ],
)
def test_errors_are_ours(step: Step, kind: type[RelaydError], reason: str) -> None:
    """As of any other call of SQS."""
    with ScriptedServer(step) as server, pytest.raises(kind) as caught:
        depth(sqs(server.endpoint, read=0.3), URL)
    assert caught.value.reason == reason
