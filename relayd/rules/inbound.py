"""Whether a mail to a mask is forwarded, held back or discarded, and by which rule: a table, read from the top.

The table's order is policy. What a rule needs beyond the notification and the mask reaches it through `Case`.
"""

from collections.abc import Callable
from dataclasses import dataclass

from relayd.model.decision import Decision, Discard, Forward, Quarantine, Reply
from relayd.model.mask import TokenRecipient, UnknownRecipient
from relayd.rules import loops, mailboxes, reply
from relayd.rules.evidence import Case, Evidence

NO_RECIPIENT = "no_recipient"
"""The reason of a mail that has no recipient of ours, and so nobody to decide for."""


@dataclass(frozen=True, slots=True)
class Warn:
    """The mail goes on, and the owner is shown this word."""

    word: str


Ruling = Discard | Quarantine | Reply | Warn | None
"""What one rule says. None: it leaves the mail to the rules below."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A row of the table: the reasons that it may give, and how it finds them."""

    reasons: tuple[str, ...]
    look: Callable[[Case], Ruling]


def decide(case: Case) -> Decision:
    """The first rule that takes the mail decides; if none does, it is forwarded with the warnings gathered."""
    warnings: list[str] = []
    for rule in TABLE:
        ruling = rule.look(case)
        if isinstance(ruling, Warn):
            warnings.append(ruling.word)
        elif ruling is not None:
            return ruling
    sorted_ = mailboxes.sort(case.mask.mailboxes, case.evidence)
    return Forward(case.mask, sorted_.ready, sorted_.held, sorted_.waiting, tuple(warnings), case.evidence.hops)


def needs_headers(decision: Decision, evidence: Evidence) -> bool:
    """Whether to decide again once the mail itself is there: headers that were cut off may still tell of a loop, of a
    sender or of a list.

    They can only turn a Forward or a Reply down. The rules above `loop` read no headers, so what those refused stays
    refused.
    """
    return isinstance(decision, Forward | Reply) and not evidence.complete


def _noreply(case: Case) -> Ruling:
    return Discard("noreply") if case.recipient.local == "noreply" else None


def _unknown_mask(case: Case) -> Ruling:
    if not isinstance(case.target, UnknownRecipient):
        return None
    return Discard("rule_limit" if case.target.rule_exhausted else "unknown_mask")


def _virus(case: Case) -> Ruling:
    return Discard("virus", case.mask) if case.evidence.verdicts.virus == "FAIL" else None


def _reply(case: Case) -> Ruling:
    """What is for a token is decided here, for all: the rules below are about strangers' mail."""
    return reply.decide(case, case.target) if isinstance(case.target, TokenRecipient) else None


def _spam(case: Case) -> Ruling:
    if case.evidence.verdicts.spam != "FAIL":
        return None
    if "spam" in case.evidence.released:
        return Warn("spam")
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
    return Discard("loop", case.mask) if loops.looped(case.evidence, case.mask.owner.owner_id) else None


def _mailboxes(case: Case) -> Ruling:
    """Only where nothing may be sent to any of them. One of several that is paused does not hold up the others."""
    sorted_ = mailboxes.sort(case.mask.mailboxes, case.evidence)
    if sorted_.ready or sorted_.waiting:
        return None
    return Quarantine("bounce_pause" if sorted_.held else "mailbox_unverified", case.mask)


def _owner_inactive(case: Case) -> Ruling:
    return None if case.mask.owner.active else Discard("owner_inactive", case.mask)


def _owner_flagged(case: Case) -> Ruling:
    return Discard("owner_flagged", case.mask) if case.mask.owner.flagged else None


def _over_limit(case: Case) -> Ruling:
    usage, limits = case.mask.owner.usage, case.evidence.limits
    over = usage.mails >= limits.mails or usage.bytes >= limits.bytes
    return Discard("over_limit", case.mask) if over else None


def _mask_disabled(case: Case) -> Ruling:
    return None if case.mask.enabled else Discard("mask_disabled", case.mask)


def _sender_blocked(case: Case) -> Ruling:
    # Whom an allow list does not name shows only when all senders are known.
    known = case.evidence.complete or bool(case.evidence.authors)
    refused = case.screening.blocked or (case.screening.unlisted and known)
    return Discard("sender_blocked", case.mask) if refused else None


def _list_mail(case: Case) -> Ruling:
    """Feedback-ID is no sign: password resets carry it."""
    return Discard("list_mail", case.mask) if case.mask.block_lists and case.evidence.is_list_mail else None


TABLE: tuple[Rule, ...] = (
    Rule(("noreply",), _noreply),
    Rule(("unknown_mask", "rule_limit"), _unknown_mask),
    Rule(("virus",), _virus),
    Rule(reply.REASONS, _reply),
    Rule(("spam",), _spam),
    Rule(("dmarc_reject", "dmarc_quarantine"), _dmarc),
    Rule(("loop",), _loop),
    Rule(("bounce_pause", "mailbox_unverified"), _mailboxes),
    Rule(("owner_inactive",), _owner_inactive),
    Rule(("owner_flagged",), _owner_flagged),
    Rule(("over_limit",), _over_limit),
    Rule(("mask_disabled",), _mask_disabled),
    Rule(("sender_blocked",), _sender_blocked),
    Rule(("list_mail",), _list_mail),
)
"""The decisions, in order."""

LATER_REASONS = ("reply_leak",)
"""Reasons that only the mail itself can give."""
REASONS: tuple[str, ...] = tuple(
    dict.fromkeys((NO_RECIPIENT, *(reason for rule in TABLE for reason in rule.reasons), *LATER_REASONS))
)
"""Every reason why a mail may not be sent on, in the table's order."""
SURPRISES = frozenset({NO_RECIPIENT, "rule_limit", reply.NOT_ALLOWED, "loop", "over_limit", *LATER_REASONS})
"""Those that somebody may want to look into. The others are what a person, or the sender, asked for: spam and viruses,
masks that nobody has or that are switched off, senders that are blocked.
"""
WARNINGS = ("spam", "dmarc")
"""Every word that a Forward may warn with."""
