"""SES's events about mail that we sent, in both of its shapes: notifications of an identity (`notificationType`) and
event publishing of a configuration set (`eventType`).

SES adds fields and types at will, so whatever is odd or missing costs no more than itself: but an event that acts on
a mail must say on which.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from relayd.model.address import MAX_ADDRESS, Address
from relayd.model.delivery import DELIVERY_TAG
from relayd.model.feedback import Affected, Feedback, FeedbackKind
from relayd.wire.diagnostics import says_spam
from relayd.wire.shape import Shape, is_identifier, is_unicode, seconds

MAX_AFFECTED = 50
"""Recipients of one event. SES takes 50 a mail, and relayd sends each mail to one."""
MAX_MAILBOX = 2 * MAX_ADDRESS
"""Characters of an address with its display name."""


@dataclass(frozen=True, slots=True)
class _Form:
    """Where one type of event keeps what it says."""

    kind: FeedbackKind
    part: str
    """The object beside `mail`."""
    recipients: str = ""
    """The part's list of recipients; empty where the event is about all that the mail was sent to."""


_FORMS: Mapping[str, _Form] = {
    "Send": _Form("send", "send"),
    "Delivery": _Form("delivery", "delivery", "recipients"),
    "DeliveryDelay": _Form("delay", "deliveryDelay", "delayedRecipients"),
    "Bounce": _Form("bounce", "bounce", "bouncedRecipients"),
    "Complaint": _Form("complaint", "complaint", "complainedRecipients"),
    "Reject": _Form("reject", "reject"),
    # With a space in what SES writes, without one in the names of its API.
    "RenderingFailure": _Form("rendering_failure", "failure"),
}
"""By SES's name for the type, without spaces."""

_STATUS = re.compile(r"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?![0-9.])")
_WORD = re.compile(r"[A-Za-z-]{1,64}")
_TAG = re.compile(r"([0-9a-f]{8,64})-([1-9][0-9]{0,8})")


def knows(event_type: str) -> bool:
    """Whether the type is one that relayd acts on or passes over knowingly."""
    return event_type.replace(" ", "") in _FORMS


def read_event(root: Shape, event_type: str) -> Feedback:
    """Read an event. Raises PermanentError where one of a known type does not name its mail.

    `bounce_type` and `bounce_subtype` of a complaint are its `complaintFeedbackType` and `complaintSubType`.
    """
    name = event_type.replace(" ", "")
    form = _FORMS.get(name) or _Form("other", name[:1].lower() + name[1:])
    mail, part = _object(root.fields.get("mail")), _object(root.fields.get(form.part))
    ses_id = _ses_id(root, mail, form.kind)
    recipients = part.get(form.recipients) if form.recipients else mail.get("destination")
    # SES gives some events no time of their own; what they tell happened as the mail was sent.
    timestamp = _text(part.get("timestamp")) or _text(mail.get("timestamp"))
    delivery_id, attempt = _tag(mail)
    return Feedback(
        form.kind,
        feedback_id=_feedback_id(part, [ses_id, name, timestamp, *_named(recipients)]),
        ses_id=ses_id,
        delivery_id=delivery_id,
        attempt=attempt,
        affected=tuple(_affected(recipients)),
        bounce_type=_word(part, "bounceType", "complaintFeedbackType"),
        bounce_subtype=_word(part, "bounceSubType", "complaintSubType"),
        at=seconds(timestamp),
    )


def _ses_id(root: Shape, mail: Mapping[str, object], kind: FeedbackKind) -> str:
    if kind == "other":
        # Nothing follows from it, so there is nothing to refuse it for.
        ses_id = _text(mail.get("messageId"))
        return ses_id if is_identifier(ses_id) else ""
    return root.nested("mail").identifier("messageId")


def _tag(mail: Mapping[str, object]) -> tuple[str | None, int | None]:
    """The delivery and the attempt that the mail was tagged with; an identity's notifications know no tags."""
    for value in _list(_object(mail.get("tags")).get(DELIVERY_TAG)):
        found = _TAG.fullmatch(_text(value))
        if found is not None:
            return found[1], int(found[2])
    return None, None


def _feedback_id(part: Mapping[str, object], what: list[str]) -> str:
    """SES's own id, or a hash of what makes two events the same: both shapes of one event have the same."""
    ses_own = _text(part.get("feedbackId"))
    return ses_own if is_identifier(ses_own) else hashlib.sha256(json.dumps(what).encode()).hexdigest()


def _affected(recipients: object) -> Iterator[Affected]:
    for value in _list(recipients)[:MAX_AFFECTED]:
        recipient = _object(value)
        status = _STATUS.match(_text(recipient.get("status")).lstrip())
        code = status[1] if status else ""
        yield Affected(
            _address(_name_of(value)),
            code,
            says_spam=says_spam(_text(recipient.get("diagnosticCode")), code),
        )


def _named(recipients: object) -> list[str]:
    return sorted(_name_of(value).lower() for value in _list(recipients)[:MAX_AFFECTED])


def _name_of(recipient: object) -> str:
    return _text(recipient) or _text(_object(recipient).get("emailAddress"))


def _address(text: str) -> Address | None:
    """`local@domain`, with or without a display name, a DSN's address type or stray brackets; None for all else."""
    if len(text) > MAX_MAILBOX or not is_unicode(text):
        return None
    inner = text.rpartition("<")[2].partition(">")[0].strip()
    try:
        return Address.parse(inner[7:] if inner[:7].lower() == "rfc822;" else inner)
    except ValueError:
        return None


def _word(part: Mapping[str, object], *names: str) -> str:
    """The first of the fields that is there, if it is one of SES's words: they stand in logs, so no text may."""
    word = next((text for name in names if (text := _text(part.get(name)))), "")
    return word if _WORD.fullmatch(word) else ""


def _object(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[object]:
    """A list as it is; a single text as a list of one."""
    if isinstance(value, str):
        return [value]
    return value if isinstance(value, list) else []


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
