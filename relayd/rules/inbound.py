"""Whether a mail to a mask is forwarded, held back or discarded, and by which rule: a table, read from the top.

The table's order is policy. A rule that needs more than the notification and the mask (limits, block lists, list mail,
pauses) gets its facts through `Evidence` and its row where it belongs.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from relayd.model.address import Address
from relayd.model.decision import Decision, Discard, Forward, Quarantine
from relayd.model.mask import Mask, Target, TokenRecipient, UnknownRecipient
from relayd.model.notification import Verdicts

NO_RECIPIENT = "no_recipient"
"""The reason of a mail that has no recipient of ours, and so nobody to decide for."""
MAX_HOPS = 2
"""A mask may forward to another mask; a third passage through relayd is a loop."""
MAX_RECEIVED = 25
"""Received fields of a mail that is still on its way somewhere. RFC 5321, 6.3 asks for 100 or more on the open
internet; mail to a mask has had nearly all of its hops."""

_SES_DAEMON = re.compile(r"(?:^|[<\s])mailer-daemon@(?:[a-z0-9-]+\.)*amazonses\.com(?:$|[>\s])", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known about a mail, the same for all of its recipients but for `sender_owner`."""

    verdicts: Verdicts
    source: str = field(repr=False)
    """MAIL FROM; empty for a bounce."""
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    hops: int
    """How many relayd hops the mail has behind it, by hop headers that verify."""
    sender_owner: str | None
    """The owner of the mask or token that the mail claims to come from; None for a stranger."""
    complete: bool
    """Whether `headers` (and so `hops`) show all of the mail's header, or only what fitted into the notification."""


@dataclass(frozen=True, slots=True)
class Case:
    """One mail to one recipient."""

    recipient: Address
    target: Target
    evidence: Evidence

    @property
    def mask(self) -> Mask:
        """The mask written to, itself or by a token. Only rules below `unknown_mask` may ask."""
        match self.target:
            case Mask():
                return self.target
            case TokenRecipient():
                return self.target.mask
            case UnknownRecipient():
                raise LookupError("an unknown recipient has no mask")


@dataclass(frozen=True, slots=True)
class Warn:
    """The mail goes on, and the owner is shown this word."""

    word: str


Ruling = Discard | Quarantine | Warn | None
"""What one rule says. None: it has nothing against the mail."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A row of the table: the reasons that it may give, and how it finds them."""

    reasons: tuple[str, ...]
    look: Callable[[Case], Ruling]


def decide(recipient: Address, target: Target, evidence: Evidence) -> Decision:
    """The first rule that is against the mail decides; if none is, it is forwarded with the warnings gathered."""
    case = Case(recipient, target, evidence)
    warnings: list[str] = []
    for rule in TABLE:
        ruling = rule.look(case)
        if isinstance(ruling, Warn):
            warnings.append(ruling.word)
        elif ruling is not None:
            return ruling
    return Forward(case.mask, tuple(warnings), evidence.hops)


def needs_headers(decision: Decision, evidence: Evidence) -> bool:
    """Whether to decide again once the mail itself is there: headers that were cut off may still tell of a loop.

    They can only turn a Forward down. The rules above `loop` read no headers, so what those refused stays refused.
    """
    return isinstance(decision, Forward) and not evidence.complete


def _noreply(case: Case) -> Ruling:
    return Discard("noreply") if case.recipient.local == "noreply" else None


def _unknown_mask(case: Case) -> Ruling:
    return Discard("unknown_mask") if isinstance(case.target, UnknownRecipient) else None


def _virus(case: Case) -> Ruling:
    return Discard("virus", case.mask) if case.evidence.verdicts.virus == "FAIL" else None


def _reply(case: Case) -> Ruling:
    """Replies are not sent by this version: without the reply flow's checks a token would be an open relay."""
    return Discard("reply_unavailable", case.mask) if isinstance(case.target, TokenRecipient) else None


def _spam(case: Case) -> Ruling:
    if case.evidence.verdicts.spam != "FAIL":
        return None
    rulings: dict[str, Ruling] = {
        "quarantine": Quarantine("spam", case.mask),
        "drop": Discard("spam", case.mask),
        "forward": Warn("spam"),
    }
    return rulings[case.mask.owner.spam_handling]


def _dmarc(case: Case) -> Ruling:
    verdicts = case.evidence.verdicts
    if verdicts.dmarc != "FAIL":
        return None
    if verdicts.dmarc_policy == "reject":
        return Discard("dmarc_reject", case.mask)
    if verdicts.dmarc_policy == "quarantine":
        discard = case.mask.owner.dmarc_handling == "discard"
        return Discard("dmarc_quarantine", case.mask) if discard else Warn("dmarc")
    return None


def _loop(case: Case) -> Ruling:
    evidence = case.evidence
    received = sum(name.lower() == "received" for name, _ in evidence.headers)
    looped = (
        evidence.hops >= MAX_HOPS
        or received > MAX_RECEIVED
        or evidence.sender_owner == case.mask.owner.owner_id
        or _from_ses_daemon(evidence)
    )
    return Discard("loop", case.mask) if looped else None


def _from_ses_daemon(evidence: Evidence) -> bool:
    """SES's own bounces, which answer what we sent. Their MAIL FROM may be empty; then From tells."""
    if evidence.source:
        return _SES_DAEMON.fullmatch(evidence.source.strip()) is not None
    return any(name.lower() == "from" and _SES_DAEMON.search(value) for name, value in evidence.headers)


def _owner_inactive(case: Case) -> Ruling:
    return None if case.mask.owner.active else Discard("owner_inactive", case.mask)


def _owner_flagged(case: Case) -> Ruling:
    return Discard("owner_flagged", case.mask) if case.mask.owner.flagged else None


def _mask_disabled(case: Case) -> Ruling:
    return None if case.mask.enabled else Discard("mask_disabled", case.mask)


TABLE: tuple[Rule, ...] = (
    Rule(("noreply",), _noreply),
    Rule(("unknown_mask",), _unknown_mask),
    Rule(("virus",), _virus),
    Rule(("reply_unavailable",), _reply),
    Rule(("spam",), _spam),
    Rule(("dmarc_reject", "dmarc_quarantine"), _dmarc),
    Rule(("loop",), _loop),
    Rule(("owner_inactive",), _owner_inactive),
    Rule(("owner_flagged",), _owner_flagged),
    Rule(("mask_disabled",), _mask_disabled),
)
"""The decisions, in order."""

REASONS: tuple[str, ...] = (NO_RECIPIENT, *(reason for rule in TABLE for reason in rule.reasons))
"""Every reason why a mail may not be forwarded, in the table's order."""
WARNINGS = ("spam", "dmarc")
"""Every word that a Forward may warn with."""
