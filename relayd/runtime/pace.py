"""The pace of sending: no faster than the account may, and slower when SES says so.

The account's rate is shared with other replicas and other programs, of which nobody here knows; throttling tells. So
the pace is lowered at each throttle and creeps up again, as congestion control shares a line.
"""

from collections.abc import Callable

import structlog

from relayd.ports import Clock
from relayd.telemetry import instruments, names, spans

log = structlog.get_logger(__name__)

LOWERED = 0.85
"""Of the rate that is kept when SES throttles."""
LOWERED_EVERY = 1.0
"""Seconds in which several throttles are one: they answer the same second of sending."""
RAISED = 0.02
"""Of the account's rate, added for each second without a throttle."""
LEAST = 0.05
"""Of the account's rate: a floor, so that twenty replicas still send."""
BURST_SECONDS = 1.0
"""SES counts by the second and forgives short bursts."""
TURN = 1.0
"""Seconds between looks at how long one may still wait."""


class Pace:
    """Hands out the right to send, one mail at a time and in order of asking."""

    def __init__(self, clock: Clock, rate: float | None = None) -> None:
        """`rate`: mails a second that the account may send; None while nobody knows."""
        self._clock = clock
        self._changed = clock.condition()
        self._most = rate
        self._rate = rate
        self._next = 0.0
        self._waiting = 0
        self._touched = clock.monotonic()
        self._lowered_at = -LOWERED_EVERY

    @property
    def rate(self) -> float | None:
        """Mails a second, now; None: as fast as they come."""
        with self._changed:
            self._raise()
            return self._rate

    @property
    def account_rate(self) -> float | None:
        """Mails a second that the account may send; None while nobody knows."""
        return self._most

    @property
    def waiting(self) -> int:
        """Sends that wait for their turn now."""
        return self._waiting

    def allow(self, rate: float | None) -> None:
        """What the account may send, as SES told."""
        with self._changed:
            if rate == self._most:
                return
            self._most = rate
            self._rate = rate if rate is None or self._rate is None else min(self._rate, rate)
        log.info("pace_changed", account_rate=rate)

    def throttled(self) -> None:
        """SES refused a mail because of the rate."""
        now = self._clock.monotonic()
        with self._changed:
            if self._rate is None or self._most is None or now - self._lowered_at < LOWERED_EVERY:
                return
            self._raise()
            self._lowered_at = now
            rate = self._rate = max(self._most * LEAST, self._rate * LOWERED)
        log.warning("pace_changed", rate=round(rate, 2))

    def wait(self, left: Callable[[], float]) -> bool:
        """See `relayd.ports.Pace.wait`."""
        patience = max(0.0, left())
        with self._changed:
            self._raise()
            if self._rate is None:
                return True
            now = self._clock.monotonic()
            turn = max(self._next, now - BURST_SECONDS)
            if turn - now > patience:
                return False
            self._next = turn + 1.0 / self._rate
            if turn <= now:
                return True
            self._waiting += 1
        try:
            with spans.step(names.PACE_WAIT):
                return self._sleep_until(turn, left)
        finally:
            with self._changed:
                self._waiting -= 1
            instruments.pace_waited(self._clock.monotonic() - now)

    def _sleep_until(self, turn: float, left: Callable[[], float]) -> bool:
        while (wait := turn - self._clock.monotonic()) > 0:
            if left() <= 0:
                return False
            self._clock.sleep(min(wait, TURN))
        return True

    def _raise(self) -> None:
        now = self._clock.monotonic()
        passed, self._touched = now - self._touched, now
        if self._rate is not None and self._most is not None and self._rate < self._most:
            self._rate = min(self._most, self._rate + self._most * RAISED * passed)
