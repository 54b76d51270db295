"""The bookkeeping of one attempt at a message: what became of each delivery, and so of the message.

Every claim that an attempt takes leaves it in exactly one of three ways: recorded as sent or failed, given back, or
left to expire because the send is in doubt.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import structlog

from relayd.debts import Debts
from relayd.errors import (
    ClaimLostError,
    Dependency,
    HoldError,
    InDoubtError,
    LeaseLostError,
    PausedError,
    PermanentError,
    RelaydError,
    StoppingError,
    TransientError,
)
from relayd.model.delivery import Claim, Held, Settled, Tries
from relayd.model.message import Deferred, Message, Outcome, Rejected, Released
from relayd.ports import Ledger
from relayd.rules import retry
from relayd.rules.inbound import SURPRISES
from relayd.rules.retry import DeliveryResult
from relayd.telemetry import instruments, spans

log = structlog.get_logger(__name__)

_Error = TypeVar("_Error", bound=Exception)

BUSY_DELAY = 10.0
"""Seconds until a message is looked at again whose delivery somebody else has in hand, for each receive it has had."""


@dataclass(frozen=True, slots=True)
class Worked:
    """What the route made of a message. `outcome` None: the message is no longer ours, so it is not settled."""

    outcome: Outcome | None
    reason: str = ""
    troubles: Sequence[HoldError | TransientError] = ()
    """What dependencies failed with: their limits and breakers go by it."""
    worked: frozenset[Dependency] = frozenset()
    """Dependencies that did their part in this attempt, whatever became of the message."""
    facts: Mapping[str, object] = field(default_factory=dict)
    """For the message's log line: ids, counts and sizes."""

    def later(self, seconds: float) -> "Worked":
        """The same, but not back before `seconds` have passed."""
        if isinstance(self.outcome, Deferred | Released) and self.outcome.delay < seconds:
            return replace(self, outcome=replace(self.outcome, delay=seconds))
        return self


@dataclass(frozen=True, slots=True)
class _Failure:
    """Something to be tried again, or not: decided once the message's tries are known."""

    error: Exception
    claim: Claim | None


