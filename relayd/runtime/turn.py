"""One message's turn in a worker: the route, then how the message ends, then the line that says so."""

from collections.abc import Callable
from typing import assert_never

import structlog

from relayd.attempt import Worked
from relayd.errors import RelaydError, StoppingError
from relayd.model.message import Accepted, Deferred, Message, Outcome, Rejected, Released
from relayd.ports import Clock, Queue
from relayd.relay import Relay
from relayd.runtime.holds import Holds
from relayd.runtime.leases import Keeper, Lease
from relayd.runtime.settler import Settlement, Settler
from relayd.telemetry import instruments, names, spans

log = structlog.get_logger(__name__)

DEAD_LETTER_RETRY = 60.0
"""Seconds after which a message is tried again whose copy could not be put into the dead-letter queue."""
ABANDONED = "abandoned"
STOPPING = StoppingError().reason

Report = Callable[[str, str, str | None], None]
"""Outcome, reason, and what went wrong when SQS was told."""


class Turn:
    """What a worker does with a message."""

    def __init__(
        self, relay: Relay, queue: Queue, clock: Clock, *, keeper: Keeper, settler: Settler, holds: Holds
    ) -> None:
        self._relay = relay
        self._queue = queue
        self._clock = clock
        self._keeper = keeper
        self._settler = settler
        self._holds = holds

    def __call__(self, lease: Lease) -> None:
        message = lease.message
        began = self._clock.monotonic()
        with spans.process_span(self._queue.name, message):
            worked = self._work(lease)
            outcome = worked.outcome
            if isinstance(outcome, Rejected):
                outcome = self._dead_letter(message, outcome)
            spans.outcome(name(outcome), worked.reason if outcome is None else outcome.reason)
            report = self._report(message, worked, began)
            if outcome is None:
                # Somebody else has the message, or will: settling it would be acting on what is not ours.
                self._keeper.drop(lease)
                report(ABANDONED, worked.reason, None)
            else:
                self._settle(lease, outcome, report)

    def hand_back(self, lease: Lease) -> None:
        """Return a message that arrived after the stop and that nobody has begun with."""
        report = self._report(lease.message, Worked(None), self._clock.monotonic())
        self._settle(lease, Released(STOPPING), report)

    def _settle(self, lease: Lease, outcome: Outcome, report: Report) -> None:
        # The extension is stopped and awaited first: one that landed after the settlement would hide a message
        # which was just handed back.
        self._keeper.drop(lease)
        settle = spans.begin(names.SETTLE)

        def done(problem: str | None) -> None:
            settle.end(problem)
            report(name(outcome), outcome.reason, problem)

        settlement = Settlement(lease, visible_in(outcome), done)
        if isinstance(outcome, Released) and outcome.reason == STOPPING:
            self._settler.park(settlement)
        else:
            self._settler.submit(settlement)

    def _work(self, lease: Lease) -> Worked:
        if self._settler.was_finished(lease.message.message_id):
            return Worked(Accepted("finished_before"))
        worked = self._relay.work(lease)
        for error in worked.holds:
            delay = self._holds.met(error, lease.message.message_id)
            if isinstance(worked.outcome, Released | Deferred):
                worked = worked.later(delay)
        if worked.sent:
            self._holds.succeeded()
        return worked

    def _dead_letter(self, message: Message, outcome: Rejected) -> Outcome:
        """Copy first; the message itself is deleted only after its copy is safe."""
        try:
            self._queue.dead_letter(message, outcome.reason, outcome.detail)
        except RelaydError as error:
            log.error("dead_letter_failed", message_id=message.message_id, reason=error.reason)
            return Deferred(DEAD_LETTER_RETRY, "dead_letter_failed", charged=False)
        return outcome

    def _report(self, message: Message, worked: Worked, began: float) -> Report:
        """The canonical line of the message, and its metrics, for when it is settled."""
        context = structlog.contextvars.get_contextvars()
        trace = spans.current_ids()
        seconds = self._clock.monotonic() - began

        def report(outcome: str, reason: str, problem: str | None) -> None:
            waited = max(0.0, self._clock.time() - message.sent_at) if message.sent_at else None
            instruments.message_settled(self._queue.name, outcome, reason, seconds, waited)
            log.info(
                "message_settled",
                **context,
                **trace,
                outcome=outcome,
                reason=reason,
                settle_problem=problem,
                message_id=message.message_id,
                receive_count=message.receive_count,
                seconds=round(seconds, 4),
                age_seconds=None if waited is None else round(waited, 3),
                **worked.facts,
            )

        return report


def name(outcome: Outcome | None) -> str:
    """The outcome's word in logs and metrics."""
    return ABANDONED if outcome is None else type(outcome).__name__.lower()


def visible_in(outcome: Outcome) -> float | None:
    """Seconds until the message is visible again; None to delete it."""
    match outcome:
        case Accepted() | Rejected():
            return None
        case Deferred(delay=delay) | Released(delay=delay):
            return delay
        case _:
            assert_never(outcome)
