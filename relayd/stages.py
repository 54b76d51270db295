"""The nouns of the route: what each of its steps takes and returns, and what the route as a whole needs.

They are apart from the route so that `relayd.relay` reads as nothing but its order.
"""

from dataclasses import dataclass, field

from relayd.mail.letter import Letter
from relayd.mail.trackers import TrackerList
from relayd.model.address import Address
from relayd.model.decision import Decision, Forward, Reply
from relayd.model.delivery import Claim, Replay
from relayd.model.message import Message
from relayd.model.notification import Received
from relayd.operating import Pauses, TracedMasks
from relayd.ports import (
    Certificates,
    Clock,
    Directory,
    Feedbacks,
    Ledger,
    Mailer,
    MailStore,
    Memory,
    Notices,
    Pace,
)
from relayd.rules.evidence import Evidence, Limits


@dataclass(frozen=True, slots=True)
class RelaySettings:
    """What the route needs to know."""

    mail_domains: frozenset[str]
    topic_arns: frozenset[str]
    buckets: frozenset[str]
    """Allow lists; `*` in one admits everything."""
    secrets: tuple[bytes, ...] = field(repr=False)
    verify_signatures: bool
    retry_seconds: float
    claim_seconds: float
    """How long a claim holds until its send begins: as long as the message's own deadline. A shorter one would make a
    slow fetch look like a process that died, to an SNS twin or another replica."""
    send_seconds: float
    """The longest that one SendEmail can take, time-outs and a margin included."""
    ses_domain: str
    """What stands behind the @ of the Message-IDs that SES gives in our region."""
    limits: Limits
    resend_doubts: bool
    """Whether a send in doubt is repeated once; else it is for a person at once."""
    notice_from: str = field(repr=False)
    """The address that notices come from."""
    trackers: TrackerList | None = field(repr=False, default=None)
    """Who counts as a tracker; None where no list was given."""
    tracker_warning: str | None = None
    """The address of a page that links of trackers lead to instead."""


@dataclass(frozen=True, slots=True)
class Ports:
    """The outside world, as the route sees it."""

    store: MailStore
    mailer: Mailer
    directory: Directory
    ledger: Ledger
    feedbacks: Feedbacks
    notices: Notices
    certificates: Certificates
    memory: Memory
    pace: Pace
    pauses: Pauses
    traced: TracedMasks
    clock: Clock


@dataclass(frozen=True, slots=True)
class Decoded:
    """The message told of a mail that was received for us."""

    message: Message
    received: Received
    text: str = field(repr=False)
    """The notification itself, for whoever holds the mail back."""
    released: frozenset[str]
    """What a person let it out of quarantine for."""
    replay: Replay | None = None
    """That an operator has it go through once more."""
    first_received_at: float | None = None
    """When what is replayed was first received, in seconds since the epoch; None where that is not known."""


@dataclass(frozen=True, slots=True)
class Decided:
    """What is to become of the mail, for each recipient of ours."""

    decoded: Decoded
    evidence: Evidence
    decisions: tuple[tuple[Address, Decision], ...]


@dataclass(frozen=True, slots=True)
class Delivery:
    """A claimed delivery: this mail, through this mask, to this address."""

    claim: Claim
    recipient: Address
    """The envelope recipient: a mask or a token."""
    decision: Forward | Reply
    to: Address = field(repr=False)
    """The owner's mailbox, or the contact."""
    subject: str
    """The id of the mailbox or contact, for errors that may be its own."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """The deliveries that are ours to make. The others are done, busy or discarded."""

    decided: Decided
    deliveries: tuple[Delivery, ...]


@dataclass(frozen=True, slots=True)
class Fetched:
    """The mail's own bytes are here, read but not judged."""

    claimed: Claimed
    letter: Letter


@dataclass(frozen=True, slots=True)
class Ready:
    """A mail as it will be sent."""

    sender: str = field(repr=False)
    """The address in From, on one of our domains."""
    data: bytes = field(repr=False)
    repaired_parts: int = 0
    trackers: int = 0
    rung: str = "rewritten"
    """How far it is from the mail as it came: `rewritten`, `rebuilt`, `attached`."""