class Attempt:
    """One attempt at one message."""

    def __init__(
        self,
        message: Message,
        ledger: Ledger,
        *,
        retry_seconds: float,
        doubt_seconds: float,
        jitter: float,
        debts: Debts,
    ) -> None:
        self._message = message
        self._ledger = ledger
        self._retry_seconds = retry_seconds
        self._doubt_seconds = doubt_seconds
        self._jitter = jitter
        self._debts = debts
        self._open: dict[str, Claim] = {}
        self._results: list[DeliveryResult] = []
        self._failures: list[_Failure] = []
        self._troubles: list[HoldError | TransientError] = []
        self._lost_lease: LeaseLostError | None = None
        self._deliveries: list[dict[str, object]] = []
        self._mask: str | None = None
        self._masks: dict[str, str | None] = {}
        self.facts: dict[str, object] = {}
        self.worked: set[Dependency] = set()
        """Dependencies that did what they were asked to."""

    # What the route reports, as it goes.

    def about(self, mask: str) -> None:
        """Whose mail is reported on from here on: the mask's hash, for the log line."""
        self._mask = mask

    def claimed(self, claim: Claim) -> None:
        self._open[claim.delivery_id] = claim
        self._masks[claim.delivery_id] = self._mask

    def sent(self, claim: Claim, ses_id: str) -> None:
        self._close(claim, DeliveryResult("sent", "forwarded"), ses_id=ses_id, attempt=claim.attempt)

    def discarded(self, reason: str) -> None:
        _note_surprise(reason)
        self._close(None, DeliveryResult("discarded", reason))

    def learned(self, reason: str) -> None:
        """The message was about no mail, so that no delivery ends with it."""
        self._results.append(DeliveryResult("discarded", reason))

    def refused(self, claim: Claim, reason: str) -> None:
        """The mail's own headers made policy discard a delivery that was claimed already."""
        self._ledger.refused(claim, reason)
        _note_surprise(reason)
        self._close(claim, DeliveryResult("discarded", reason))

    def ended_before(self, settled: Settled) -> None:
        """A redelivery met what is done already: it is only repeated, not counted again."""
        instruments.duplicate("settled")
        self._results.append(DeliveryResult(settled.state, settled.reason))
        self._told(self._mask, {"state": settled.state, "reason": settled.reason, "before": True})

    def busy(self, seconds: float) -> None:
        """Somebody else holds the claim, for `seconds` more at most; mostly it is done much sooner."""
        instruments.duplicate("claimed")
        delay = min(seconds, BUSY_DELAY * self._message.receive_count)
        self._waits(DeliveryResult("open", "claimed_elsewhere", delay=delay))

    def postponed(self, reason: str, seconds: float) -> None:
        """A delivery has to wait, and that is nobody's failure."""
        self._waits(DeliveryResult("open", reason, delay=seconds))

    def failed(self, error: Exception, claim: Claim | None = None, held: Held | None = None) -> None:
        """A delivery, or without a claim the message as a whole, met an error. `held`: where trying again cannot help,
        a person may still do something about it.
        """
        match error:
            case PermanentError():
                self._fail(error.reason, claim, held=held)
            case InDoubtError():
                # The claim stays `sending` until it expires; coming back before that would meet a live claim.
                instruments.in_doubt("doubt")
                self._close(claim, DeliveryResult("open", error.reason, delay=self._doubt_seconds))
            case ClaimLostError():
                self._close(claim, DeliveryResult("open", error.reason, delay=self._doubt_seconds))
            case HoldError() if error.wide:
                self.note(error)
                self._release(DeliveryResult("open", error.reason, released=True), claim)
            case StoppingError():
                self._release(DeliveryResult("open", error.reason, released=True), claim)
            case PausedError():
                self._release(retry.paused(self._message.receive_count), claim)
            case LeaseLostError():
                self._lost_lease = _bare(error)
                self._release(DeliveryResult("open", error.reason, released=True), claim)
            case _:
                self.note(error)
                if not isinstance(error, RelaydError):
                    log.error("message_bug", message_id=self._message.message_id, exc_info=error)
                self._failures.append(_Failure(_bare(error), claim))

    def failed_whole(self, error: Exception) -> None:
        """An error that ends the attempt: it meets every delivery that is still open, or else the message."""
        open_failures = {failure.claim.delivery_id for failure in self._failures if failure.claim}
        claims: list[Claim | None] = [claim for id_, claim in self._open.items() if id_ not in open_failures]
        for claim in claims or [None]:
            self.failed(error, claim)

    # How it ends.

    def conclude(self) -> Worked:
        """Weigh the failures, let go of what is still claimed, and fold all results into the message's outcome."""
        try:
            self._weigh_failures()
        except RelaydError as error:
            # The ledger cannot count right now: nothing is charged, and everything still open goes back.
            self.note(error)
            for claim in list(self._open.values()):
                self._release(DeliveryResult("open", error.reason, released=True), claim)
            self._results.append(DeliveryResult("open", error.reason, released=True))
        outcome = retry.settle_message(self._results)
        facts = {**self.facts, "deliveries": self._deliveries} if self._deliveries else self.facts
        if self._troubles:
            # A reason like `access_denied` does not say by whom.
            facts = {**facts, "met": [_met(error) for error in self._troubles]}
        worked = Worked(outcome, outcome.reason, tuple(self._troubles), frozenset(self.worked), facts)
        if self._lost_lease is not None:
            return replace(worked, outcome=None, reason=self._lost_lease.reason)
        return worked

    def _weigh_failures(self) -> None:
        if not self._failures:
            return
        charged = [failure.error for failure in self._failures if is_charged(failure.error)]
        tries = Tries(failures=0, bugs=0, age=0.0)
        if charged:
            # Once a message and attempt, however many of its deliveries failed.
            bug = not all(isinstance(error, RelaydError) for error in charged)
            tries = self._ledger.charge(self._message.message_id, bug=bug)
        for failure in self._failures:
            verdict = self._verdict(failure.error, tries)
            if isinstance(verdict, Rejected):
                self._fail(verdict.reason, failure.claim, verdict.detail)
            else:
                result = DeliveryResult("open", verdict.reason, delay=verdict.delay, charged=verdict.charged)
                self._release(result, failure.claim)

    def _verdict(self, error: Exception, tries: Tries) -> Deferred | Rejected:
        if not isinstance(error, TransientError | HoldError):
            return retry.after_bug(tries, jitter=self._jitter)
        if isinstance(error, TransientError) and not error.charged:
            return retry.uncharged_delay(error, self._message.receive_count, jitter=self._jitter)
        return retry.after_transient(error, tries, retry_seconds=self._retry_seconds, jitter=self._jitter)

    def _fail(self, reason: str, claim: Claim | None, detail: str = "", held: Held | None = None) -> None:
        if claim is not None:
            try:
                self._ledger.failed(claim, reason, message_id=self._message.message_id, held=held)
            except ClaimLostError as error:
                self.failed(error, claim)
                return
            except (HoldError, TransientError) as error:
                # What was found stands, but cannot be written down now: the next receive will find it again.
                self.note(error)
                self._release(DeliveryResult("open", error.reason, released=True), claim)
                return
        self._close(claim, DeliveryResult("failed", reason), detail=detail)

    def note(self, error: Exception) -> None:
        """A dependency failed, whatever it had done before in this attempt."""
        if isinstance(error, HoldError | TransientError) and error.dependency is not None:
            self._troubles.append(_bare(error))
            self.worked.discard(error.dependency)

    def _release(self, result: DeliveryResult, claim: Claim | None) -> None:
        if claim is not None:
            try:
                self._ledger.give_back(claim, result.reason)
            except RelaydError as error:
                # It would expire by itself, but then look like the claim of a process that died.
                self.note(error)
                self._debts.give_back(claim, result.reason)
                log.warning("give_back_failed", delivery=claim.delivery_id, reason=error.reason)
        self._close(claim, result)

    def _waits(self, result: DeliveryResult) -> None:
        """It was not even tried, so that it does not count among those that were."""
        self._results.append(result)
        self._told(self._mask, {"state": result.state, "reason": result.reason})

    def _close(self, claim: Claim | None, result: DeliveryResult, **facts: object) -> None:
        self._results.append(result)
        instruments.delivery(result.state, result.reason)
        told: dict[str, object] = {"state": result.state, "reason": result.reason}
        if claim is None:
            if self._mask is not None:
                self._told(self._mask, told)
            return
        self._open.pop(claim.delivery_id, None)
        shown = {key: value for key, value in facts.items() if value}
        self._told(self._masks.get(claim.delivery_id), {"delivery": claim.delivery_id, **told, **shown})

    def _told(self, mask: str | None, facts: dict[str, object]) -> None:
        self._deliveries.append(facts if mask is None else {**facts, "mask": mask})


def _note_surprise(reason: str) -> None:
    if reason in SURPRISES:
        spans.surprise(reason)


def _met(error: HoldError | TransientError) -> dict[str, object]:
    return {"dependency": error.dependency, "reason": error.reason, "detail": error.detail}


def _bare(error: _Error) -> _Error:
    """The error without the frames that it went through. They hold the mail and the request that carried it, whose
    memory is given to others as soon as the attempt has ended; the error is kept until the message is settled.
    """
    error.__traceback__ = error.__context__ = error.__cause__ = None
    return error


def is_charged(error: Exception) -> bool:
    """Whether a failed try counts as one."""
    return error.charged if isinstance(error, TransientError) else True
