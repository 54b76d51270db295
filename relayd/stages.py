"""The nouns of the route: what each of its steps takes and returns, and what the route as a whole needs.

They are apart from the route so that `relayd.relay` reads as nothing but its order.
"""

from dataclasses import dataclass, field

from relayd.mail.letter import Letter
from relayd.mail.rewrite import Rewritten
from relayd.model.address import Address
from relayd.model.decision import Decision, Forward
from relayd.model.delivery import Claim
from relayd.model.mask import Mailbox
from relayd.model.message import Message
from relayd.model.notification import Received
from relayd.ports import Certificates, Clock, Directory, Ledger, Mailer, MailStore
from relayd.rules.inbound import Evidence


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


@dataclass(frozen=True, slots=True)
class Ports:
    """The outside world, as the route sees it."""

    store: MailStore
    mailer: Mailer
    directory: Directory
    ledger: Ledger
    certificates: Certificates
    clock: Clock


@dataclass(frozen=True, slots=True)
class Decoded:
    """The message told of a mail that was received for us."""

    message: Message
    received: Received


@dataclass(frozen=True, slots=True)
class Decided:
    """What is to become of the mail, for each recipient of ours."""

    decoded: Decoded
    evidence: Evidence
    decisions: tuple[tuple[Address, Decision], ...]


@dataclass(frozen=True, slots=True)
class Delivery:
    """A claimed delivery: this mail, through this mask, into this mailbox."""

    claim: Claim
    recipient: Address
    forward: Forward
    mailbox: Mailbox


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
    size: int


@dataclass(frozen=True, slots=True)
class Ready:
    """What will be sent for one mask: the same bytes for each of its mailboxes."""

    reply_address: str = field(repr=False)
    rewritten: Rewritten = field(repr=False)
