"""The record of one dead letter in an archive: its form, its name, and what makes two of them the same."""

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from relayd.adapters.dead_letter_queue import Attribute
from relayd.errors import PermanentError
from relayd.model.message import Message
from relayd.ops.letter_facts import DeadLetter
from relayd.wire.shape import Shape, parse_object, seconds

VERSION = 1
SUFFIX = ".json"
MAIL_SUFFIX = ".eml"
MAX_BYTES = 16 * 1024 * 1024
"""Of a record. A message has 1 MiB, and JSON may spell a byte of it with six."""

ARCHIVED = "archived"
GONE = "gone"
NO_MAIL = "no_mail"

_SAFE_ID = re.compile(r"[A-Za-z0-9_-]{1,80}")
"""What may be a file's name anywhere; SQS's own ids are such."""
_DIGITS = 16
"""Hexadecimal digits of the digest in a name: they only have to tell apart what has the same id."""
_NOUN = "record"


@dataclass(frozen=True, slots=True)
class RawMail:
    """What became of the raw mail when the archive was asked for it."""

    state: str
    """`archived`: it lies beside the record. `gone`: the bucket does not have it any more. `no_mail`: the letter is
    about none, or cannot be read. Anything else is the reason why the mail can never be had.
    """
    size: int = 0
    """Bytes."""


@dataclass(frozen=True, slots=True)
class Record:
    """A dead letter, and what was found out about it when it was archived. Times are seconds since the epoch, 0 when
    not known.
    """

    letter: DeadLetter
    queue: str
    """The dead-letter queue's short name."""
    archived_at: float
    mail_id: str | None = None
    """SES's; None where the letter is about no mail, or cannot be read."""
    first_failed_at: float = 0.0
    trace_ids: tuple[str, ...] = ()
    """Of the message, and of the attempts that the ledger knows: 32 hexadecimal digits each."""
    mail: RawMail | None = None
    """None where it was not asked for."""

    @property
    def stem(self) -> str:
        """The names of its files but for the ending: the same for the same letter, whenever it is archived, and for no
        other.
        """
        return f"{safe_id(self.letter.original_message_id)}.{digest(self.letter)[:_DIGITS]}"

    @property
    def mail_name(self) -> str:
        """The file of its raw mail."""
        return self.stem + MAIL_SUFFIX

    def with_mail(self, mail: RawMail) -> "Record":
        """The same record, once that is known."""
        return replace(self, mail=mail)


def safe_id(message_id: str) -> str:
    """An id as a part of a file's name; anybody's idea of one is hashed."""
    if _SAFE_ID.fullmatch(message_id):
        return message_id
    return "id-" + hashlib.sha256(_encoded(message_id)).hexdigest()[:40]


