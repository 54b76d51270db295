"""What an owner is told by a mail of our own."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

NoticeKind = Literal[
    "mask_disabled",
    "reply_not_allowed",
    "reply_leak",
    "reply_bounced",
    "mail_too_large",
    "mail_refused",
    "mailbox_paused",
]
NOTICE_KINDS: tuple[NoticeKind, ...] = get_args(NoticeKind)


@dataclass(frozen=True, slots=True)
class OwnerNotice:
    """Something that an owner should know. At most one of a kind a day reaches each owner."""

    owner_id: str
    kind: NoticeKind
    facts: Mapping[str, str] = field(default_factory=dict, repr=False)
    """What the text names, as far as it is known: `mask`, `sender` or `contact` (addresses), `subject`, `size` (bytes,
    decimal), `mailbox` (the paused one, which is not written to), `days` (of a pause)."""


@dataclass(frozen=True, slots=True)
class PendingNotice:
    """A notice that waits to be sent, with what is needed to write it."""

    notice_id: str
    notice: OwnerNotice
    age: float
    """Seconds since it was put down."""
    language: str
    mailbox: str | None = field(repr=False)
    """Where it goes: the owner's first mailbox that is verified and not paused; None where there is none."""
