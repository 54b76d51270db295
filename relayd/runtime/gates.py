"""Gates before the poller: what, beside free slots and the governor, may keep messages in the queue."""

from typing import Protocol

from relayd.ports import Clock

UNLIMITED = 1_000_000
"""More messages than anybody takes at once."""


class Gate(Protocol):
    """Asked before each receive, and told of what it brought. Neither may block or raise."""

    def allowance(self) -> int:
        """How many more messages may be received now; `UNLIMITED` where this gate does not mind."""
        ...

    def took(self, count: int) -> None:
        """So many were received."""
        ...


class Ration:
    """At most so many messages in all, and at most so many a second. The poller's thread asks; any may give back."""

    def __init__(self, clock: Clock, *, most: int | None = None, rate: float | None = None) -> None:
        """`rate`: messages a second. A second's worth may come at once, and a poll brings whole messages."""
        self._clock = clock
        self._lock = clock.condition()
        self._left = most
        self._rate = rate
        self._saved = max(1.0, rate or 0.0)
        self._counted_at = clock.monotonic()

    @property
    def spent(self) -> bool:
        """Whether nothing more may be received, unless something is given back."""
        return self._left is not None and self._left <= 0

    def allowance(self) -> int:
        """What is left of both."""
        with self._lock:
            allowed = UNLIMITED if self._left is None else max(0, self._left)
            return allowed if self._rate is None else max(0, min(allowed, int(self._refilled(self._rate))))

    def took(self, count: int) -> None:
        """Count messages that were received."""
        with self._lock:
            if self._left is not None:
                self._left -= count
            self._saved -= count

    def gave_back(self, count: int) -> None:
        """Messages went back without having been tried: they are no part of the ration. The rate, which spares whoever
        is asked, has been used all the same.
        """
        with self._lock:
            if self._left is not None:
                self._left += count

    def _refilled(self, rate: float) -> float:
        now = self._clock.monotonic()
        self._saved = min(max(1.0, rate), self._saved + (now - self._counted_at) * rate)
        self._counted_at = now
        return self._saved
