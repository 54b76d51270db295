"""Who owns what: owners, their mailboxes, their masks, and the outside correspondents of a mask."""

from dataclasses import dataclass, field
from typing import Literal

from relayd.model.address import Address

SpamHandling = Literal["quarantine", "drop", "forward"]
DmarcHandling = Literal["forward", "discard"]


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


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A real address of an owner: where forwarded mail goes."""

    mailbox_id: str
    address: Address = field(repr=False)


@dataclass(frozen=True, slots=True)
class Mask:
    """An address that an owner gives away instead of a real one."""

    mask_id: str
    address: Address = field(repr=False)
    owner: Owner
    mailboxes: tuple[Mailbox, ...]
    """Where its mail goes; each is a Delivery of its own. At least one, in the order they were added."""
    enabled: bool = True


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
class UnknownRecipient:
    """A recipient on one of our domains that no mask, token or rule covers (a removed mask included)."""


@dataclass(frozen=True, slots=True)
class TokenRecipient:
    """A recipient that is a contact's reply token: an owner writes to a correspondent."""

    contact: Contact
    mask: Mask


Target = Mask | TokenRecipient | UnknownRecipient
"""What the directory knows about one recipient."""
