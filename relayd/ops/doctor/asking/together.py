"""Many questions at once: whoever waits for AWS waits once."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol, TypeVar

from relayd.adapters.questions import Answer, Question

K = TypeVar("K")
T = TypeVar("T")

AT_ONCE = 32
"""Questions that wait at the same time."""


class Ask(Protocol):
    """Asks AWS one question."""

    def __call__(self, question: Question) -> Answer: ...


class Asker:
    """Asks many questions at once. Those who ask run in threads of their own, and never in these."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._pool = ThreadPoolExecutor(AT_ONCE, "ask")

    def one(self, question: Question) -> Answer:
        return self._ask(question)

    def all(self, questions: Mapping[K, Question]) -> dict[K, Answer]:
        """The answers, by what the questions are called here."""
        waiting = {name: self._pool.submit(self._ask, question) for name, question in questions.items()}
        return {name: future.result() for name, future in waiting.items()}

    def each(self, questions: Sequence[Question]) -> list[Answer]:
        """The answers, in order."""
        return list(self._pool.map(self._ask, questions))

    def close(self, *, wait: bool = True) -> None:
        """With `wait`, after everything has ended; else whoever waits for AWS is left to it."""
        self._pool.shutdown(wait=wait, cancel_futures=not wait)


class Parts:
    """Parts of the work, each in a thread of its own from the moment it is named."""

    def __init__(self, most: int) -> None:
        self._pool = ThreadPoolExecutor(most, "part")

    def begin(self, work: Callable[[], T]) -> "Future[T]":
        return self._pool.submit(work)

    def close(self, *, wait: bool = True) -> None:
        """As an Asker's."""
        self._pool.shutdown(wait=wait, cancel_futures=not wait)
