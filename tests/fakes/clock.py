"""A clock that makes threads deterministic: one runs at a time, and time jumps when all of them wait."""

import random
import threading
from collections.abc import Callable
from typing import Any


class DeadlockError(AssertionError):
    """Every thread waits, none of them with a timeout: nothing can ever happen again."""


class _Task:
    """A thread of the virtual world. `baton` is set when it may run."""

    def __init__(self, name: str) -> None:
        self.name = name
        # A lock rather than a semaphore, which is written in Python: batons change hands a million times in the suite.
        self.baton = threading.Lock()
        self.baton.acquire()
        self.wake_at: float | None = None
        self.ready = True
        self.locking = False
        self.alive = True


class VirtualCondition:
    """`threading.Condition` in virtual time. As in the real one, the lock is reentrant."""

    def __init__(self, clock: "VirtualClock") -> None:
        self._clock = clock
        self._owner: _Task | None = None
        self._depth = 0
        self._waiters: list[_Task] = []

    def __enter__(self) -> bool:
        task = self._clock._current()
        task.locking = True
        while self._owner is not None and self._owner is not task:
            self._clock._block(None)
        task.locking = False
        self._owner, self._depth = task, self._depth + 1
        return True

    def __exit__(self, *args: object) -> None:
        self._depth -= 1
        if self._depth == 0:
            self._owner = None
            self._clock._wake_lockers()

    def wait(self, timeout: float | None = None) -> bool:
        task = self._clock._current()
        assert self._owner is task, "wait without the lock"
        depth, self._depth, self._owner = self._depth, 0, None
        self._clock._wake_lockers()
        self._waiters.append(task)
        deadline = None if timeout is None else self._clock.monotonic() + max(0.0, timeout)
        while task in self._waiters and (deadline is None or self._clock.monotonic() < deadline):
            self._clock._block(deadline)
        notified = task not in self._waiters
        if not notified:
            self._waiters.remove(task)
        self.__enter__()
        self._depth = depth
        return notified

    def notify(self) -> None:
        # The one that has waited longest, as the real one does.
        if self._waiters:
            self._waiters.pop(0).ready = True

    def notify_all(self) -> None:
        for task in self._waiters:
            task.ready = True
        self._waiters.clear()


class VirtualThread:
    """A real thread that runs only when the virtual clock hands it the baton."""

    def __init__(self, clock: "VirtualClock", task: _Task) -> None:
        self._clock = clock
        self._task = task

    @property
    def name(self) -> str:
        return self._task.name

    def is_alive(self) -> bool:
        return self._task.alive

    def join(self, timeout: float | None = None) -> None:
        deadline = None if timeout is None else self._clock.monotonic() + timeout
        while self._task.alive and (deadline is None or self._clock.monotonic() < deadline):
            self._clock._joiners.append(self._clock._current())
            self._clock._block(deadline)


class VirtualClock:
    """A Clock whose threads take turns.

    A thread runs until it blocks on this clock; then the next ready one runs, in the order that `seed` shuffles
    (0: first in, first out). When none is ready, time jumps to the earliest deadline. So a run depends on the seed
    alone, and an hour costs what its work costs. Blocking on anything real would stop the world: don't.
    """

    def __init__(self, seed: int = 0, start: float = 1_700_000_000.0) -> None:
        self._start = start
        self._now = 0.0
        self._random = random.Random(seed) if seed else None
        main = _Task("main")
        self._tasks: list[_Task] = [main]
        self._running = main
        self._joiners: list[_Task] = []
        self._failure: BaseException | None = None
        self._timers: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self._start + self._now

    def monotonic(self) -> float:
        return self._now

    def sleep(self, seconds: float) -> None:
        deadline = self._now + max(0.0, seconds)
        self._block(deadline)
        while self._now < deadline:
            self._block(deadline)

    def at(self, when: float, call: Callable[[], None]) -> None:
        """Run `call` when virtual time reaches `when`, before any thread sees that moment."""
        self._timers.append((when, call))
        self._timers.sort(key=lambda timer: timer[0])

    def condition(self) -> Any:
        return VirtualCondition(self)

    def spawn(self, name: str, target: Callable[[], None]) -> VirtualThread:
        task = _Task(name)
        self._tasks.append(task)

        def body() -> None:
            task.baton.acquire()
            try:
                target()
            except BaseException as error:  # the test's thread must see it, or it would hang silently
                self._failure = error
            finally:
                task.alive = False
                self._tasks.remove(task)
                for joiner in self._joiners:
                    joiner.ready = True
                self._joiners.clear()
                self._pass_on()

        threading.Thread(target=body, name=name, daemon=True).start()
        return VirtualThread(self, task)

    # How turns are taken. Only the running thread is ever inside these methods, so they need no lock.

    def _current(self) -> _Task:
        return self._running

    def _block(self, deadline: float | None) -> None:
        task = self._running
        task.wake_at = deadline
        task.ready = False
        self._pass_on()
        task.baton.acquire()
        if self._failure is not None and task.name == "main":
            failure, self._failure = self._failure, None
            raise failure

    def _wake_lockers(self) -> None:
        """A lock was let go: whoever waits for one looks again."""
        for task in self._tasks:
            if task.locking and not task.ready and task is not self._running:
                task.ready = True

    def _pass_on(self) -> None:
        while True:
            chosen = self._next()
            if chosen is not None:
                # First in, first out: who ran last stands at the end of the line.
                self._tasks.remove(chosen)
                self._tasks.append(chosen)
                self._running = chosen
                chosen.ready = False
                chosen.baton.release()
                return
            moment = min((task.wake_at for task in self._tasks if task.wake_at is not None), default=None)
            if self._timers and (moment is None or self._timers[0][0] < moment):
                moment = self._timers[0][0]
            if moment is None:
                main = next((task for task in self._tasks if task.name == "main"), None)
                if main is None:
                    return
                self._failure = self._failure or DeadlockError(", ".join(task.name for task in self._tasks))
                main.ready = True
                continue
            now = self._now = max(self._now, moment)
            while self._timers and self._timers[0][0] <= now:
                self._timers.pop(0)[1]()
            for task in self._tasks:
                if task.wake_at is not None and task.wake_at <= now:
                    task.ready = True

    def _next(self) -> _Task | None:
        """Whose turn it is among those that are ready."""
        if self._random:
            ready = [task for task in self._tasks if task.ready]
            return self._random.choice(ready) if ready else None
        for task in self._tasks:
            if task.ready:
                return task
        return None
