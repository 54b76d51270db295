"""A delivery: one mail, one envelope recipient, one mailbox. The ledger keeps its state."""

from dataclasses import dataclass, field
from typing import Literal

State = Literal["claimed", "sending", "sent", "discarded", "failed"]
"""`sent` and `discarded` are final, but for a replay; `failed` blocks only the SQS message that was dead-lettered for
it."""

DELIVERY_TAG = "relayd-delivery"
"""The SES message tag that carries a delivery's random id and attempt, so that SES's events lead back to it."""
IN_DOUBT = "in_doubt"
"""The reason of a delivery that failed because nobody could learn, twice, whether SES had taken it; and of an attempt
after which nobody knew."""
CLAIM_EXPIRED = "claim_expired"
"""The reason of an attempt whose claim ran out before anything was sent: its process died, or hung."""
GIVEN_BACK = "given_back"
"""The reason of an attempt that was given back by a relayd that kept no reasons."""
SENT = "sent"
"""The reason of an attempt whose mail was sent, and then once more by a replay."""

DeliveryKind = Literal["forward", "reply", "notice"]
"""A stranger's mail to an owner, an owner's answer to a stranger, or a mail of our own to an owner."""


@dataclass(frozen=True, slots=True)
class DeliveryKey:
    """What makes two deliveries the same, whatever SQS message brought them."""

    mail_id: str
    """SES's mail.messageId."""
    recipient: str = field(repr=False)
    """The normalised envelope recipient, tag included."""
    mailbox: str = field(repr=False, default="")
    """The mailbox's normalised address; empty for a decision that concerns no mailbox (a discard)."""


@dataclass(frozen=True, slots=True)
class Concern:
    """Whom a delivery is about: what limits, counters and a person's right to be forgotten go by."""

    kind: DeliveryKind
    mask_id: str | None
    owner_id: str | None


@dataclass(frozen=True, slots=True)
class Replay:
    """An operator's word that a mail may go through once more, though it was settled."""

    replay_id: str
    """Random, for one act of one command on one message. It frees a delivery once, however often its message comes."""
    again: bool = False
    """Also where the mail was sent."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to work on a delivery until it expires. `token` fences: only its holder may change the row."""

    delivery_id: str
    """Random; stands in logs and in the SES tag `relayd-delivery`."""
    key: DeliveryKey
    token: str = field(repr=False)
    attempt: int
    """1 for the first claim of the delivery, counted over all of its generations."""
    resend: bool = False
    """An earlier send is in doubt and this attempt sends once more."""
    previous_trace: str | None = None
    """The traceparent of the attempt before, for a span link."""


@dataclass(frozen=True, slots=True)
class Busy:
    """Somebody else holds a live claim (an SNS twin, another replica): come back in `seconds`."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Settled:
    """The delivery has ended before: nothing to do but to repeat how."""

    state: Literal["sent", "discarded", "failed"]
    reason: str


@dataclass(frozen=True, slots=True)
class Lost:
    """The delivery may not be tried again: `in_doubt` (a second doubt) or `killed` (three processes died on it).

    The ledger has not recorded the failure yet; the claim that comes along lets its holder do so.
    """

    reason: Literal["in_doubt", "killed"]
    claim: Claim


ClaimAnswer = Claim | Busy | Settled | Lost


@dataclass(frozen=True, slots=True)
class Tries:
    """What an SQS message has cost so far. Only tries that were charged are in it."""

    failures: int
    """Failed tries, this one included."""
    bugs: int
    """Those among them that met an unforeseen exception, this one included."""
    age: float
    """Seconds since the first charged failure, by the database's clock."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A mail that is about to be sent, as far as the ledger must know it before anybody knows whether it was."""

    size: int = 0
    """Bytes."""
    original_message_id: str | None = field(repr=False, default=None)
    """The Message-ID that the mail had, without angle brackets."""
    trackers: int = 0
    """How many were taken out of it."""


@dataclass(frozen=True, slots=True)
class Held:
    """A mail that is held back for a person to decide about."""

    notification: str = field(repr=False)
    """SES's notification in a short form, for one recipient: what a release puts into the queue again."""
    sender: str = field(repr=False, default="")
    subject: str = field(repr=False, default="")


@dataclass(frozen=True, slots=True)
class ThreadLink:
    """One mail that was sent, under both of its names: SES gives each mail another Message-ID than it came with."""

    kind: DeliveryKind
    original: str = field(repr=False)
    """The Message-ID that it came with, without angle brackets."""
    ses_id: str
    """SES's MessageId: the local part of the Message-ID that it was sent with."""
