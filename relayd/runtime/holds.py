"""The plain pause: while a dependency is unusable for every message, nothing is received.

Mail waits in the queue, untouched, so that an outage costs no receive count and fills no dead-letter queue. After
the pause one message at a time tries, until one gets through. (Limits that adapt, and probes that need no mail,
will take this room's place.)
"""

from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass

import structlog

from relayd.errors import Dependency, HoldError
from relayd.ports import Clock

log = structlog.get_logger(__name__)

PAUSE_FIRST = 5.0
PAUSE_CAP = 300.0
"""Seconds of pause, doubled each time that the try after it fails again."""
DISTINCT = 3
"""An error that may belong to one object or one mailbox holds only after so many distinct ones met it without a success
between them: else one bad mail could stop everything."""
PAUSE_NARROW = 1.0
"""Seconds of pause for such an error: each message that meets it waits on its own, and there may be good mail behind
it. One message at a time, and one second between them, is slow enough for a dependency that refuses everything."""
SUSPECTS = 1000
KNOWN_SECONDS = 3600.0
"""How many subjects that met an error are remembered, and how long after they last did."""


@dataclass
class _Hold:
    reason: str
    until: float
    pause: float


class Holds:
    """Which dependencies are held, and how many messages may be in flight because of it."""

    def __init__(self, clock: Clock, changed: Callable[[str, str | None], None] = lambda *_: None) -> None:
        """`changed` is told each dependency that is held, with the reason, and with None when it works again."""
        self._clock = clock
        self._tell = changed
        self._lock = clock.condition()
        self._holds: dict[Dependency, _Hold] = {}
        self._suspects: dict[Dependency, OrderedDict[str, float]] = {}
        self._news: dict[Dependency, int] = {}

    def met(self, error: HoldError, message_id: str) -> float:
        """A message met this error. Returns the seconds after which it is worth coming back."""
        with self._lock:
            if not error.wide and not self._is_news(error, error.subject or message_id):
                return 0.0
            pause, began = self._open(error)
        if began:
            # Outside of the lock, which probes take too: a log that blocks must not block them.
            self._tell(error.dependency, error.reason)
            log.error("hold_began", dependency=error.dependency, reason=error.reason, pause_seconds=round(pause, 1))
        return pause

    def succeeded(self, dependencies: Collection[Dependency]) -> None:
        """These did what they were asked to: whatever was held of them works again."""
        with self._lock:
            ended = [dependency for dependency in dependencies if self._holds.pop(dependency, None) is not None]
            for dependency in dependencies:
                self._news.pop(dependency, None)
        for dependency in ended:
            self._tell(dependency, None)
            log.info("hold_ended", dependency=dependency)

    def allowance(self, in_flight: int, limit: int) -> int:
        """How many more messages may be taken in hand now."""
        with self._lock:
            if not self._holds:
                return limit
            if self._pause_left() > 0:
                return 0
            return max(0, 1 - in_flight)

    def held(self) -> dict[str, str]:
        """Dependency and reason of every hold."""
        with self._lock:
            return {dependency: hold.reason for dependency, hold in self._holds.items()}

    def pause_left(self) -> float:
        """Seconds until the next try; 0 when nothing is held or a try is due."""
        with self._lock:
            return self._pause_left()

    def _pause_left(self) -> float:
        now = self._clock.monotonic()
        return max((hold.until - now for hold in self._holds.values()), default=0.0)

    def _is_news(self, error: HoldError, subject: str) -> bool:
        """Whether an error that may be one subject's own speaks against the dependency: only if it is the third new one
        without a success between, or one more after that. One that is known says nothing, however often it comes back:
        a few bad mailboxes would otherwise hold up all the others for ever.
        """
        now = self._clock.monotonic()
        suspects = self._suspects.setdefault(error.dependency, OrderedDict())
        known = now - suspects.pop(subject, -KNOWN_SECONDS) < KNOWN_SECONDS
        suspects[subject] = now
        if len(suspects) > SUSPECTS:
            suspects.popitem(last=False)
        if not known:
            self._news[error.dependency] = self._news.get(error.dependency, 0) + 1
        return not known and self._news[error.dependency] >= DISTINCT

    def _open(self, error: HoldError) -> tuple[float, bool]:
        """Seconds of pause, and whether it begins now."""
        now = self._clock.monotonic()
        hold = self._holds.get(error.dependency)
        if hold is not None and hold.until > now:
            # Sixteen messages that meet one outage together are one hold, not sixteen doublings.
            return hold.until - now, False
        pause = PAUSE_NARROW
        if error.wide:
            pause = PAUSE_FIRST if hold is None else min(PAUSE_CAP, hold.pause * 2)
        pause = max(pause, error.retry_after or 0.0)
        self._holds[error.dependency] = _Hold(error.reason, now + pause, min(pause, PAUSE_CAP))
        return pause, True
