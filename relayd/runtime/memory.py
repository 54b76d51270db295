"""The byte budget: how much memory the mails in hand may take, known before their bodies are read.

A mail of n bytes costs about 6 n at its peak: the body, the rewritten mail, its base64 form and the request that
carries it to SES.
"""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from relayd.errors import TransientError
from relayd.ports import Clock

PER_BYTE = 6
"""Measured with SES v2: a mail of 38 MB peaks at about 190 MB, one that must be encoded anew at a little over 6 x."""
FREE_BYTES = 64 * 1024
"""Mails up to this size are not counted: all slots full of them are less than one large mail."""
TURN = 1.0
"""Seconds between looks at how long one may still wait."""


class MemoryBudget:
    """Bytes that are reserved, and who waits for some. Whoever came first is served first, so that a large mail's turn
    comes, however many small ones there are.
    """

    def __init__(self, clock: Clock, total: int) -> None:
        self._clock = clock
        self._total = total
        self._reserved = 0
        self._changed = clock.condition()
        self._waiting: deque[object] = deque()

    @property
    def reserved(self) -> int:
        """Bytes."""
        return self._reserved

    @property
    def total(self) -> int:
        """Bytes that may be reserved."""
        return self._total

    @property
    def waiting(self) -> int:
        """How many wait for some."""
        return len(self._waiting)

    @contextmanager
    def reserve(self, size: int, left: Callable[[], float]) -> Iterator[None]:
        """See `relayd.ports.Memory.reserve`."""
        cost = self._cost(size)
        if cost:
            self._take(cost, left)
        try:
            yield
        finally:
            with self._changed:
                self._reserved -= cost
                self._changed.notify_all()

    def _take(self, cost: int, left: Callable[[], float]) -> None:
        ticket = object()
        with self._changed:
            self._waiting.append(ticket)
            try:
                while self._waiting[0] is not ticket or not self._fits(cost):
                    patience = left()
                    if patience <= 0:
                        raise TransientError("memory_full", charged=False)
                    self._changed.wait(min(patience, TURN))
                self._reserved += cost
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()

    def _fits(self, cost: int) -> bool:
        return self._reserved + cost <= self._total

    def _cost(self, size: int) -> int:
        # A mail that is larger than all of the budget goes alone: refused, it would never go.
        return min(size * PER_BYTE, self._total) if size > FREE_BYTES else 0
