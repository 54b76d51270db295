"""What SES tells about mail that we sent, and what follows from it."""

from dataclasses import dataclass, field
from typing import Literal

from relayd.model.address import Address
from relayd.model.delivery import DeliveryKind
from relayd.model.notice import OwnerNotice

FeedbackKind = Literal["send", "delivery", "delay", "bounce", "complaint", "reject", "rendering_failure", "other"]


@dataclass(frozen=True, slots=True)
class Affected:
    """One recipient that an event names."""

    address: Address | None = field(repr=False)
    """None for what is no address."""
    status: str = ""
    """The enhanced status code (RFC 3463), such as `5.1.1`; empty when there was none."""
    says_spam: bool = False
    """The other side's diagnostic text calls the mail spam. (The text itself goes no further: it names addresses.)"""


@dataclass(frozen=True, slots=True)
class Feedback:
    """One event of SES about one mail that we sent."""

    kind: FeedbackKind
    feedback_id: str
    """The same each time that the same event arrives: SES's feedbackId where there is one."""
    ses_id: str
    """SES's MessageId of the mail that we sent."""
    delivery_id: str | None = None
    """From the tag `relayd-delivery`; None where the mail carried none."""
    attempt: int | None = None
    affected: tuple[Affected, ...] = ()
    bounce_type: str = ""
    """`Permanent`, `Transient`, `Undetermined`; of a complaint its feedback type: `abuse`, `not-spam`, ..."""
    bounce_subtype: str = ""
    """`General`, `NoEmail`, `Suppressed`, `OnAccountSuppressionList`, `MailboxFull`, ...; complaints have one, too."""
    at: float = 0.0
    """When it happened, in seconds since the epoch; 0 when the event does not say."""


@dataclass(frozen=True, slots=True)
class SentMail:
    """The delivery that a feedback is about, as the ledger knows it."""

    delivery_id: str
    kind: DeliveryKind
    owner_id: str | None
    mask_id: str | None
    mask: str = field(repr=False, default="")
    """The mask's address, for a notice; empty when it is gone."""
    recipient: str = field(repr=False, default="")
    """Whom the mail was sent to: the owner's mailbox for a forward, the contact for a reply."""


@dataclass(frozen=True, slots=True)
class MailboxStanding:
    """How often a mailbox bounced, as far as the directory knows."""

    mailbox_id: str
    owner_id: str
    address: str = field(repr=False)
    bounces: int = 0
    """Hard bounces since the last delivery."""
    paused: bool = False
    """Whether a pause is in force now. A bounce meanwhile is of mail that was on its way, and says nothing new."""


@dataclass(frozen=True, slots=True)
class Match:
    """Whom and what a feedback concerns."""

    sent: SentMail | None = None
    """None for mail that the ledger does not know (any more)."""
    mailboxes: tuple[MailboxStanding, ...] = ()
    """Those of our mailboxes that the event names."""
    owner_complained_at: float | None = None
    """When the owner last complained, in seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Confirm:
    """The delivery was accepted by SES: it is sent, whatever the ledger thought."""

    delivery_id: str
    ses_id: str


@dataclass(frozen=True, slots=True)
class Fail:
    """SES refused the delivery after it had accepted it."""

    delivery_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class PauseMailbox:
    mailbox_id: str
    kind: Literal["hard", "soft"]
    until: float
    """Seconds since the epoch."""
    bounces: int
    """Hard bounces since the last delivery, this one included."""


@dataclass(frozen=True, slots=True)
class EndPause:
    """Mail reached the mailbox: its pause and its count of bounces end."""

    mailbox_id: str


@dataclass(frozen=True, slots=True)
class QuarantineSpam:
    """The owner's spam handling becomes `quarantine`."""

    owner_id: str


@dataclass(frozen=True, slots=True)
class NoteComplaint:
    owner_id: str
    at: float


@dataclass(frozen=True, slots=True)
class DisableMask:
    mask_id: str


@dataclass(frozen=True, slots=True)
class FlagOwner:
    """Held for review."""

    owner_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Tell:
    notice: OwnerNotice


@dataclass(frozen=True, slots=True)
class Alert:
    """For the operator: a log line and a metric."""

    word: str
    owner_id: str | None = None


Effect = (
    Confirm | Fail | PauseMailbox | EndPause | QuarantineSpam | NoteComplaint | DisableMask | FlagOwner | Tell | Alert
)
