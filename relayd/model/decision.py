"""What relayd decides to do with a mail for one recipient."""

from dataclasses import dataclass

from relayd.model.mask import Contact, Mailbox, Mask
from relayd.model.notice import NoticeKind


@dataclass(frozen=True, slots=True)
class Waiting:
    """A mailbox that is full for now: come back in `seconds`."""

    mailbox: Mailbox
    seconds: float


@dataclass(frozen=True, slots=True)
class Forward:
    """Send it on to the mask's mailboxes. Each verified one of them is in one of the three tuples."""

    mask: Mask
    mailboxes: tuple[Mailbox, ...]
    held: tuple[Mailbox, ...] = ()
    """Paused: what is for them goes to quarantine."""
    waiting: tuple[Waiting, ...] = ()
    warnings: tuple[str, ...] = ()
    """Words that the owner is shown: `spam`, `dmarc`. Empty for ordinary mail."""
    hops: int = 0
    """How many relayd hops the mail has behind it, by hop headers that verify."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The mask's owner answers a contact: send it to the contact, from the mask."""

    mask: Mask
    contact: Contact
    """One that has an address."""
    owned: tuple[Mailbox, ...]
    """All mailboxes of the owner: none of their addresses may show."""
    hops: int = 0


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Hold it back: the object stays in S3 and is listed, to be released by its owner."""

    reason: str
    mask: Mask


@dataclass(frozen=True, slots=True)
class Discard:
    """Policy says no. Counted and recorded; the object stays in S3 until the bucket's lifecycle removes it."""

    reason: str
    mask: Mask | None = None
    tell: NoticeKind | None = None
    """What the owner is told about it."""


Decision = Forward | Reply | Quarantine | Discard
