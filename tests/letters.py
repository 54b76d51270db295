"""Dead letters made to measure, and the records of them."""

import json
from collections.abc import Mapping
from typing import Any

from relayd.adapters.dead_letter_queue import Attribute, ReceivedLetter
from relayd.adapters.dead_letters import fitting_attributes
from relayd.model.message import Message
from relayd.ops.archive_record import Record
from relayd.ops.letter_facts import DeadLetter, letter_of
from tests.wire.samples import envelope, received_text

FIRST_RECEIVED = 1_700_000_000.0
FAILED = 1_700_000_600.0
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


def sent_attributes(
    reason: str = "not_json", message_id: str = "m1", own: Mapping[str, str] | None = None, **message: Any
) -> dict[str, dict[str, str]]:
    """The attributes with which relayd dead-letters a message, as SQS takes them."""
    made = Message(message_id, "h", "b", attributes=own or {}, **{"first_received_at": FIRST_RECEIVED, **message})
    found: dict[str, dict[str, str]] = fitting_attributes(made, reason, "why it is so")
    return found


def received_letter(
    body: str = "body",
    reason: str = "not_json",
    message_id: str = "m1",
    *,
    sqs_id: str = "d1",
    own: Mapping[str, str] | None = None,
    source_arn: str | None = None,
    trace_header: str | None = None,
    receive_count: int = 1,
) -> ReceivedLetter:
    """A receive of a letter as relayd makes it, under `sqs_id` in the dead-letter queue."""
    sent = sent_attributes(reason, message_id, own, receive_count=receive_count) if reason else {}
    attributes = {name: Attribute(value["DataType"], value["StringValue"]) for name, value in sent.items()}
    texts = {name: str(value.value) for name, value in attributes.items() if value.kind == "String"}
    message = Message(sqs_id, f"handle-{sqs_id}", body, sent_at=FAILED, attributes=texts, trace_header=trace_header)
    return ReceivedLetter(message, attributes, source_arn)


def letter(*args: Any, **facts: Any) -> DeadLetter:
    """See `received_letter`."""
    return letter_of(received_letter(*args, **facts))


def record(*args: Any, **facts: Any) -> Record:
    """The record of such a letter."""
    return Record(letter(*args, **facts), "mail-dead", 1_700_001_000.5, mail_id="mail1", trace_ids=(TRACE,))


def mail_body(key: str = "in/mail1", mail_id: str = "mail1", bucket: str = "incoming-mail") -> str:
    """An SNS envelope about a mail in S3."""
    action = {"type": "S3", "bucketName": bucket, "objectKey": key}
    return json.dumps(envelope(received_text(mail={"messageId": mail_id}, receipt={"action": action})))
