"""Who owns what: owners, their mailboxes, their masks, and the outside correspondents of a mask."""

from dataclasses import dataclass, field
from typing import Literal

from relayd.model.address import Address

SpamHandling = Literal["quarantine", "drop", "forward"]
DmarcHandling = Literal["forward", "discard"]


@dataclass(frozen=True, slots=True)
class Usage:
    """What an owner's mail came to since midnight, UTC."""

    mails: int = 0
    """Forwards that SES accepted."""
    bytes: int = 0
    """Of those, as they were sent."""
    replies: int = 0


@dataclass(frozen=True, slots=True)
class Owner:
    """A person (or a team) that has masks."""

    owner_id: str
    """Random and meaningless, so that it may stand in a log."""
    active: bool = True
    flagged: bool = False
    """Held for review: nothing is forwarded."""
    spam_handling: SpamHandling = "quarantine"
    dmarc_handling: DmarcHandling = "forward"
    """What to do with mail that failed DMARC under a `quarantine` policy: forward with a warning, or discard."""
    language: str = "en"
    """A language tag such as `de` or `pt-BR`: of the notices and banners that the owner is shown."""
    usage: Usage = Usage()


@dataclass(frozen=True, slots=True)
class Pause:
    """Why nothing is sent to a mailbox for now, and until when."""

    kind: Literal["hard", "soft"]
    """`hard`: it does not exist, as far as the other side says. `soft`: it is full."""
    until: float
    """Seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A real address of an owner: where forwarded mail goes."""

    mailbox_id: str
    address: Address = field(repr=False)
    verified: bool = True
    """Whether the owner has shown that it is theirs. To one that is not verified nothing is sent, nor may it reply."""
    pause: Pause | None = None


@dataclass(frozen=True, slots=True)
class Mask:
    """An address that an owner gives away instead of a real one."""

    mask_id: str
    address: Address = field(repr=False)
    owner: Owner
    mailboxes: tuple[Mailbox, ...]
    """Where its mail goes; each is a Delivery of its own. At least one, in the order they were added."""
    enabled: bool = True
    display_name: str = field(repr=False, default="")
    """What stands beside the mask's address in the From of a reply; empty for nothing."""
    block_lists: bool = False
    """Discard mailing-list mail."""
    banner: bool = False
    """Put a line above the text that says which mask the mail came through."""
    remove_trackers: bool = False
    """Take tracking images out, and lead tracking links to a warning."""
    screens: bool = False
    """The mask or its owner has block or allow lists: `Directory.screen` knows what they say of a sender."""
    rule_id: str | None = None
    """The domain rule that would make this mask: it is not there yet. None for one that is."""


@dataclass(frozen=True, slots=True)
class Contact:
    """An outside correspondent of a mask. The owner answers to its reply token."""

    contact_id: str
    mask_id: str
    token: str = field(repr=False)
    """The local part of the reply address: 100 random bits in base32, lower case. Never derived from a secret."""
    address: Address | None = field(repr=False, default=None)
    """The correspondent; None where a mail named none that could be read."""


@dataclass(frozen=True, slots=True)
class Screening:
    """What an owner's and a mask's lists say of a mail's senders."""

    blocked: bool = False
    """One of them stands on a block list."""
    unlisted: bool = False
    """There is an allow list, and none of them stands on it."""


@dataclass(frozen=True, slots=True)
class UnknownRecipient:
    """A recipient on one of our domains that no mask, token or rule covers (a removed mask included)."""

    rule_exhausted: bool = False
    """A domain rule covers it, but has made as many masks as it may."""


@dataclass(frozen=True, slots=True)
class TokenRecipient:
    """A recipient that is a contact's reply token: an owner writes to a correspondent."""

    contact: Contact
    mask: Mask
    owned: tuple[Mailbox, ...] = ()
    """All mailboxes of the mask's owner, those of other masks included: any verified one may reply, and none may show
    in what is sent."""


Target = Mask | TokenRecipient | UnknownRecipient
"""What the directory knows about one recipient."""
