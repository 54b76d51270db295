"""How old the oldest message is that this replica has met lately: what a queue's age looks like from here.

SQS's own figure comes minutes late, and leaves out whatever has been received three times.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from relayd.model.message import Message
from relayd.ports import Clock

LATELY = 60.0
"""Seconds that a receive is remembered: a few long polls."""

FIRST, AGAIN = "first", "again"


@dataclass(frozen=True, slots=True)
class _Receive:
    at: float
    """Monotonic."""
    ages: dict[str, float]


class Ages:
    """Told by the poller of each receive; asked at each collection of the metrics."""

    def __init__(self, clock: Clock, in_hand: Callable[[], Sequence[Message]]) -> None:
        self._clock = clock
        self._in_hand = in_hand
        # Appended by the poller alone, and its operations are atomic; many receives of a busy minute are 600.
        self._receives: deque[_Receive] = deque(maxlen=1000)

    def received(self, messages: Sequence[Message]) -> None:
        """One receive succeeded, and brought these; none is news, too."""
        self._receives.append(_Receive(self._clock.monotonic(), self._oldest_of(messages)))

    def oldest(self) -> dict[str, float]:
        """Seconds since the oldest message was sent that is in hand now, or was received in the last minute: of those
        that had never been received before (`first`), and of the others (`again`). Empty where nothing is known.
        """
        since = self._clock.monotonic() - LATELY
        lately = [receive.ages for receive in list(self._receives) if receive.at >= since]
        now = self._oldest_of(self._in_hand())
        if not lately and not now:
            return {}
        return {which: max((ages.get(which, 0.0) for ages in (*lately, now)), default=0.0) for which in (FIRST, AGAIN)}

    def _oldest_of(self, messages: Sequence[Message]) -> dict[str, float]:
        now = self._clock.time()
        ages: dict[str, float] = {}
        for message in messages:
            if message.sent_at:
                which = FIRST if message.receive_count <= 1 else AGAIN
                ages[which] = max(ages.get(which, 0.0), now - message.sent_at)
        return ages
