"""The Keeper: extends the lease of every message in hand, from the moment of its receive until it is settled.

A lease is SQS's visibility timeout. While we hold it nobody else gets the message; when it lapses, somebody may,
so a worker asks its lease right before the one irreversible step.
"""

import math
from dataclasses import dataclass, field

import structlog

from relayd.errors import HoldError, LeaseLostError, RelaydError, StoppingError, TransientError
from relayd.model.message import Message
from relayd.ports import Clock, EntryError, Queue
from relayd.runtime.slots import BATCH
from relayd.telemetry import instruments, spans
from relayd.telemetry.instruments import Engine

log = structlog.get_logger(__name__)

RETRY_FIRST = 1.0
RETRY_LEAST = 0.25
"""Seconds until a failed extension is tried again; doubled each time, never beyond a quarter of what is left of the
lease, and never so soon that failing becomes a storm."""
FENCE_TRIES = 3
CALL_SECONDS = 5.0
"""Added to what a fence asks for: the new lease counts from before the call that asks SQS for it."""
TURN = 1.0
"""Seconds between looks at the leases when none is due: a bound for how late a new lease is seen, nothing more."""


class Lease:
    """One message in hand. Its fields change only under the Keeper's lock."""

    def __init__(self, keeper: "Keeper", message: Message, now: float) -> None:
        self._keeper = keeper
        self._message = message
        self.received_at = now
        self.expires_at = now + keeper.visibility
        self.deadline = now + keeper.deadline
        self.due_at = now + keeper.visibility / 2
        self.failures = 0
        self.extending = False
        self.lost = False
        self.worker = ""
        """The name of the thread that works on the message, for whoever has to look for a stuck one."""
        self.received: spans.Reference | None = None
        """The span of the receive that brought it."""
        self.trace = spans.NOTHING
        """The span of the work on it, once that has begun."""

    @property
    def message(self) -> Message:
        return self._message

    def fence(self, seconds: float) -> None:
        """See `relayd.ports.Lease.fence`."""
        self._keeper.fence(self, seconds)

    def left(self) -> float:
        """See `relayd.ports.Lease.left`."""
        return self._keeper.left(self)


@dataclass
class _Extensions:
    """What one round of extending changed, told outside the lock."""

    lost: list[Lease] = field(default_factory=list)
    extended: int = 0


