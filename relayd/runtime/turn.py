"""One message's turn in a worker: the route, then how the message ends, then the line that says so."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol, assert_never

import structlog

from relayd.attempt import Worked
from relayd.errors import RelaydError, StoppingError
from relayd.model.message import Accepted, Deferred, Message, Outcome, Rejected, Released
from relayd.ports import Clock, Queue
from relayd.runtime.governor import Governor
from relayd.runtime.leases import Keeper, Lease
from relayd.runtime.settler import Settlement, Settler
from relayd.runtime.watching import Ended, Watcher
from relayd.telemetry import instruments, names, spans
from relayd.telemetry.instruments import Engine

log = structlog.get_logger(__name__)

DEAD_LETTER_RETRY = 60.0
DEAD_LETTER_DOUBLINGS = 6
"""Seconds after which a message is tried again whose copy could not be put into the dead-letter queue: doubled each
time up to an hour, or the queue's net of 1,000 receives would be reached within a day."""
ABANDONED = "abandoned"


class Route(Protocol):
    """What is done with a message between its receive and its settlement. Any number of workers share one."""

    def work(self, lease: Lease) -> Worked:
        """Take one message to its outcome. Raises nothing."""
        ...

    def pay_debts(self) -> None:
        """Tell the ledger what it could not be told before. Raises RelaydError while it still cannot."""
        ...


Report = Callable[[Outcome | None, str, str | None], None]
"""Outcome (None: abandoned), reason, and what went wrong when SQS was told."""


