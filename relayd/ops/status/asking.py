"""Many questions at once, each with a deadline: what hangs or is denied keeps nobody else from answering.

It is for the very incident in which half of what is asked does not answer.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from relayd.errors import ConfigurationError, RelaydError
from relayd.ports import Clock

DEADLINE = 3.0
"""Seconds that a question is waited for."""
RESTING = 10.0
"""Times that what takes long is left alone before it is asked again: to be watched must not wear a database out."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """What is known: a value, or why there is none. What was true before the last try failed is not told: it would look
    as if all was well while half of it does not answer.
    """

    value: T | None = None
    why: str = ""
    """Why there is no value; empty where there is one, and where it is being asked for."""
    age: float = 0.0
    """Seconds since the value was had: as long as it is left alone between two tries."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, and how often at most while somebody watches."""

    ask: Callable[[], Any]
    """It may block, and raise anything."""
    every: float


class _Asked:
    """One question's story."""

    def __init__(self, question: Question) -> None:
        self.question = question
        self.began: float | None = None
        """When the last try began."""
        self.took = 0.0
        """Seconds that the last try took."""
        self.running = False
        self.value: Any = None
        self.had_at: float | None = None
        self.why = ""


class Asker:
    """Asks each question on a thread of its own, again and again and never twice at once."""

    def __init__(self, clock: Clock, questions: Mapping[str, Question]) -> None:
        self._clock = clock
        self._asked = {name: _Asked(question) for name, question in questions.items()}
        self._changed = clock.condition()

    def ask(self) -> None:
        """Begin what is due."""
        now = self._clock.monotonic()
        with self._changed:
            due = [(name, one) for name, one in self._asked.items() if not one.running and _is_due(one, now)]
            for _, one in due:
                one.running, one.began = True, now
        for name, one in due:
            self._clock.spawn(f"ask-{name}", partial(self._run, one, now))

    def wait(self, seconds: float) -> None:
        """Until every question has been answered, but no longer than that."""
        deadline = self._clock.monotonic() + seconds
        with self._changed:
            while any(one.running for one in self._asked.values()):
                left = deadline - self._clock.monotonic()
                if left <= 0:
                    return
                self._changed.wait(left)

    def answer(self, name: str) -> Answer[Any]:
        """What is known of this question now."""
        now = self._clock.monotonic()
        with self._changed:
            one = self._asked[name]
            if one.running and one.began is not None and now - one.began >= DEADLINE:
                return Answer(None, f"no answer within {now - one.began:.0f} s")
            return Answer(None, one.why) if one.had_at is None else Answer(one.value, "", now - one.had_at)

    def _run(self, one: _Asked, began: float) -> None:
        value, why = None, ""
        try:
            value = one.question.ask()
        except Exception as error:
            why = reason(error)
        with self._changed:
            now = self._clock.monotonic()
            one.running, one.why, one.took = False, why, now - began
            one.value, one.had_at = (value, now) if not why else (None, None)
            self._changed.notify_all()


def reason(error: Exception) -> str:
    """Why there is no answer, in a line: of foreseen errors their own words, of a bug no more than its type."""
    if isinstance(error, ConfigurationError):
        return "; ".join(problem.problem.rstrip(".") for problem in error.problems)
    if isinstance(error, RelaydError):
        words = error.reason.replace("_", " ")
        return f"{words} ({error.detail})" if error.detail else words
    return f"a bug in relayd status: {type(error).__name__}"


def _is_due(one: _Asked, now: float) -> bool:
    # What failed, or hung, is tried again soon: it did not wear anybody out.
    rest = one.took * RESTING if one.had_at is not None else 0.0
    return one.began is None or now - one.began >= max(one.question.every, rest)
