"""The Workers: one thread a slot, one message in one thread from its receive to its outcome."""

from collections import deque
from collections.abc import Callable
from functools import partial

from relayd.ports import Clock
from relayd.runtime.leases import Lease
from relayd.runtime.slots import Slots


class Workers:
    """As many threads as there are slots, so that a message which has a slot has a thread waiting for it."""

    def __init__(self, clock: Clock, slots: Slots, turn: Callable[[Lease], None]) -> None:
        """`turn` raises nothing: an exception would end its thread."""
        self._slots = slots
        self._turn = turn
        self._changed = clock.condition()
        self._given: deque[Lease] = deque()
        self._stopping = False
        for number in range(slots.limit):
            name = f"worker-{number + 1}"
            clock.spawn(name, partial(self._run, name))

    def submit(self, lease: Lease) -> None:
        """Work on a message. Its slot has been taken; it is given back here, whatever becomes of the message."""
        with self._changed:
            self._given.append(lease)
            # One: to wake all who wait, for one message, costs more than half of what is done with it.
            self._changed.notify()

    def stop(self) -> None:
        """Let the threads end once they have nothing to do."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def _run(self, name: str) -> None:
        while True:
            with self._changed:
                while not self._given:
                    if self._stopping:
                        return
                    self._changed.wait()
                lease = self._given.popleft()
            lease.worker = name
            try:
                self._turn(lease)
            finally:
                self._slots.give(1)
