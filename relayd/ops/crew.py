"""A few threads that do the waiting for one that must not wait: the one that keeps leases and hears Ctrl-C."""

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType
from typing import Generic, Self, TypeVar

from relayd.ports import Clock

TURN = 0.5
"""Seconds between two looks at whether to go on."""
GRACE = 5.0
"""Seconds that what has begun may still take when it is over. Longer than any call that gets its answer takes."""

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class Crew(Generic[_Item, _Result]):
    """Threads that do one kind of work. What they are in when the context is left is left to itself: they are daemon
    threads, and end with the process.
    """

    def __init__(self, clock: Clock, size: int, work: Callable[[_Item], _Result]) -> None:
        """`work` raises nothing: an exception would end its thread."""
        self._clock = clock
        self._work = work
        self._changed = clock.condition()
        self._given: deque[tuple[int, _Item]] = deque()
        self._results: dict[int, _Result] = {}
        self._begun = 0
        self._closed = False
        for number in range(size):
            clock.spawn(f"crew-{number + 1}", partial(self._run))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def do(self, items: Sequence[_Item], is_over: Callable[[], bool]) -> list[_Result | None]:
        """The work's results, in the order of the items. `is_over` is asked every so often: once it says yes, no
        further item is begun, and those without a result after a short grace have None. It is the last call then.
        """
        with self._changed:
            self._results = {}
            self._given.extend(enumerate(items))
            self._changed.notify_all()
        ends_at: float | None = None
        while True:
            with self._changed:
                if len(self._results) < len(items):
                    self._changed.wait(TURN)
                finished = not self._given and not self._begun
                results = dict(self._results)
            if finished or (ends_at is not None and self._clock.monotonic() >= ends_at):
                return [results.get(number) for number in range(len(items))]
            if ends_at is None and is_over():
                ends_at = self._clock.monotonic() + GRACE
                with self._changed:
                    self._given.clear()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._given:
                    if self._closed:
                        return
                    self._changed.wait()
                number, item = self._given.popleft()
                self._begun += 1
            result = self._work(item)
            with self._changed:
                self._begun -= 1
                self._results[number] = result
                self._changed.notify_all()
