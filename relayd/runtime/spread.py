"""How long things took, as counts between fixed boundaries: a few hundred bytes, however many there were."""

from bisect import bisect_left
from collections.abc import Iterable
from math import inf

_FIRST, _FACTOR, _COUNT = 0.001, 1.5, 31

BOUNDS = tuple(_FIRST * _FACTOR**power for power in range(_COUNT))
"""Seconds, from 1 ms to 192 s. A quantile is off by a fifth at most, which is enough to see whether S3 is slow."""


class Spread:
    """Counts of seconds. Not thread-safe: whoever holds it locks."""

    __slots__ = ("count", "counts", "least", "most")

    def __init__(self) -> None:
        self.counts = [0] * (_COUNT + 1)
        self.count = 0
        self.least = inf
        self.most = 0.0

    def add(self, seconds: float) -> None:
        """One more."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.count += 1
        self.least = min(self.least, seconds)
        self.most = max(self.most, seconds)

    def quantile(self, share: float) -> float | None:
        """The seconds that this share of them stayed within, from 0 to 1; None where there were none."""
        if not self.count:
            return None
        rank = share * self.count
        below = 0
        for place, count in enumerate(self.counts):
            if count and below + count >= rank:
                low = max(self.least, BOUNDS[place - 1] if place else 0.0)
                high = min(self.most, BOUNDS[place]) if place < _COUNT else self.most
                return low + (high - low) * max(0.0, rank - below) / count
            below += count
        return self.most


def joined(spreads: Iterable[Spread]) -> Spread:
    """All of them in one."""
    whole = Spread()
    for one in spreads:
        if one.count:
            whole.counts = [ours + theirs for ours, theirs in zip(whole.counts, one.counts, strict=True)]
            whole.count += one.count
            whole.least = min(whole.least, one.least)
            whole.most = max(whole.most, one.most)
    return whole
