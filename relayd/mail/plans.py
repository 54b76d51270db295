"""What the two rewritings are given and what they give back: nouns only, so that their parts can share them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from relayd.mail.banner import Banner
from relayd.mail.trackers import TrackerList
from relayd.model.address import Address

Threads = Mapping[str, tuple[str, ...]]
"""Message ids as References and In-Reply-To may name them, and the full ids that the reader's side knows for the same
mail: more than one for a mail that went to several mailboxes, since SES gave each copy an id."""


@dataclass(frozen=True, slots=True)
class ForwardPlan:
    """What was decided about a mail, as far as its look depends on it."""

    mask: Address = field(repr=False)
    tag: str = field(repr=False)
    """The `+tag` that the mail was addressed with; empty when there was none."""
    reply_address: str = field(repr=False)
    """`token@maskdomain`: the new From, to which the owner answers."""
    envelope_source: str = field(repr=False)
    """MAIL FROM: shown where the mail's own From cannot be read. Empty for a bounce."""
    hops: str = field(repr=False)
    """The finished X-Relayd-Hops value."""
    warnings: tuple[str, ...] = ()
    """Words for the owner: `spam`, `dmarc`."""
    threads: Threads = field(default_factory=dict, repr=False)
    """Original message ids, and SES's full ids for the same mails."""
    banner: Banner | None = None
    """What to put above the text; None for nothing."""
    trackers: TrackerList | None = None
    """What to take out of the text; None for nothing."""
    tracker_warning: str | None = field(default=None, repr=False)
    """The address of a page that warns of a tracker's link and leads on; without one, links stay."""


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A mail ready for SES."""

    data: bytes = field(repr=False)
    repaired_parts: int
    """Leaves whose encoding or lines had to change."""
    unsendable_parts: int = 0
    """Signed or encrypted parts that SES may refuse as they are, and that nobody may change."""
    trackers: int = 0
    """How many were taken out."""


@dataclass(frozen=True, slots=True)
class ReplyPlan:
    """What was decided about a mail that an owner wrote to contacts of a mask."""

    mask: Address = field(repr=False)
    display_name: str = field(repr=False)
    """The mask's name in From; empty for none."""
    contact: str = field(repr=False)
    """The real address of the contact whom this delivery is for."""
    recipients: Mapping[str, str] = field(repr=False)
    """The real address for each `token@domain` in To and Cc that is one of the owner's, in its normal form."""
    owned: tuple[Address, ...] = field(repr=False)
    """The owner's real mailboxes, which no contact may learn."""
    hops: str = field(repr=False)
    """The finished X-Relayd-Hops value."""
    threads: Threads = field(default_factory=dict, repr=False)
    """SES's message ids, and the contact's own for the same mails."""
