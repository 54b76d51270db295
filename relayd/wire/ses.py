"""SES's notifications: what was received, for whom, what SES found, and where the mail lies.

What SES tells about mail that we sent is read by `relayd.wire.feedback`.
"""

import base64
import re
from collections.abc import Mapping
from typing import Literal

from relayd.errors import PermanentError
from relayd.model.notification import (
    Envelope,
    InlineContent,
    Notice,
    Notification,
    Received,
    S3Content,
    Verdict,
    Verdicts,
)
from relayd.wire import feedback
from relayd.wire.shape import Shape, parse_object, seconds
from relayd.wire.sns import TOPIC_VALIDATED

MAX_RECIPIENTS = 1000
"""Of one mail. SMTP servers must take 100 (RFC 5321, 4.5.3.1.8) and SES names no limit; each one is a Delivery."""
MAX_HEADERS = 2000
"""Fields kept. SES itself cuts at 10 KB, which holds fewer; a longer list counts as truncated."""
MAX_KEY = 1024
"""Bytes of an S3 object key."""

_NOTICES: Mapping[str, str] = {
    "SubscriptionConfirmation": "subscription_confirmation",
    "UnsubscribeConfirmation": "unsubscribe_confirmation",
    "AmazonSnsSubscriptionSucceeded": "setup_notification",
}
"""SNS's `Type` and SES's `notificationType` where they bring no mail: the kind of Notice."""
_SETUP_OBJECT = "AMAZON_SES_SETUP_NOTIFICATION"
"""The object that SES writes, below the rule's key prefix, when an S3 action is set up."""

_VERDICTS: Mapping[str, Verdict] = {
    "PASS": "PASS",
    "FAIL": "FAIL",
    "GRAY": "GRAY",
    "PROCESSING_FAILED": "PROCESSING_FAILED",
    "DISABLED": "DISABLED",
}
_POLICIES: Mapping[str, Literal["none", "quarantine", "reject"]] = {
    "none": "none",
    "quarantine": "quarantine",
    "reject": "reject",
}
# The bucket becomes part of a request's host or path.
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def read(envelope: Envelope) -> Notification:
    """What an envelope brought. Confirmations are told by the envelope, all else by the text in it."""
    if envelope.kind in ("SubscriptionConfirmation", "UnsubscribeConfirmation"):
        return Notice(_NOTICES[envelope.kind])
    return read_notification(envelope.text)


def read_notification(text: str) -> Notification:
    """Read what SES (or S3, for its test event) published. Raises PermanentError with the place, never the value."""
    if text.strip() == TOPIC_VALIDATED:
        return Notice("setup_notification")
    root = parse_object(text, "notification")
    if root.has("notificationType"):
        kind = root.text("notificationType")
        if kind == "Received":
            return _received(root)
        if kind in _NOTICES and not kind.endswith("Confirmation"):
            return Notice(_NOTICES[kind])
        if feedback.knows(kind):
            return feedback.read_event(root, kind)
        raise PermanentError("unknown_type", "notificationType")
    if root.has("eventType"):
        # Event publishing. SES adds types from time to time; none of them brings a mail, so none is refused.
        return feedback.read_event(root, root.text("eventType"))
    if root.has("Event") and root.text("Event") == "s3:TestEvent":
        return Notice("test_event")
    raise PermanentError("unknown_type", "notification")


def _received(root: Shape) -> Notification:
    mail, receipt = root.nested("mail"), root.nested("receipt")
    content = _content(root, receipt.nested("action"))
    if isinstance(content, S3Content) and content.key.rpartition("/")[2] == _SETUP_OBJECT:
        return Notice("setup_notification")
    mail_id = mail.identifier("messageId")
    source = mail.lenient_text("source").strip()
    headers, truncated = _headers(mail)
    return Received(
        mail_id,
        source="" if source == "<>" else source,
        recipients=_recipients(receipt),
        verdicts=_verdicts(receipt),
        headers=headers,
        headers_truncated=truncated,
        content=content,
        received_at=seconds(mail.fields.get("timestamp")),
    )


def _content(root: Shape, action: Shape) -> S3Content | InlineContent:
    kind = action.text("type")
    if kind == "S3":
        return _s3_content(action)
    if kind == "SNS":
        return InlineContent(_inline(root, action))
    raise PermanentError("unknown_action", action.place("type"))


def _s3_content(action: Shape) -> S3Content:
    bucket, key = action.text("bucketName"), action.text("objectKey")
    if not _BUCKET.fullmatch(bucket):
        raise action.malformed("bucketName")
    # HTTP clients resolve dot segments: `../` would lead out of the bucket, past the list of allowed ones.
    dots = any(part in (".", "..") for part in key.split("/"))
    if not key or len(key.encode()) > MAX_KEY or _CONTROL.search(key) or dots:
        raise action.malformed("objectKey")
    return S3Content(bucket, key)


def _inline(root: Shape, action: Shape) -> bytes:
    content = root.text("content")
    # SES's API writes `UTF-8` and `Base64`, its notifications `UTF8` and `BASE64`. Absent means the API's default.
    encoding = action.text("encoding") if action.has("encoding") else "UTF-8"
    match encoding.upper().replace("-", ""):
        case "UTF8":
            return content.encode()
        case "BASE64":
            try:
                return base64.b64decode(content.replace("\r", "").replace("\n", ""), validate=True)
            except ValueError:
                raise PermanentError("bad_base64", "content") from None
        case _:
            raise PermanentError("unknown_encoding", action.place("encoding"))


def _recipients(receipt: Shape) -> tuple[str, ...]:
    """The SMTP envelope's. `mail.destination` is not read: it repeats the headers, where a Bcc is missing."""
    recipients = receipt.array("recipients")
    if len(recipients) > MAX_RECIPIENTS:
        raise PermanentError("too_many_recipients", receipt.place("recipients"))
    elements = {f"recipients[{index}]": value for index, value in enumerate(recipients)}
    shape = Shape(elements, receipt.noun, receipt.path)
    return tuple(shape.text(name) for name in elements)


def _headers(mail: Shape) -> tuple[tuple[tuple[str, str], ...], bool]:
    """The header fields, and whether there may be more: anything but a plain `false` asks for a second look."""
    if not mail.has("headers"):
        return (), True
    headers = tuple(
        (field.lenient_text("name"), field.lenient_text("value")) for field in mail.objects("headers", MAX_HEADERS)
    )
    complete = mail.fields.get("headersTruncated") is False and len(mail.array("headers")) <= MAX_HEADERS
    return headers, not complete


def _verdicts(receipt: Shape) -> Verdicts:
    policy = receipt.text("dmarcPolicy") if receipt.has("dmarcPolicy") else ""
    return Verdicts(
        spam=_verdict(receipt, "spamVerdict"),
        virus=_verdict(receipt, "virusVerdict"),
        spf=_verdict(receipt, "spfVerdict"),
        dkim=_verdict(receipt, "dkimVerdict"),
        dmarc=_verdict(receipt, "dmarcVerdict"),
        dmarc_policy=_POLICIES.get(policy.lower()),
    )


def _verdict(receipt: Shape, name: str) -> Verdict:
    if not receipt.has(name):
        return "ABSENT"
    return _VERDICTS.get(receipt.nested(name).text("status").upper(), "ABSENT")
