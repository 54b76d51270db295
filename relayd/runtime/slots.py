"""How many messages may be in flight: a fixed number of slots, taken before a receive and given back exactly once."""

from relayd.ports import Clock

BATCH = 10
"""SQS gives at most ten messages a receive."""
GATHER_SLOTS = 8
GATHER_SECONDS = 0.02
"""Under load the poller waits for half of the slots (at most eight) to come free, or 20 ms: measured, that turns
0.58 receives a mail into 0.12."""


class Slots:
    """Free and taken slots. Their sum never changes."""

    def __init__(self, clock: Clock, limit: int) -> None:
        self.limit = limit
        self._free = limit
        self._clock = clock
        self._changed = clock.condition()
        self._wanted: list[int] = []
        """How many free slots those wait for who wait."""

    @property
    def busy(self) -> int:
        return self.limit - self._free

    def take(self, timeout: float) -> int:
        """Take up to ten slots, waiting up to `timeout` seconds for the first. 0 when none came free."""
        worth_a_receive = max(1, min(GATHER_SLOTS, self.limit // 2))
        with self._changed:
            deadline = self._clock.monotonic() + timeout
            self._wait_for(1, deadline)
            if self._free == 0:
                return 0
            self._wait_for(worth_a_receive, self._clock.monotonic() + GATHER_SECONDS)
            taken = min(BATCH, self._free)
            self._free -= taken
            return taken

    def give(self, count: int) -> None:
        """Give slots back."""
        if count == 0:
            return
        with self._changed:
            self._free += count
            assert self._free <= self.limit, "a slot was given back twice"
            # Not for each slot: who waits for eight need not look at one.
            if self._wanted and self._free >= min(self._wanted):
                self._changed.notify_all()

    def wait_idle(self, timeout: float) -> bool:
        """Wait until every slot is free. False when the timeout passed first."""
        with self._changed:
            self._wait_for(self.limit, self._clock.monotonic() + timeout)
            return self._free == self.limit

    def _wait_for(self, free: int, deadline: float) -> None:
        self._wanted.append(free)
        try:
            while self._free < free:
                left = deadline - self._clock.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    return
        finally:
            self._wanted.remove(free)
