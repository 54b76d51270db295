"""One transaction for all who want to change a SQLite file at the same time: a commit waits for the disk, and ten
changes wait no longer than one.

There is no thread for it, and nobody waits for company. Whoever has the turn to write takes along what has gathered
while the one before was waiting for the disk.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

import sqlalchemy as sa

from relayd.adapters.prepared import Driver, Statements
from relayd.errors import TransientError

Work = Callable[[Statements], Any]
"""Runs statements, and nothing else: it may be run by another thread than its own, and a second time after all that it
did has been undone. What it raises undoes it.
"""


class OneWriter:
    """Lets one thread write at a time."""

    def __init__(self, patience: float) -> None:
        """`patience`: seconds that a thread waits for its turn."""
        self._patience = patience
        self._lock = threading.Lock()

    def take(self) -> None:
        """Wait for the turn. Raises TransientError when it does not come."""
        if not self._lock.acquire(timeout=self._patience):
            raise TransientError("database_busy", "another thread writes", charged=False)

    def give(self) -> None:
        self._lock.release()

    def __enter__(self) -> None:
        self.take()

    def __exit__(self, *_: object) -> None:
        self.give()


class Change:
    """What one thread wants changed, and what has come of it."""

    __slots__ = ("answer", "began", "done", "error", "work")

    def __init__(self, work: Work) -> None:
        self.work = work
        self.began = 0.0
        """When it was its turn, by `perf_counter`."""
        self.done = False
        self.answer: Any = None
        self.error: BaseException | None = None


class GroupCommit:
    """Changes of one SQLite file. Any number of threads share one."""

    def __init__(self, engine: sa.Engine, turn: OneWriter) -> None:
        self._engine = engine
        self._turn = turn
        self._waiting: deque[Change] = deque()

    def commit(self, work: Work) -> Change:
        """Make the change, alone or with others. It is on the disk, or has an error, when this returns.

        Raises TransientError where its turn does not come: then nothing was changed.
        """
        change = Change(work)
        self._waiting.append(change)
        self._take_turn(change)
        try:
            if not change.done:
                self._make(self._gathered())
        finally:
            self._turn.give()
        return change

    def _take_turn(self, change: Change) -> None:
        while True:
            try:
                self._turn.take()
                return
            except TransientError:
                try:
                    self._waiting.remove(change)
                except ValueError:
                    # Somebody is about to make it: only the end of that tells whether it was made.
                    continue
                raise

    def _gathered(self) -> list[Change]:
        changes: list[Change] = []
        while self._waiting:
            changes.append(self._waiting.popleft())
        return changes

    def _make(self, changes: Sequence[Change]) -> None:
        """All at once; where one of them fails, each by itself, so that it fails alone."""
        try:
            if not self._in_one(changes):
                for change in changes:
                    self._make([change])
        except BaseException as error:
            for change in changes:
                change.error = change.error or error
            if not isinstance(error, Exception):
                raise
        finally:
            for change in changes:
                change.done = True

    def _in_one(self, changes: Sequence[Change]) -> bool:
        """False where one of several has failed: then nothing was changed."""
        pooled = self._engine.raw_connection()
        try:
            driver: Driver = pooled.driver_connection
            driver.execute("BEGIN IMMEDIATE")
            run = Statements(driver)
            for change in changes:
                change.began = perf_counter()
                try:
                    change.answer = change.work(run)
                except Exception:
                    if len(changes) > 1:
                        return False
                    raise
            driver.execute("COMMIT")
            return True
        finally:
            # What is left of a transaction is rolled back by the pool.
            pooled.close()
