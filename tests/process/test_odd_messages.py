"""Five hundred odd messages beside a hundred good mails: each odd one dead-lettered with a reason, nothing fetched."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.process.cloud import Cloud, eventually

pytestmark = pytest.mark.process

ODD = 500
GOOD = 100

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)


def is_sendable(text: str) -> bool:
    """What SQS takes as a body: not empty, and no characters that XML 1.0 has none of."""
    return bool(text) and all(
        c in "\t\n\r" or "\x20" <= c <= "\ud7ff" or "\ue000" <= c <= "\ufffd" or c >= "\U00010000" for c in text
    )


def made(count: int, envelope: dict[str, Any], inner: dict[str, Any]) -> list[str]:
    """Bodies that hypothesis thinks of: any text, any JSON, and a good notification with one thing wrong."""
    found: dict[str, None] = {}

    @settings(max_examples=count * 4, derandomize=True, database=None, deadline=None)
    @given(st.data())
    def collect(data: st.DataObject) -> None:
        kind = data.draw(st.sampled_from(["text", "json", "envelope", "inner"]))
        if kind == "text":
            body = data.draw(st.text(min_size=1, max_size=200))
        elif kind == "json":
            body = json.dumps(data.draw(json_values))
        elif kind == "envelope":
            name = data.draw(st.sampled_from(["Type", "Message", "TopicArn"]))
            body = json.dumps({**envelope, name: data.draw(json_values)})
        else:
            name = data.draw(st.sampled_from(["notificationType", "mail", "receipt"]))
            body = json.dumps({**envelope, "Message": json.dumps({**inner, name: data.draw(json_values)})})
        if is_sendable(body) and len(found) < count:
            found[body] = None

    collect()
    return list(found)


def hand_made(cloud: Cloud, envelope: dict[str, Any], inner: dict[str, Any]) -> list[str]:
    """What an attacker or a wrong subscription would put there."""

    def enveloped(**changes: Any) -> str:
        return json.dumps({**envelope, "Message": json.dumps({**inner, **changes})})

    foreign = {**inner["receipt"], "action": {**inner["receipt"]["action"], "bucketName": "somebody-elses"}}
    return [
        "{" * 50_000,
        "[" * 100_000,
        '{"Type":' * 1000,
        json.dumps(inner),
        json.dumps({**envelope, "TopicArn": "arn:aws:sns:us-east-1:999999999999:theirs"}),
        json.dumps({**envelope, "Signature": base64.b64encode(b"x" * 256).decode()}),
        json.dumps({**envelope, "SignatureVersion": "9"}),
        json.dumps({**envelope, "SigningCertURL": "https://sns.us-east-1.amazonaws.com.evil.example/x.pem"}),
        json.dumps({**envelope, "SigningCertURL": "http://169.254.169.254/latest/meta-data"}),
        enveloped(receipt=foreign),
        enveloped(notificationType="Sent"),
        enveloped(mail={**inner["mail"], "messageId": "../../etc/passwd"}),
        "1e999999",
        '"' + "\\u0000" * 1000 + '"',
        "A" * 250_000,
    ]


def test_odd_messages_beside_good_mail(cloud: Cloud) -> None:
    """All good mails are forwarded, all odd messages dead-lettered with a reason, and the daemon is up throughout."""
    cloud.add_mask()
    # A real envelope to spoil: one that the embedded SNS signed, taken from the queue before relayd starts.
    cloud.mail(9999)
    taken = cloud.clients.sqs.receive_message(QueueUrl=cloud.world.queue_url, WaitTimeSeconds=5)["Messages"][0]
    cloud.clients.sqs.delete_message(QueueUrl=cloud.world.queue_url, ReceiptHandle=taken["ReceiptHandle"])
    envelope = json.loads(taken["Body"])
    inner = json.loads(envelope["Message"])
    odd = hand_made(cloud, envelope, inner)
    odd += made(ODD - len(odd), envelope, inner)
    assert len(odd) == ODD
    daemon = cloud.daemon(RELAYD_CONCURRENCY="16")
    for number, body in enumerate(odd):
        cloud.clients.sqs.send_message(QueueUrl=cloud.world.queue_url, MessageBody=body)
        if number % (ODD // GOOD) == 0:
            cloud.mail(number)
            assert daemon.get("/livez")[0] == 200
    assert eventually(lambda: len(cloud.sent()) == GOOD, 60)
    assert eventually(lambda: cloud.queued() == (0, 0), 60)
    assert daemon.get("/livez")[0] == 200
    assert daemon.stop() == 0
    letters = cloud.dead_letters()
    assert sorted(letter["Body"] for letter in letters) == sorted(odd)
    reasons = {letter["MessageAttributes"]["relayd-reason"]["StringValue"] for letter in letters}
    assert {"not_json", "unknown_shape", "forged_signature", "foreign_certificate"} <= reasons
    assert set(cloud.sends_of_each_mail().values()) == {1}
    # One look at the bucket at the start, and one fetch for each good mail: nothing was fetched for an odd one.
    assert cloud.s3.passed == 1 + GOOD
