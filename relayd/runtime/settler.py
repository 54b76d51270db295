"""The Settler: tells SQS how messages ended, in batches, and goes on trying for as long as their leases run."""

import math
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import structlog

from relayd.errors import HoldError, RelaydError
from relayd.ports import Clock, EntryError, Queue, Thread
from relayd.runtime.leases import Lease
from relayd.runtime.slots import BATCH
from relayd.telemetry import instruments, spans
from relayd.telemetry.instruments import Engine

log = structlog.get_logger(__name__)

LINGER = 0.1
"""Seconds that an entry waits for company. Ten deletes in one call cost SQS, and us, as much as one; and nobody waits
for them: the message's lease runs, and its slot has been free since before.
"""
RETRY_FIRST = 0.2
RETRY_CAP = 5.0
REMEMBERED = 10_000
"""Finished messages whose delete failed, kept so that a redelivery is deleted without any work. Beyond that many,
the ledger still knows."""

GONE = "lease_gone"
LAPSED = "lease_lapsed"


@dataclass
class Settlement:
    """One message to settle. `visible_in` None deletes it; a number lets it come back after so many seconds."""

    lease: Lease
    visible_in: float | None
    done: Callable[[str | None], None]
    """Called once, on the Settler's thread: None when SQS agreed, else why it did not."""
    trace: spans.Handle = spans.NOTHING
    queued_at: float = 0.0
    tries: int = 0
    not_before: float = 0.0

    @property
    def deletes(self) -> bool:
        return self.visible_in is None


class Settler:
    """One thread that batches deletes and visibility changes. Bounded: a full one makes workers wait."""

    def __init__(self, queue: Queue, clock: Clock, *, bound: int, engine: Engine = "mail") -> None:
        self._engine: Engine = engine
        self._queue = queue
        self._clock = clock
        self._bound = max(bound, BATCH)
        self._changed = clock.condition()
        self._pending: deque[Settlement] = deque()
        self._in_call = 0
        self._stopping = False
        self._looks_at = 0.0
        """When its thread looks at what is pending next, unless it is woken."""
        self._unfinished: OrderedDict[str, None] = OrderedDict()
        self._thread: Thread = clock.spawn("settler", self._run)

    def submit(self, settlement: Settlement, *, wait: bool = True) -> None:
        """Settle soon. The message's extension must have been dropped. Waits while too many are pending; a stop, which
        has a deadline of its own, does not wait.
        """
        with self._changed:
            while wait and len(self._pending) >= self._bound and not self._stopping:
                self._changed.wait(1.0)
            settlement.queued_at = self._clock.monotonic()
            self._pending.append(settlement)
            if len(self._pending) >= BATCH or self._stopping or self._looks_at > settlement.queued_at + LINGER:
                self._changed.notify_all()

    def was_finished(self, message_id: str) -> bool:
        """Whether this message was done before and only its delete failed."""
        with self._changed:
            return message_id in self._unfinished

    def pending(self) -> int:
        with self._changed:
            return len(self._pending) + self._in_call

    def stop(self, timeout: float) -> bool:
        """Flush what is pending and end. False when something was left at the timeout."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._changed:
                batch = self._next_batch()
                self._in_call = len(batch)
            if not batch:
                return
            self._settle(batch)

    def _next_batch(self) -> list[Settlement]:
        """Up to ten entries of one kind that are ready; empty only at the stop. The lock is held."""
        while True:
            now = self._clock.monotonic()
            ready = [x for x in self._pending if x.not_before <= now]
            if ready:
                batch = [x for x in ready if x.deletes == ready[0].deletes][:BATCH]
                linger = ready[0].queued_at + LINGER - now
                if len(batch) == BATCH or linger <= 0 or self._stopping:
                    for settlement in batch:
                        self._pending.remove(settlement)
                    return batch
                self._wait(now, linger)
            elif self._pending:
                self._wait(now, min(x.not_before for x in self._pending) - now)
            elif self._stopping:
                return []
            else:
                self._wait(now, None)

    def _wait(self, now: float, seconds: float | None) -> None:
        self._looks_at = math.inf if seconds is None else now + seconds
        self._changed.wait(seconds)
        # Until it has looked again it need not be woken.
        self._looks_at = 0.0

    def _settle(self, batch: list[Settlement]) -> None:
        answers: list[EntryError | None]
        try:
            with spans.batch(x.trace for x in batch):
                answers = self._call(batch)
        except RelaydError as error:
            answers = [EntryError(error.reason, gone=False)] * len(batch)
            self._refused(error, batch[0])
        except Exception:
            # A bug in the adapter must not end the thread that all settlements depend on.
            log.exception("settle_failed")
            answers = [EntryError("bug", gone=False)] * len(batch)
        finished: list[tuple[Settlement, str | None]] = []
        with self._changed:
            now = self._clock.monotonic()
            for settlement, answer in zip(batch, answers, strict=True):
                problem = self._take_answer(settlement, answer, now)
                if problem != _AGAIN:
                    finished.append((settlement, problem))
            self._in_call = 0
            self._changed.notify_all()
        for settlement, problem in finished:
            try:
                settlement.done(problem)
            except Exception:
                # What is told about a message must not end the thread that settles all the others.
                log.exception("settle_failed")

    def _call(self, batch: list[Settlement]) -> list[EntryError | None]:
        if batch[0].deletes:
            return self._queue.delete([x.lease.message.receipt_handle for x in batch])
        return self._queue.change_visibility([(x.lease.message.receipt_handle, x.visible_in or 0.0) for x in batch])

    def _refused(self, error: RelaydError, first: Settlement) -> None:
        """A missing right will not mend itself: say so loudly, but not with each try."""
        if isinstance(error, HoldError) and first.tries == 0:
            told = {"operation": _operation(first), "reason": error.reason, "detail": error.detail}
            log.error("settle_refused", queue=self._queue.name, **told)

    def _take_answer(self, settlement: Settlement, answer: EntryError | None, now: float) -> str | None:
        message_id = settlement.lease.message.message_id
        if answer is None:
            self._unfinished.pop(message_id, None)
            return None
        if not answer.gone and now < settlement.lease.expires_at:
            settlement.tries += 1
            settlement.trace.noted("settle_failed", answer.code)
            delay = min(RETRY_CAP, RETRY_FIRST * 2 ** (settlement.tries - 1))
            # The last try falls before the lease ends: after it the handle is worth nothing.
            settlement.not_before = min(now + delay, settlement.lease.expires_at)
            self._pending.append(settlement)
            return _AGAIN
        if settlement.deletes:
            self._unfinished[message_id] = None
            if len(self._unfinished) > REMEMBERED:
                self._unfinished.popitem(last=False)
        problem = GONE if answer.gone else LAPSED
        instruments.settlement_failed(self._engine, _operation(settlement), problem)
        return problem


def _operation(settlement: Settlement) -> Literal["delete", "change_visibility"]:
    return "delete" if settlement.deletes else "change_visibility"


_AGAIN = "again"
