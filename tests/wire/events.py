"""SES's events as SES writes them, made to measure for a test."""

import json
from typing import Any

from relayd.model.feedback import Feedback
from relayd.wire.ses import read_notification

SES_ID = "0102018f3a7c5d1e-1b2c3d4e-0000-4444-8888-123456789abc-000000"
DELIVERY = "0123456789abcdef0123"
FEEDBACK_ID = "0102018f3a7c6666-aaaa1111-bbbb-cccc-dddd-eeeeffff0000-000000"
ADDRESS = "me@home.example"
SENT_AT, BOUNCED_AT = 1714611245.0, 1714611250.25


def event(name: str, part: str, said: dict[str, Any] | None = None, *, shape: str = "eventType", **mail: Any) -> Any:
    """An event of this type, as SES writes it; None removes a field of `mail`."""
    fields: dict[str, Any] = {
        "timestamp": "2024-05-02T00:54:05.000Z",
        "messageId": SES_ID,
        "source": "token@mask.example",
        "sendingAccountId": "123456789012",
        "destination": [ADDRESS],
        "headersTruncated": False,
        "headers": [{"name": "Subject", "value": "hi"}],
        "commonHeaders": {"subject": "hi", "messageId": "another"},
        **(
            {"tags": {"relayd-delivery": [f"{DELIVERY}-2"], "ses:outgoing-ip": ["192.0.2.1"]}}
            if shape[0] == "e"
            else {}
        ),
        **mail,
    }
    return {
        shape: name,
        "mail": {key: value for key, value in fields.items() if value is not None},
        part: {"timestamp": "2024-05-02T00:54:10.250Z", **(said or {})},
    }


def bounce(subtype: str = "General", kind: str = "Permanent", /, *, shape: str = "eventType", **recipient: Any) -> Any:
    recipient = {"emailAddress": ADDRESS, "action": "failed", "status": "5.1.1", **recipient}
    said = {"bounceType": kind, "bounceSubType": subtype, "bouncedRecipients": [recipient], "feedbackId": FEEDBACK_ID}
    return event("Bounce", "bounce", said, shape=shape)


def feedback_of(fields: Any) -> Feedback:
    notification = read_notification(json.dumps(fields))
    assert isinstance(notification, Feedback)
    return notification
