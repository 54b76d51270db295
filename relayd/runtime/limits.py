"""How many messages may be in hand for one dependency's sake: more with each success, fewer with each failure.

Additive increase, multiplicative decrease, as TCP does it. Errors, throttling and timeouts count; slowness alone does
not: at 20 s a call, sixteen slots still forward nearly a mail a second, and fewer of them would forward less.
"""

DECREASE = 0.5
"""Of the limit that is kept at a failure."""
INCREASE = 1.0
"""Messages that the limit grows by for each limitful of successes."""


class AimdLimit:
    """Between one and all of the slots. Not thread-safe: whoever holds it locks."""

    def __init__(self, most: int) -> None:
        self._most = float(most)
        self._value = float(most)
        self._decreased_at = -1.0

    @property
    def value(self) -> int:
        """Messages that may be in hand."""
        return int(self._value)

    def succeeded(self) -> bool:
        """One more success. Whether the limit is another one now."""
        return self._set(min(self._most, self._value + INCREASE / self._value))

    def failed(self, began: float, now: float) -> bool:
        """One more failure, of work that `began` and ended `now`. What began before the last decrease was let in by
        the limit of that time, and is no news about the new one: sixteen messages that fail together are one failure.
        """
        if began <= self._decreased_at:
            return False
        self._decreased_at = now
        return self._set(max(1.0, self._value * DECREASE))

    def start_at(self, value: int) -> None:
        """Begin again from here, after an outage."""
        self._set(float(max(1, min(value, int(self._most)))))

    def _set(self, value: float) -> bool:
        before, self._value = int(self._value), value
        return int(value) != before