class Turn:
    """What a worker does with a message."""

    def __init__(
        self,
        route: Route,
        queue: Queue,
        clock: Clock,
        *,
        keeper: Keeper,
        settler: Settler,
        governor: Governor,
        condition: Callable[[str, str | None], None],
        watchers: Sequence[Watcher] = (),
        engine: Engine = "mail",
    ) -> None:
        """`condition` is told what stands against being ready, and None when it is well again."""
        self._route = route
        self._queue = queue
        self._clock = clock
        self._keeper = keeper
        self._settler = settler
        self._governor = governor
        self._condition = condition
        self._watchers = watchers
        self._engine: Engine = engine
        self._lock = clock.condition()
        self._parking = False
        self._parked: list[tuple[Lease, Outcome, Report]] = []

    def __call__(self, lease: Lease) -> None:
        try:
            self._take(lease)
        except Exception:
            # A bug around the route, which itself raises nothing. Extended no more, the message comes back.
            log.exception("turn_failed", message_id=lease.message.message_id)
            self._keeper.drop(lease)

    def hand_back(self, lease: Lease) -> None:
        """Return a message that arrived after the stop and that nobody has begun with."""
        report = self._report(lease.message, Worked(None), self._clock.monotonic())
        self._settle(lease, Released(StoppingError().reason), report)

    def park(self) -> None:
        """From now on, give no message back: the last poll is still open, would take it again, and cost it a receive.
        Its lease is kept meanwhile.
        """
        with self._lock:
            self._parking = True

    def unpark(self) -> None:
        """No poll is open any more: what was kept goes back now, and all else at once."""
        with self._lock:
            self._parking = False
            parked, self._parked = self._parked, []
        for lease, outcome, report in parked:
            self._settle(lease, outcome, report, wait=False)

    def _take(self, lease: Lease) -> None:
        message = lease.message
        began = self._clock.monotonic()
        waited = self._waited(message)
        if waited is not None:
            instruments.message_taken(self._engine, waited)
        about = partial(self._about, waited)
        with spans.process_span(self._queue.name, message, received=lease.received, about=about) as process:
            lease.trace = process.handle
            worked = self._work(lease)
            outcome = worked.outcome
            if isinstance(outcome, Rejected):
                outcome = self._dead_letter(message, outcome)
            spans.outcome(name(outcome), worked.reason if outcome is None else outcome.reason)
            report = self._report(message, worked, began)
            if outcome is None:
                # Somebody else has the message, or will: settling it would be acting on what is not ours.
                self._keeper.drop(lease)
                report(None, worked.reason, None)
            else:
                self._settle(lease, outcome, report)

    def _settle(self, lease: Lease, outcome: Outcome, report: Report, *, wait: bool = True) -> None:
        visible = visible_in(outcome)
        with self._lock:
            if self._parking and visible is not None:
                self._parked.append((lease, outcome, report))
                return
        # The extension is stopped and awaited first: one that landed after the settlement would hide a message
        # which was just handed back.
        self._keeper.drop(lease)
        settle = spans.begin(names.SETTLE)

        def done(problem: str | None) -> None:
            settle.end(problem)
            report(outcome, outcome.reason, problem)

        self._settler.submit(Settlement(lease, visible, done, settle), wait=wait)

    def _about(self, waited: float | None) -> dict[str, spans.Attribute]:
        """What it is like to begin with a message now."""
        limit, breakers = self._governor.standing()
        told: dict[str, spans.Attribute] = {
            names.LIMIT_NOW: limit,
            names.IN_FLIGHT_NOW: self._keeper.held(),
        }
        if breakers:
            told[names.BREAKERS_NOW] = breakers
        return told if waited is None else told | {names.WAITED: round(waited, 3)}

    def _waited(self, message: Message) -> float | None:
        """Seconds since the message was sent to the queue."""
        return max(0.0, self._clock.time() - message.sent_at) if message.sent_at else None

    def _work(self, lease: Lease) -> Worked:
        if self._settler.was_finished(lease.message.message_id):
            instruments.duplicate("undeleted")
            return Worked(Accepted("finished_before"))
        began = self._clock.monotonic()
        worked = self._route.work(lease)
        pause = self._governor.heard(worked.worked, worked.troubles, lease.message.message_id, began)
        # Not back before it is worth a try.
        return worked.later(pause)

    def _dead_letter(self, message: Message, outcome: Rejected) -> Outcome:
        """Copy first; the message itself is deleted only after its copy is safe."""
        try:
            self._queue.dead_letter(message, outcome.reason, outcome.detail)
        except RelaydError as error:
            # Not ready: a queue that takes no dead letters is for a person to look at.
            self._condition("dead_letter_queue", error.reason)
            log.error("dead_letter_failed", message_id=message.message_id, reason=error.reason)
            delay = DEAD_LETTER_RETRY * 2 ** min(message.receive_count - 1, DEAD_LETTER_DOUBLINGS)
            return Deferred(delay, "dead_letter_failed", charged=False)
        self._condition("dead_letter_queue", None)
        return outcome

    def _report(self, message: Message, worked: Worked, began: float) -> Report:
        """The canonical line of the message, and its metrics, for when it is settled."""
        context = structlog.contextvars.get_contextvars()
        trace = spans.current_ids()
        seconds = self._clock.monotonic() - began

        def report(outcome: Outcome | None, reason: str, problem: str | None) -> None:
            word = name(outcome)
            age = self._waited(message)
            instruments.message_settled(self._engine, self._queue.name, word, reason, seconds)
            log.info(
                "message_settled",
                **context,
                **trace,
                outcome=word,
                reason=reason,
                settle_problem=problem,
                queue=self._queue.name,
                message_id=message.message_id,
                receive_count=message.receive_count,
                seconds=round(seconds, 4),
                age_seconds=None if age is None else round(age, 3),
                **worked.facts,
            )
            ended = Ended(
                message,
                word,
                reason,
                visible_in=None if outcome is None else visible_in(outcome),
                problem=problem,
                seconds=seconds,
                age=age,
                trace_id=trace.get("trace_id"),
                facts=worked.facts,
                charged=not isinstance(outcome, Deferred) or outcome.charged,
            )
            for watcher in self._watchers:
                watcher(ended)

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
