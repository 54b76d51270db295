"""SES's `Received` notification in a short form: what it takes to forward a mail later, and to tell a person of it."""

import json
from collections.abc import Iterator
from typing import Any

from relayd.errors import PermanentError
from relayd.model.notification import Received, Verdicts
from relayd.wire.ses import MAX_HEADERS, read_notification
from relayd.wire.shape import Shape, parse_object

LONGEST = 500
"""Characters kept of From and of Subject."""
_LONGEST_TIMESTAMP = 64
"""Characters. SES writes 24; what is far longer is no time."""


def compact(text: str, recipient: str) -> str:
    """The notification for this recipient alone, in ASCII, without the header and what nobody asks for.

    `ses.read_notification` reads the same from it but for that: id, source, verdicts, content and time. The header
    counts as cut off, so that the mail's own is looked at. Raises PermanentError as `ses.read_notification` does, and
    for a notification that brings no mail.
    """
    received = read_notification(text)
    if not isinstance(received, Received):
        raise PermanentError("unknown_type", "notificationType")
    root = parse_object(text, "notification")
    mail, receipt = root.nested("mail"), root.nested("receipt")
    action = receipt.nested("action")
    sender, subject = _told(mail)
    short: dict[str, Any] = {
        "notificationType": "Received",
        "mail": {
            **_timestamp(mail),
            "source": received.source,
            "messageId": received.mail_id,
            "headersTruncated": True,
            "commonHeaders": {"from": [sender[:LONGEST]], "subject": subject[:LONGEST]},
        },
        "receipt": {
            **_timestamp(receipt),
            "recipients": [recipient],
            **_verdicts(received.verdicts),
            "action": {
                name: action.text(name) for name in ("type", "bucketName", "objectKey", "encoding") if action.has(name)
            },
        },
    }
    if action.text("type") == "SNS":
        short["content"] = root.text("content")
    return json.dumps(short)


def sender_and_subject(text: str) -> tuple[str, str]:
    """Who a mail is from and what it is about, each one visible line of `LONGEST` characters at most; empty where it
    does not say. Encoded words are left as they are: SES decodes those that it can.

    Raises PermanentError for what is no JSON object.
    """
    root = parse_object(text, "notification")
    mail = root.nested("mail") if isinstance(root.fields.get("mail"), dict) else Shape({}, "notification")
    sender, subject = _told(mail)
    return _one_line(sender), _one_line(subject)


def _told(mail: Shape) -> tuple[str, str]:
    common = mail.fields.get("commonHeaders")
    fields: dict[str, object] = common if isinstance(common, dict) else {}
    senders = fields.get("from")
    sender = senders[0] if isinstance(senders, list) and senders else None
    return (
        _text(sender) or _header(mail, "from") or _text(mail.fields.get("source")),
        _text(fields.get("subject")) or _header(mail, "subject"),
    )


def _header(mail: Shape, name: str) -> str:
    return next((value for found, value in _headers(mail) if found.lower() == name), "")


def _headers(mail: Shape) -> Iterator[tuple[str, str]]:
    headers = mail.fields.get("headers")
    for header in headers[:MAX_HEADERS] if isinstance(headers, list) else ():
        if isinstance(header, dict):
            yield _text(header.get("name")), _text(header.get("value"))


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _one_line(text: str) -> str:
    """Without controls, marks that turn the direction of what follows, and halves of surrogate pairs."""
    shown = "".join(c if c.isprintable() else " " for c in text[: 4 * LONGEST])
    return " ".join(shown.split())[:LONGEST]


def _timestamp(shape: Shape) -> dict[str, str]:
    moment = shape.fields.get("timestamp")
    return {"timestamp": moment} if isinstance(moment, str) and len(moment) <= _LONGEST_TIMESTAMP else {}


def _verdicts(verdicts: Verdicts) -> dict[str, Any]:
    named = {
        "spamVerdict": verdicts.spam,
        "virusVerdict": verdicts.virus,
        "spfVerdict": verdicts.spf,
        "dkimVerdict": verdicts.dkim,
        "dmarcVerdict": verdicts.dmarc,
    }
    told: dict[str, Any] = {name: {"status": verdict} for name, verdict in named.items() if verdict != "ABSENT"}
    if verdicts.dmarc_policy is not None:
        told["dmarcPolicy"] = verdicts.dmarc_policy
    return told
