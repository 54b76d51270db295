"""Working a queue down: when it is empty, and what is waited for until then.

The engine does the work; this watches the engine, the queue's counts and the time, and says when to stop.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from relayd.adapters.queue_depth import QueueDepth
from relayd.errors import RelaydError
from relayd.ops.tally import Sums, Tally
from relayd.ports import Clock
from relayd.runtime.supervisor import Supervisor

LOOKS = 5
"""So many looks in a row must find the queue empty: SQS's counts are approximate, and lag behind."""
LOOK_SECONDS = 1.5
"""Between two looks. The engine's own polls, which ask all of SQS's servers, find nothing meanwhile either."""
TICK = 0.2
"""Seconds between looks at the engine, for whoever watches."""
IDLE_TICKS = 5
"""For so many of them nothing is in hand before the engine counts as idle: a message that was received an instant ago
is in nobody's hand yet."""

Ending = Literal["empty", "enough", "timeout", "interrupted"]
"""`enough`: as many messages as were asked for."""


@dataclass(frozen=True, slots=True)
class Look:
    """The queue and the engine at one moment. Counts of messages."""

    depth: QueueDepth | None
    """None when the queue did not answer."""
    trouble: str | None
    """Why it did not."""
    done: int
    """Finished, or put off on purpose."""
    in_hand: int
    """Without those that were put off on purpose before: most likely they are again."""
    coming_back: int
    """Put off, and waited for."""
    on_purpose: int
    """Put off for longer than is waited for, or back from that and about to be put off again."""
    stays: int = 0
    """In flight for so long that nobody can be working on it: somebody else put it off on purpose."""

    @property
    def elsewhere(self) -> int:
        """In flight, and not by our doing: another replica's, or a killed one's until its leases lapse."""
        if self.depth is None:
            return 0
        return max(0, self.depth.in_flight - self.in_hand - self.coming_back - self.on_purpose - self.stays)

    @property
    def left(self) -> int:
        """What is waited for, as far as anybody knows."""
        if self.depth is None:
            return self.in_hand + self.coming_back
        return max(0, self.depth.total - self.on_purpose - self.stays)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left but what was put off on purpose."""
        return self.depth is not None and self.left == self.in_hand == self.coming_back == 0


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a drain is, and what it waits for."""

    look: Look
    """The last one."""
    sums: Sums
    down: Mapping[str, str]
    """Dependencies whose breaker is open, and why: nothing is received meanwhile."""
    next_try: float
    """Seconds until one of them is tried again."""
    back_in: float | None
    """Seconds until the last of those messages comes back that were put off and are waited for."""
    paused: bool
    """Whether all mail is paused."""


class Limit(Protocol):
    """What may end a drain before the queue is empty."""

    @property
    def spent(self) -> bool:
        """Whether no more messages may be received."""
        ...


class Drain:
    """Watches one engine until its queue is empty."""

    def __init__(
        self,
        engine: Supervisor,
        tally: Tally,
        depth: Callable[[], QueueDepth],
        clock: Clock,
        *,
        limit: Limit,
        ends_at: float | None,
        lease_seconds: float,
        paused: Callable[[], bool] = lambda: False,
    ) -> None:
        """`depth` asks the queue, and may raise RelaydError. `ends_at`: monotonic. `lease_seconds`: the longest that
        anybody can keep a message to work on it, its deadline and the lease that is running then.
        """
        self._engine = engine
        self._tally = tally
        self._depth = depth
        self._clock = clock
        self._limit = limit
        self._ends_at = ends_at
        self._lease_seconds = lease_seconds
        self._paused = paused
        self._strangers = 0
        self._strangers_since = 0.0

    def run(self, pause: Callable[[float], bool], shown: Callable[[Standing], None]) -> Ending:
        """Return when the queue is empty, or when there is another reason to stop; the engine runs on.

        `pause` waits so many seconds and answers whether somebody wants a stop; `shown` is told, after each pause, how
        far it is.
        """
        look = self.look()
        looked_at, quiet, idle, news = self._clock.monotonic(), 0, 0, self._tally.news
        while True:
            shown(self._standing(look))
            if pause(TICK):
                return "interrupted"
            now = self._clock.monotonic()
            idle = idle + 1 if self._engine.in_flight() == self._engine.settler.pending() == 0 else 0
            if self._limit.spent and idle >= IDLE_TICKS:
                return "enough"
            if self._ends_at is not None and now >= self._ends_at:
                return "timeout"
            if now >= looked_at + LOOK_SECONDS:
                look, looked_at = self.look(), now
                # What came and went between two looks was there, too.
                unchanged, news = news == self._tally.news, self._tally.news
                quiet = quiet + 1 if look.is_empty and unchanged else 0
                if quiet >= LOOKS:
                    return "empty"

    def look(self) -> Look:
        """The queue and the engine, now."""
        depth: QueueDepth | None = None
        trouble: str | None = None
        try:
            depth = self._depth()
        except RelaydError as error:
            trouble = error.reason
        coming_back, on_purpose = self._tally.away()
        done = self._tally.sums().finished + on_purpose
        in_hand = self._tally.unknown(self._leased()) + self._engine.settler.pending()
        look = Look(depth, trouble, done, in_hand, coming_back, on_purpose)
        return replace(look, stays=self._staying(look))

    def _staying(self, look: Look) -> int:
        """How many of the strangers in flight nobody can be working on: all, once there have been as many of them for
        longer than a lease can be kept. What is worked on ends, or comes back.
        """
        now = self._clock.monotonic()
        if look.elsewhere != self._strangers:
            self._strangers, self._strangers_since = look.elsewhere, now
        return self._strangers if now - self._strangers_since > self._lease_seconds else 0

    def _standing(self, look: Look) -> Standing:
        governor = self._engine.governor
        return Standing(
            look,
            self._tally.sums(self._leased()),
            {name: str(one["reason"]) for name, one in governor.states().items() if one["breaker"] == "open"},
            governor.pause_left(),
            self._tally.next_due(),
            self._paused(),
        )

    def _leased(self) -> list[str]:
        return [lease.message.message_id for lease in self._engine.keeper.in_hand()]
