"""The Poller: asks for as many messages as there are free workers, and hands each straight to one.

Nothing waits in memory with its lease running, and nothing but a stop ends this thread: every error backs off.
"""

import random
from collections.abc import Callable, Sequence

import structlog

from relayd.errors import HoldError, RelaydError
from relayd.model.message import Message
from relayd.ports import Clock, Queue
from relayd.runtime.ages import Ages
from relayd.runtime.gates import Gate
from relayd.runtime.governor import Governor
from relayd.runtime.health import HealthState
from relayd.runtime.leases import Keeper, Lease
from relayd.runtime.slots import Slots
from relayd.telemetry import instruments, spans

log = structlog.get_logger(__name__)

BACKOFF_FIRST = 1.0
BACKOFF_CAP = 30.0
UNREADY_FAILURES = 3
"""Failed receives in a row after which the daemon is not ready; one or two happen to the best of networks."""
TURN = 1.0
"""Seconds after which a poller that may not or cannot poll counts a turn, so that liveness sees it alive."""


Polled = Callable[[float, list[Message]], None]
"""Told of each successful receive: when it began, in seconds since the epoch, and what is in hand since then: what it
brought, and what earlier ones did that is still being worked on."""


class Poller:
    """One thread that polls. What arrives after the stop goes to `late`: nobody begins with it."""

    def __init__(
        self,
        queue: Queue,
        clock: Clock,
        *,
        slots: Slots,
        keeper: Keeper,
        governor: Governor,
        health: HealthState,
        submit: Callable[[Lease], None],
        late: Callable[[Lease], None],
        wait: float,
        stuck: Callable[[], int],
        polled: Polled | None = None,
        gates: Sequence[Gate] = (),
        ages: Ages,
    ) -> None:
        """`stuck`: messages in hand that are long past their deadline. `ages` is told what was received."""
        self._queue = queue
        self._clock = clock
        self._slots = slots
        self._keeper = keeper
        self._governor = governor
        self._health = health
        self._submit = submit
        self._late = late
        self._wait = wait
        self._stuck = stuck
        self._polled = polled
        self._gates = gates
        self._ages = ages
        self._stop = clock.condition()
        self._stopping = False
        self._failures = 0
        self._thread = clock.spawn("poller", self._run)

    def stop(self) -> None:
        """Begin no other poll. One that is open is left to end: SQS may still hand it messages, and if nobody is
        there to take them they are gone for a whole visibility timeout.
        """
        with self._stop:
            self._stopping = True
            self._stop.notify_all()

    def join(self, timeout: float) -> bool:
        """Wait for the open poll to end. False when the timeout passed first."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stopping:
            try:
                pause = self._turn()
            except RelaydError as error:
                pause = self._failed(error)
            except Exception:
                log.exception("poll_failed")
                pause = self._backoff()
            self._health.poll_turned(self._clock.monotonic())
            self._sleep(pause)

    def _turn(self) -> float:
        """Receive once, if anything may be received. Returns the seconds to wait before the next turn."""
        if self._allowance() == 0:
            return min(TURN, max(self._governor.pause_left(), 0.05))
        taken = self._slots.take(TURN)
        given = 0
        try:
            # A stop may have come while no slot was free: another poll would keep it waiting for nothing. Or a breaker
            # may have opened.
            wanted = 0 if self._stopping else min(taken, self._allowance(taken))
            for lease in self._receive(wanted) if wanted else []:
                self._submit(lease)
                given += 1
        finally:
            # Whoever was given a message gives its slot back; the rest goes back here.
            self._slots.give(taken - given)
        return 0.0

    def _allowance(self, taken: int = 0) -> int:
        # A worker that hangs has its slot; it must not have the one turn of a breaker's trial, too.
        governed = self._governor.allowance(max(0, self._slots.busy - taken - self._stuck()))
        return min([governed, *(gate.allowance() for gate in self._gates)])

    def _receive(self, wanted: int) -> list[Lease]:
        began = self._clock.time()
        messages = self._queue.receive(wanted, self._wait, self._keeper.visibility)
        if self._failures:
            log.info("poll_recovered", failures=self._failures)
        self._failures = 0
        self._health.condition("queue", None)
        if self._polled is not None:
            self._polled(began, [*messages, *(lease.message for lease in self._keeper.in_hand())])
        now = self._clock.monotonic()
        received = None
        if messages:
            instruments.messages_consumed(len(messages), self._queue.name)
            received = spans.received(self._queue.name, messages, began)
            for gate in self._gates:
                gate.took(len(messages))
        leases = [self._keeper.hold(message, now) for message in messages]
        for lease in leases:
            lease.received = received
        self._ages.received(messages)
        if self._stopping:
            for lease in leases:
                self._late(lease)
            return []
        return leases

    def _failed(self, error: RelaydError) -> float:
        pause = self._backoff()
        if isinstance(error, HoldError) or self._failures >= UNREADY_FAILURES:
            self._health.condition("queue", error.reason)
        if isinstance(error, HoldError):
            # A missing queue or a denied access will not mend itself: say so loudly.
            told = {"queue": self._queue.name, "reason": error.reason, "detail": error.detail}
            log.error("poll_held", **told, retry_seconds=round(pause, 1))
        else:
            log.warning("poll_failed", queue=self._queue.name, reason=error.reason, retry_seconds=round(pause, 1))
        return pause

    def _backoff(self) -> float:
        self._failures += 1
        ceiling = min(BACKOFF_CAP, BACKOFF_FIRST * 2 ** min(self._failures - 1, 10))
        return random.uniform(ceiling / 2, ceiling)  # noqa: S311 - jitter, not a secret

    def _sleep(self, seconds: float) -> None:
        deadline = self._clock.monotonic() + seconds
        while not self._stopping:
            left = deadline - self._clock.monotonic()
            if left <= 0:
                return
            with self._stop:
                if not self._stopping:
                    self._stop.wait(min(left, TURN))
            self._health.poll_turned(self._clock.monotonic())