def digest(letter: DeadLetter) -> str:
    """What makes two dead letters the same: original message, reason, body, and what came with it. A crash between the
    dead-lettering and the deletion of a message makes a second one, which differs in its ids, times and counts alone.
    """
    theirs = {name: _told(value) for name, value in letter.foreign_attributes.items()}
    parts = [letter.original_message_id, letter.reason, letter.message.body, theirs, letter.message.trace_header]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def to_bytes(record: Record) -> bytes:
    """The record as a JSON document in UTF-8."""
    letter, message = record.letter, record.letter.message
    document = {
        "version": VERSION,
        "original_message_id": letter.original_message_id,
        "reason": letter.reason,
        "detail": letter.detail,
        "mail_id": record.mail_id,
        "mail": record.mail
        and {
            "state": record.mail.state,
            "bytes": record.mail.size,
            "file": record.mail_name if record.mail.state == ARCHIVED else None,
        },
        "first_received_at": _moment(letter.first_received_at),
        "first_failed_at": _moment(record.first_failed_at),
        "last_failed_at": _moment(letter.failed_at),
        "receive_count": letter.receive_count,
        "trace_ids": list(record.trace_ids),
        "sqs": {
            "queue": record.queue,
            "message_id": message.message_id,
            "sent_at": _moment(message.sent_at),
            "first_received_at": _moment(message.first_received_at),
            "receive_count": message.receive_count,
            "moved_from": letter.source_arn,
            "trace_header": message.trace_header,
        },
        "attributes": {name: _told(value) for name, value in letter.attributes.items()},
        "body": message.body,
        "archived_at": _moment(record.archived_at),
        "digest": digest(letter),
    }
    return _encoded(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def read_record(data: bytes) -> Record:
    """Read what `to_bytes` wrote; fields that are not known are left out. Raises PermanentError, with the place, for
    what is no record, of another version, or not whole.
    """
    try:
        root = parse_object(data.decode(), _NOUN)
    except UnicodeDecodeError:
        raise PermanentError("not_json", _NOUN) from None
    # As a float, like every number of a Shape; True would be equal to 1.
    version = root.fields.get("version")
    if not isinstance(version, float):
        raise root.incomplete("version")
    if version != VERSION:
        raise PermanentError("unknown_version", "another relayd wrote it")
    letter = _letter(root)
    if root.text("digest") != digest(letter):
        raise PermanentError("record_changed", "its digest is another one's")
    return Record(
        letter,
        root.nested("sqs").text("queue"),
        seconds(root.text("archived_at")),
        root.text("mail_id") if root.has("mail_id") else None,
        seconds(root.fields.get("first_failed_at")),
        tuple(str(one) for one in root.array("trace_ids")),
        _raw_mail(root),
    )


def _letter(root: Shape) -> DeadLetter:
    sqs = root.nested("sqs")
    named = root.nested("attributes")
    attributes = {name: _attribute(named.nested(name)) for name in named.fields}
    message = Message(
        sqs.text("message_id"),
        "",
        root.text("body"),
        receive_count=_whole(sqs, "receive_count"),
        sent_at=seconds(sqs.fields.get("sent_at")),
        first_received_at=seconds(sqs.fields.get("first_received_at")),
        attributes=_texts(attributes),
        trace_header=sqs.text("trace_header") if sqs.has("trace_header") else None,
    )
    return DeadLetter(
        message,
        root.text("reason"),
        root.text("detail"),
        root.text("original_message_id"),
        seconds(root.fields.get("first_received_at")),
        seconds(root.fields.get("last_failed_at")),
        _whole(root, "receive_count"),
        attributes,
        sqs.text("moved_from") if sqs.has("moved_from") else None,
    )


def _raw_mail(root: Shape) -> RawMail | None:
    if not root.has("mail"):
        return None
    mail = root.nested("mail")
    return RawMail(mail.text("state"), _whole(mail, "bytes"))


def _attribute(shape: Shape) -> Attribute:
    if not shape.has("base64"):
        return Attribute(shape.text("type"), shape.text("value"))
    try:
        return Attribute(shape.text("type"), base64.b64decode(shape.text("base64"), validate=True))
    except ValueError:
        raise shape.malformed("base64") from None


def _told(attribute: Attribute) -> dict[str, str]:
    if isinstance(attribute.value, bytes):
        return {"type": attribute.kind, "base64": base64.b64encode(attribute.value).decode()}
    return {"type": attribute.kind, "value": attribute.value}


def _texts(attributes: Mapping[str, Attribute]) -> dict[str, str]:
    """Those that a `Message` has."""
    texts: dict[str, str] = {}
    for name, attribute in attributes.items():
        if attribute.kind.partition(".")[0] == "String" and isinstance(attribute.value, str):
            texts[name] = attribute.value
    return texts


def _whole(shape: Shape, name: str) -> int:
    value: Any = shape.fields.get(name)
    if not isinstance(value, float) or not value.is_integer():
        raise shape.incomplete(name)
    return int(value)


def _moment(when: float) -> str | None:
    try:
        moment = datetime.fromtimestamp(when, UTC) if when else None
    except (ValueError, OverflowError, OSError):
        # An attribute may name any year.
        return None
    return None if moment is None else moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _encoded(text: str) -> bytes:
    # SQS lets no half surrogate pair through. If one did come, the letter must not stick for it.
    return text.encode("utf-8", "replace")
