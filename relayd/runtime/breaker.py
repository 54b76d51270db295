"""One dependency's breaker: while it is open, nothing is received that would need the dependency.

It opens at once for an error that concerns everybody, after three distinct subjects for one that may be their own, and
when most of what was tried lately failed. Then it probes without mail, ever more seldom; when a probe succeeds it lets
one message through, then more by steps.
"""

import random
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Literal

from relayd.errors import HoldError

State = Literal["closed", "open", "half_open"]

PAUSE_FIRST = 5.0
PAUSE_CAP = 300.0
"""Seconds between probes, doubled each time that one fails."""
DISTINCT = 3
"""An error that may belong to one object or one mailbox opens only after so many distinct ones met it without a success
between them: else one bad mail could stop everything."""
PAUSE_NARROW = 1.0
"""Seconds of pause for such an error: each message that meets it waits on its own, and there may be good mail behind
it. One message at a time, and one second between them, is slow enough for a dependency that refuses everything."""
SUSPECTS = 1000
KNOWN_SECONDS = 3600.0
"""How many subjects that met an error are remembered, and how long after they last did."""
WINDOW_SECONDS = 30.0
WINDOW_LEAST = 10
WINDOW_FAILED = 0.5
"""A breaker opens when at least so many results came within the window, and at least that share of them failed."""
WINDOW_MOST = 1000


class Breaker:
    """Closed, open, or half open. Not thread-safe: whoever holds it locks. Times are monotonic seconds."""

    def __init__(self, *, spread: Callable[[float, float], float] = random.uniform) -> None:
        """`spread` draws between two numbers, so that replicas do not probe in step."""
        self._spread = spread
        self.state: State = "closed"
        self.reason = ""
        self.until = 0.0
        """When open: the time of the next probe."""
        self._pause = 0.0
        self._step = 0
        self._opened_at = 0.0
        self._results: deque[tuple[float, bool]] = deque(maxlen=WINDOW_MOST)
        self._suspects: OrderedDict[str, float] = OrderedDict()
        self._news = 0

    def allowance(self, most: int) -> int:
        """How many messages may be in hand for this dependency's sake, `most` when all is well."""
        if self.state == "closed":
            return most
        return min(most, self._step) if self.state == "half_open" else 0

    def is_older(self, began: float) -> bool:
        """Whether what `began` then is no news: it was begun before the breaker opened, and may have met the dependency
        before it failed. A mail that is still being sent tells nothing about the S3 of half a minute ago.
        """
        return self.state != "closed" and began < self._opened_at

    def succeeded(self, now: float, most: int) -> bool:
        """It did its part for a message. Whether the state changed."""
        self._news = 0
        self._results.append((now, True))
        if self.state == "closed":
            return False
        # A success of mail says more than any probe.
        self._step = 2 if self.state == "open" else self._step * 2
        self.state = "half_open"
        if self._step < most:
            return True
        self._close()
        return True

    def failed(self, now: float, reason: str) -> bool:
        """A passing failure. Whether the breaker opened because of it."""
        self._results.append((now, False))
        if self.state == "half_open":
            self._open(now, reason)
            return True
        if self.state == "open":
            return False
        recent = [ok for at, ok in self._results if at > now - WINDOW_SECONDS]
        if len(recent) < WINDOW_LEAST or recent.count(False) < WINDOW_FAILED * len(recent):
            return False
        self._open(now, reason)
        return True

    def met(self, error: HoldError, subject: str, now: float) -> bool:
        """A message met an error that holds. Whether the breaker opened, or its end moved, because of it."""
        if not error.wide and not self._is_news(subject, now):
            return False
        if self.state == "open":
            # Sixteen messages that meet one outage together are one outage.
            later = now + (error.retry_after or 0.0)
            self.until = max(self.until, later)
            return False
        if error.wide:
            self._open(now, error.reason, error.retry_after or 0.0)
        else:
            self.state, self.reason, self.until = "open", error.reason, now + PAUSE_NARROW
            self._opened_at = now
        return True

    def probe_due(self, now: float) -> bool:
        return self.state == "open" and now >= self.until

    def probed(self, now: float, problem: str | None) -> bool:
        """How a probe ended: None for well. Whether the state changed."""
        if self.state != "open":
            return False
        if problem is None:
            self.state, self._step = "half_open", 1
            return True
        self.reason = problem
        self._wait(now, 0.0)
        return False

    def left(self, now: float) -> float:
        """Seconds until something may be tried."""
        return max(0.0, self.until - now) if self.state == "open" else 0.0

    def _open(self, now: float, reason: str, least: float = 0.0) -> None:
        again = self.state == "half_open"
        self.state, self.reason, self._opened_at = "open", reason, now
        if not again:
            self._pause = 0.0
        self._wait(now, least)

    def _wait(self, now: float, least: float) -> None:
        self._pause = min(PAUSE_CAP, self._pause * 2 or PAUSE_FIRST)
        self.until = now + max(self._spread(self._pause / 2, self._pause), least)

    def _close(self) -> None:
        self.state, self.reason = "closed", ""
        self._pause = 0.0
        self._results.clear()

    def _is_news(self, subject: str, now: float) -> bool:
        """Whether an error that may be one subject's own speaks against the dependency: only if it is the third new one
        without a success between, or one more after that. One that is known says nothing, however often it comes back:
        a few bad mailboxes would otherwise hold up all the others for ever.
        """
        known = now - self._suspects.pop(subject, -KNOWN_SECONDS) < KNOWN_SECONDS
        self._suspects[subject] = now
        if len(self._suspects) > SUSPECTS:
            self._suspects.popitem(last=False)
        if not known:
            self._news += 1
        return not known and self._news >= DISTINCT