class Keeper:
    """Owner of all leases; its thread starts with the first poll and ends after the last settlement."""

    def __init__(
        self, queue: Queue, clock: Clock, *, visibility: float, deadline: float, engine: Engine = "mail"
    ) -> None:
        self.visibility = visibility
        self.deadline = deadline
        self._engine: Engine = engine
        self._queue = queue
        self._clock = clock
        self._changed = clock.condition()
        self._held: dict[str, Lease] = {}
        self._stopped = False
        self._sends_end_at: float | None = None
        self._looks_at = 0.0
        """When its thread looks at the leases next, unless it is woken."""
        self._thread = clock.spawn("keeper", self._run)

    # What the others ask of it.

    def hold(self, message: Message, received_at: float) -> Lease:
        """Take a message in hand: its lease has been running since `received_at` (monotonic)."""
        lease = Lease(self, message, received_at)
        with self._changed:
            # By handle, not by id: one receive may hold a message twice, and each copy has a lease of its own.
            self._held[message.receipt_handle] = lease
            if lease.due_at < self._looks_at:
                # Rare: a lease that began later is due later.
                self._changed.notify_all()
        return lease

    def drop(self, lease: Lease) -> None:
        """Stop extending, and wait for an extension under way: one that lands after the settlement would hide a
        message that was just handed back.
        """
        with self._changed:
            self._held.pop(lease.message.receipt_handle, None)
            while lease.extending:
                self._changed.wait(TURN)

    def fence(self, lease: Lease, seconds: float) -> None:
        """See `relayd.ports.Lease.fence`."""
        for _ in range(FENCE_TRIES):
            if self._is_long_enough(lease, seconds):
                return
        if not self._is_long_enough(lease, seconds):
            # Not lost, but not ours for long enough: hand it back while it can be.
            raise TransientError("lease_too_short", charged=False)

    def left(self, lease: Lease) -> float:
        """See `relayd.ports.Lease.left`."""
        with self._changed:
            if lease.lost:
                return 0.0
            ends = lease.deadline if self._sends_end_at is None else min(lease.deadline, self._sends_end_at)
            return max(0.0, ends - self._clock.monotonic())

    def _is_long_enough(self, lease: Lease, seconds: float) -> bool:
        """Whether the lease covers so many seconds. If not, it has been tried to be extended by now."""
        with self._changed:
            while lease.extending:
                self._changed.wait(TURN)
            now = self._clock.monotonic()
            if lease.lost or lease.message.receipt_handle not in self._held:
                raise LeaseLostError
            if self._sends_end_at is not None and now + seconds > self._sends_end_at:
                raise StoppingError
            if now >= lease.deadline:
                raise TransientError("deadline_passed")
            if lease.expires_at - now >= seconds:
                return True
            lease.extending = True
        self._extend([lease], max(self.visibility, seconds + CALL_SECONDS))
        return False

    def in_hand(self) -> list[Lease]:
        """Every message that is held right now, oldest first."""
        with self._changed:
            return sorted(self._held.values(), key=lambda lease: lease.received_at)

    def held(self) -> int:
        """How many messages are held right now."""
        return len(self._held)

    def end_sends_at(self, when: float) -> None:
        """From now on a send must be over by `when` (monotonic): the daemon is stopping."""
        with self._changed:
            self._sends_end_at = when

    def stop(self, timeout: float) -> None:
        """Extend nothing any more. What is still held comes back to the queue when its lease lapses."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._thread.join(timeout)

    # Its thread.

    def _run(self) -> None:
        while True:
            with self._changed:
                due = self._wait_for_due()
                if due is None:
                    return
                for lease in due:
                    lease.extending = True
            try:
                self._extend(due, self.visibility)
            except Exception:
                # This thread ends with the daemon and for no other reason: without it every lease lapses.
                log.exception("extend_failed")

    def _wait_for_due(self) -> list[Lease] | None:
        """Up to a batch of leases that are due, or None at the stop. Called and left with the lock held."""
        while not self._stopped:
            now = self._clock.monotonic()
            candidates = [x for x in self._held.values() if not x.extending and not x.lost and now < x.deadline]
            due = sorted((x for x in candidates if x.due_at <= now), key=lambda x: x.expires_at)
            if due:
                return due[:BATCH]
            next_due = min((x.due_at for x in candidates), default=None)
            self._looks_at = math.inf if next_due is None else next_due
            self._changed.wait(None if next_due is None else next_due - now)
            # Until it has looked again it need not be woken.
            self._looks_at = 0.0
        return None

    def _extend(self, leases: list[Lease], seconds: float) -> None:
        """Extend leases that are marked `extending`, in one call, and unmark them."""
        # The new lease counts from the server's clock during the call: count from before it, never from after.
        began = self._clock.monotonic()
        answers: list[EntryError | None]
        try:
            with spans.batch(lease.trace for lease in leases):
                answers = self._queue.change_visibility([(x.message.receipt_handle, seconds) for x in leases])
        except RelaydError as error:
            answers = [EntryError(error.reason, gone=False)] * len(leases)
            if isinstance(error, HoldError) and leases[0].failures == 0:
                # A missing right will not mend itself: say so loudly, but not with each try.
                log.error("extend_refused", queue=self._queue.name, reason=error.reason, detail=error.detail)
        except Exception:
            # A bug in the adapter must not end the thread that all leases depend on.
            log.exception("extend_failed")
            answers = [EntryError("bug", gone=False)] * len(leases)
        changes = _Extensions()
        with self._changed:
            now = self._clock.monotonic()
            for lease, answer in zip(leases, answers, strict=True):
                lease.extending = False
                self._take_answer(lease, answer, began + seconds, now, changes)
            self._changed.notify_all()
        if changes.extended:
            instruments.leases_extended(self._engine, changes.extended)
        for lease in changes.lost:
            instruments.leases_lost(self._engine, 1)
            log.warning("lease_lost", message_id=lease.message.message_id, receive_count=lease.message.receive_count)

    def _take_answer(
        self, lease: Lease, answer: EntryError | None, expires_at: float, now: float, changes: _Extensions
    ) -> None:
        if answer is None:
            lease.expires_at, lease.failures = expires_at, 0
            lease.due_at = expires_at - self.visibility / 2
            changes.extended += 1
            return
        left = lease.expires_at - now
        if answer.gone or left <= 0:
            lease.lost = True
            changes.lost.append(lease)
            return
        lease.failures += 1
        lease.due_at = now + max(RETRY_LEAST, min(RETRY_FIRST * 2 ** (lease.failures - 1), left / 4))
