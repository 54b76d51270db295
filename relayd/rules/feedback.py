"""What follows from what SES tells about mail that we sent: tables from an event to its effects.

Words of SES that stand in no table have no effect, so that a word of tomorrow harms nobody.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from relayd.model.address import Address
from relayd.model.delivery import DeliveryKind
from relayd.model.feedback import (
    Affected,
    Alert,
    Confirm,
    DisableMask,
    Effect,
    EndPause,
    Fail,
    Feedback,
    FeedbackKind,
    FlagOwner,
    MailboxStanding,
    Match,
    NoteComplaint,
    PauseMailbox,
    QuarantineSpam,
    SentMail,
    Tell,
)
from relayd.model.notice import NoticeKind, OwnerNotice

DAY = 86400.0
"""Seconds."""
HARD_PAUSE_DAYS = (1, 3, 7, 30)
"""Of the first bounce, the second in a row, and so on; the last for all later ones. A mailbox that is gone stays gone,
and SES pauses an account above 10 % of bounces; one that its provider lost for an hour is back the next day."""
SOFT_PAUSE = 6 * 3600.0
"""Seconds. Mail waits in the queue meanwhile, and SES has tried a full mailbox for hours before it gives up."""
COMPLAINT_WINDOW = 30 * DAY
"""Seconds in which a second complaint of an owner costs the mask."""

GONE = frozenset({"5.1.1", "5.1.2", "5.1.10"})
"""No such mailbox, no such host (RFC 3463, 3.2), no such recipient (Exchange). 5.7.1 and others are about the mail."""
SUPPRESSED = frozenset(
    {
        "Suppressed",
        "OnAccountSuppressionList",
        "OnTenantSuppressionList",
        "EmailValidationSuppressed",
        "UnsubscribedRecipient",
    }
)
"""Subtypes of bounces and complaints that nobody but SES made: it took the mail and dropped it."""
NO_COMPLAINTS = frozenset({"not-spam", "auth-failure"})
"""Feedback-Types of reports that blame nobody's mail: the opposite (RFC 6430), and a machine's report about
authentication (RFC 6591)."""

ALERTS: Mapping[str, str] = {
    "suppressed": "SES takes an owner's mail and drops it: the address is on one of its suppression lists.",
    "rendering_failure": "SES could not render a template. relayd uses none: something else sends on its behalf.",
}
"""Every word that an `Alert` may carry."""
FAILURES: Mapping[str, str] = {"ses_rejected_virus": "SES found a virus in a mail that it had accepted."}
"""Every reason that a `Fail` may carry."""
FLAGS: Mapping[str, str] = {"complaint": "A stranger called an owner's reply spam."}
"""Every reason that a `FlagOwner` may carry."""


@dataclass(frozen=True, slots=True)
class Case:
    """One event, what it is about, and the time in seconds since the epoch."""

    feedback: Feedback
    match: Match
    now: float

    @property
    def owners(self) -> tuple[str, ...]:
        """Whose mail it is: by the delivery, else by the mailboxes that the event names."""
        if self.match.sent is not None:
            return (self.match.sent.owner_id,) if self.match.sent.owner_id is not None else ()
        return tuple(dict.fromkeys(standing.owner_id for standing in self.match.mailboxes))


Effects = Iterator[Effect]
BounceWord = Literal["suppressed", "spam", "gone", "full"]


def decide(feedback: Feedback, match: Match, *, now: float) -> tuple[Effect, ...]:
    """What follows from an event. `now` is in seconds since the epoch.

    The same event decides the same again; that it happens once is the concern of whoever applies it.
    """
    return tuple(_KINDS[feedback.kind](Case(feedback, match, now)))


def bounce_word(feedback: Feedback, affected: Sequence[Affected]) -> BounceWord | None:
    """What a bounce says of these recipients; None for what concerns its one mail only. The first row decides."""
    return next((word for word, says in BOUNCES if says(feedback, affected)), None)


def _is_gone(feedback: Feedback, affected: Sequence[Affected]) -> bool:
    if feedback.bounce_type == "Permanent" and feedback.bounce_subtype == "NoEmail":
        return True
    # SES may be undetermined where the code is not; only what it calls transient it may be right about.
    return feedback.bounce_type != "Transient" and any(one.status in GONE for one in affected)


BOUNCES: tuple[tuple[BounceWord, Callable[[Feedback, Sequence[Affected]], bool]], ...] = (
    # First, because SES gives what it dropped itself the status 5.1.1.
    ("suppressed", lambda feedback, _: feedback.bounce_subtype in SUPPRESSED),
    # Before `gone`: who reads a mail as spam has a mailbox.
    ("spam", lambda _, affected: any(one.says_spam for one in affected)),
    ("gone", _is_gone),
    ("full", lambda feedback, _: (feedback.bounce_type, feedback.bounce_subtype) == ("Transient", "MailboxFull")),
)


def _none(_: Case) -> Effects:
    return iter(())


def _send(case: Case) -> Effects:
    if case.match.sent is not None:
        yield Confirm(case.match.sent.delivery_id, case.feedback.ses_id)


def _delivery(case: Case) -> Effects:
    yield from _send(case)
    yield from (
        EndPause(standing.mailbox_id) for standing in case.match.mailboxes if standing.bounces or standing.paused
    )


def _bounce(case: Case) -> Effects:
    word = bounce_word(case.feedback, case.feedback.affected)
    if word == "suppressed":
        yield from (Alert("suppressed", owner) for owner in case.owners)
    sent = case.match.sent
    if sent is not None and sent.kind == "reply":
        # Its recipient is a stranger, even where somebody's mailbox has the same address.
        if not _automatic_answer(case.feedback):
            yield from _tell(sent, "reply_bounced")
        return
    if word == "spam" and sent is not None and sent.kind == "forward":
        yield from (QuarantineSpam(owner) for owner in case.owners)
    for standing in case.match.mailboxes:
        yield from _pause(case, standing)


def _pause(case: Case, standing: MailboxStanding) -> Effects:
    word = bounce_word(case.feedback, _about(standing, case.feedback.affected))
    # A bounce of mail that was on its way when a pause began is not another one in a row: a provider's bad minute
    # would cost a busy mailbox 30 days. Nor does it shorten what is in force.
    if word == "gone" and not (standing.paused and standing.bounces):
        bounces = standing.bounces + 1
        days = HARD_PAUSE_DAYS[min(bounces, len(HARD_PAUSE_DAYS)) - 1]
        yield PauseMailbox(standing.mailbox_id, "hard", case.now + days * DAY, bounces)
        facts = {"mailbox": standing.address, "days": str(days)}
        yield Tell(OwnerNotice(standing.owner_id, "mailbox_paused", facts))
    elif word == "full" and not standing.paused:
        yield PauseMailbox(standing.mailbox_id, "soft", case.now + SOFT_PAUSE, standing.bounces)


def _about(standing: MailboxStanding, affected: Sequence[Affected]) -> Sequence[Affected]:
    """What the event says of this mailbox.

    A bounce names the last stop: where the mailbox forwards to, it may name that and not ours. We send a mail to one
    recipient, so what is said is about it all the same.
    """
    try:
        address = Address.parse(standing.address)
    except ValueError:
        return affected
    return [one for one in affected if one.address == address] or affected


def _automatic_answer(feedback: Feedback) -> bool:
    """An out-of-office answer, which SES reports as a bounce. It has no delivery status; a real failure has."""
    general = (feedback.bounce_type, feedback.bounce_subtype) == ("Transient", "General")
    return general and not any(one.status for one in feedback.affected)


def _complaint(case: Case) -> Effects:
    if case.feedback.bounce_subtype in SUPPRESSED:
        yield from (Alert("suppressed", owner) for owner in case.owners)
        return
    sent = case.match.sent
    if sent is not None and sent.owner_id is not None and case.feedback.bounce_type not in NO_COMPLAINTS:
        yield from _COMPLAINTS[sent.kind](case, sent, sent.owner_id)


def _forward_complaint(case: Case, sent: SentMail, owner_id: str) -> Effects:
    # An event may come late, out of order, or from a clock that is ahead.
    at = min(case.feedback.at or case.now, case.now)
    last = case.match.owner_complained_at
    if last is not None and at - last <= COMPLAINT_WINDOW and sent.mask_id is not None:
        yield DisableMask(sent.mask_id)
        yield from _tell(sent, "mask_disabled")
    else:
        yield QuarantineSpam(owner_id)
    yield NoteComplaint(owner_id, at if last is None else max(at, last))


def _reply_complaint(_: Case, __: SentMail, owner_id: str) -> Effects:
    """The stranger's word against the owner's: a person looks into it, and the mask stays as it is."""
    yield FlagOwner(owner_id, "complaint")


def _notice_complaint(_: Case, __: SentMail, ___: str) -> Effects:
    """A notice is ours to write better; no mask is to blame."""
    return iter(())


def _reject(case: Case) -> Effects:
    sent = case.match.sent
    if sent is not None:
        yield Fail(sent.delivery_id, "ses_rejected_virus")
        if sent.kind != "notice":
            yield from _tell(sent, "mail_refused")


def _rendering_failure(case: Case) -> Effects:
    yield Alert("rendering_failure", next(iter(case.owners), None))


def _tell(sent: SentMail, kind: NoticeKind) -> Effects:
    if sent.owner_id is not None:
        facts = {"mask": sent.mask, "contact": sent.recipient if sent.kind == "reply" else ""}
        yield Tell(OwnerNotice(sent.owner_id, kind, {name: fact for name, fact in facts.items() if fact}))


_KINDS: Mapping[FeedbackKind, Callable[[Case], Effects]] = {
    "send": _send,
    "delivery": _delivery,
    # SES is still trying; if it gives up, a bounce says so.
    "delay": _none,
    "bounce": _bounce,
    "complaint": _complaint,
    "reject": _reject,
    "rendering_failure": _rendering_failure,
    "other": _none,
}
_COMPLAINTS: Mapping[DeliveryKind, Callable[[Case, SentMail, str], Effects]] = {
    "forward": _forward_complaint,
    "reply": _reply_complaint,
    "notice": _notice_complaint,
}
