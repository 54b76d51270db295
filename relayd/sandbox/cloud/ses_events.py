"""What SES tells about a mail that it took, as JSON: events, and the older notifications of an identity."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from relayd.sandbox.cloud.addresses import domain_of, parse_list
from relayd.sandbox.cloud.calls import ACCOUNT
from relayd.sandbox.cloud.clock import iso

Event = tuple[str, dict[str, Any]]
"""Its type as `eventType` has it, and its own part of the JSON."""

TYPES: Mapping[str, str] = {
    "Send": "SEND",
    "Reject": "REJECT",
    "Bounce": "BOUNCE",
    "Complaint": "COMPLAINT",
    "Delivery": "DELIVERY",
    "Open": "OPEN",
    "Click": "CLICK",
    "Rendering Failure": "RENDERING_FAILURE",
    "DeliveryDelay": "DELIVERY_DELAY",
    "Subscription": "SUBSCRIPTION",
}
"""By `eventType`, how a configuration set's destination asks for it."""
NOTIFIED = ("Bounce", "Complaint", "Delivery")
"""What an identity's topics can be told of."""
MAX_HEADERS = 10 * 1024
"""Bytes of header fields that are told (SES: event record contents, `headersTruncated`)."""

_LISTED = {"to": "to", "cc": "cc", "reply-to": "replyTo"}
_PLAIN = {"date": "date", "subject": "subject"}


@dataclass(frozen=True, slots=True)
class Taken:
    """A mail that SES took, as its events tell of it."""

    message_id: str
    at: float
    source: str
    identity_arn: str
    recipients: Sequence[str]
    headers: Sequence[tuple[str, str]]
    tags: Mapping[str, str]
    configuration_set: str = ""


def event_json(taken: Taken, event: Event) -> str:
    """What a configuration set's destination is told."""
    kind, own = event
    return _text({"eventType": kind, "mail": _mail(taken) | _headers(taken) | {"tags": _tags(taken, kind)}, **own})


def notification_json(taken: Taken, event: Event, *, with_headers: bool) -> str:
    """What an identity's topic is told: `notificationType` instead of `eventType`, and never a tag."""
    kind, own = event
    mail = _mail(taken) | {"sourceIp": "127.0.0.1", "callerIdentity": "relayd"}
    return _text({"notificationType": kind, **own, "mail": mail | (_headers(taken) if with_headers else {})})


def subscribed_json(kind: str, identity: str, topic_arn: str) -> str:
    """What a topic is told first when an identity's notifications are to go there."""
    text = (
        f"You have successfully subscribed your Amazon SNS topic '{topic_arn}' to receive '{kind}' notifications from "
        f"Amazon SES for identity '{identity}'."
    )
    return _text({"notificationType": "AmazonSnsSubscriptionSucceeded", "message": text})


def feedback_id(taken: Taken, kind: str, recipient: str) -> str:
    """An id of SES's form: the same each time that the same event is told, another one for every other event."""
    found = hashlib.sha256(f"{taken.message_id} {kind} {recipient}".encode()).hexdigest()
    return f"{found[:16]}-{found[16:24]}-{found[24:28]}-{found[28:32]}-{found[32:36]}-{found[36:48]}-000000"


def _text(told: Mapping[str, Any]) -> str:
    # SES ends its messages with a line feed.
    return json.dumps(told) + "\n"


def _mail(taken: Taken) -> dict[str, Any]:
    return {
        "timestamp": iso(taken.at),
        "source": taken.source,
        "sourceArn": taken.identity_arn,
        "sendingAccountId": ACCOUNT,
        "messageId": taken.message_id,
        "destination": list(taken.recipients),
    }


def _headers(taken: Taken) -> dict[str, Any]:
    kept: list[tuple[str, str]] = []
    total = 0
    for name, value in taken.headers:
        total += len(name) + len(value)
        if total > MAX_HEADERS:
            break
        kept.append((name, value))
    common: dict[str, Any] = {"messageId": taken.message_id}
    for name, value in kept:
        lower = name.lower()
        if lower == "from":
            common["from"] = [value]
        elif lower in _LISTED:
            common[_LISTED[lower]] = parse_list(value)
        elif lower in _PLAIN:
            common[_PLAIN[lower]] = value
    return {
        "headersTruncated": len(kept) < len(taken.headers),
        "headers": [{"name": name, "value": value} for name, value in kept],
        "commonHeaders": common,
    }


def _tags(taken: Taken, kind: str) -> dict[str, list[str]]:
    own = {
        "ses:source-tls-version": "TLSv1.3",
        "ses:operation": "SendEmail",
        "ses:configuration-set": taken.configuration_set,
        "ses:source-ip": "127.0.0.1",
        "ses:from-domain": domain_of(taken.source),
        "ses:sender-identity": taken.identity_arn.rpartition("/")[2],
        "ses:caller-identity": "relayd",
        **({"ses:outgoing-ip": "127.0.0.1"} if kind == "Delivery" else {}),
    }
    return {name: [value] for name, value in (own | dict(taken.tags)).items()}
