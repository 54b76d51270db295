"""Many questions at once: what hangs keeps nobody else from answering, and nothing is asked twice at once."""

from collections.abc import Callable

import pytest

from relayd.errors import ConfigurationError, HoldError, PermanentError, Problem
from relayd.ops.status.asking import DEADLINE, RESTING, Answer, Asker, Question, reason
from tests.fakes.clock import VirtualClock


class World:
    """Questions that take a while, fail or hang, as the test says."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.takes: dict[str, float] = {}
        self.raises: dict[str, Exception] = {}
        self.asked: list[tuple[str, float]] = []

    def question(self, name: str, every: float = 2.0) -> Question:
        return Question(self._ask(name), every)

    def _ask(self, name: str) -> Callable[[], object]:
        def ask() -> object:
            began = self.clock.monotonic()
            self.asked.append((name, began))
            self.clock.sleep(self.takes.get(name, 0.0))
            if name in self.raises:
                raise self.raises[name]
            return f"{name} at {began:g}"

        return ask

    def asker(self, *names: str, every: float = 2.0) -> Asker:
        return Asker(self.clock, {name: self.question(name, every) for name in names})


@pytest.fixture
def world() -> World:
    return World()


def test_all_are_asked_at_once(world: World) -> None:
    """Ten that take two seconds each take two seconds."""
    names = [f"q{number}" for number in range(10)]
    world.takes = dict.fromkeys(names, 2.0)
    asker = world.asker(*names)
    asker.ask()
    asker.wait(DEADLINE)
    assert world.clock.monotonic() == 2.0
    assert {asker.answer(name).value for name in names} == {f"{name} at 0" for name in names}


def test_what_hangs_is_waited_for_no_longer_than_that(world: World) -> None:
    """And the others have answered."""
    world.takes["hangs"] = 600.0
    asker = world.asker("hangs", "answers")
    asker.ask()
    asker.wait(DEADLINE)
    assert world.clock.monotonic() == DEADLINE
    assert asker.answer("hangs") == Answer(None, "no answer within 3 s")
    assert asker.answer("answers") == Answer("answers at 0", "", 3.0)


def test_nothing_is_asked_twice_at_once(world: World) -> None:
    """A database that hangs is not asked by a new thread every two seconds; when it answers, that is shown."""
    world.takes["hangs"] = 60.0
    asker = world.asker("hangs")
    for _ in range(25):
        asker.ask()
        world.clock.sleep(2)
    assert len(world.asked) == 1
    assert asker.answer("hangs").why == "no answer within 50 s"
    world.clock.sleep(11)
    assert asker.answer("hangs").value == "hangs at 0"


def test_each_is_asked_as_often_as_it_wants(world: World) -> None:
    """And no more often, however often somebody looks."""
    asker = Asker(world.clock, {"often": world.question("often", 2), "seldom": world.question("seldom", 30)})
    for _ in range(61):
        asker.ask()
        world.clock.sleep(1)
    assert sum(name == "often" for name, _ in world.asked) == 31
    assert [at for name, at in world.asked if name == "seldom"] == [0.0, 30.0, 60.0]


def test_what_takes_long_is_left_alone_for_ten_times_as_long(world: World) -> None:
    """Somebody who watches must not wear out the database that is being watched."""
    world.takes["slow"] = 1.5
    asker = world.asker("slow")
    for _ in range(60):
        asker.ask()
        world.clock.sleep(1)
    assert [at for _, at in world.asked] == [0.0, 1.5 * RESTING, 3.0 * RESTING, 4.5 * RESTING]


def test_what_failed_is_tried_again_soon(world: World) -> None:
    """However long the failure took: whoever watches an incident wants to see its end."""
    world.takes["fails"], world.raises["fails"] = 2.5, HoldError("database", "database_unavailable", "OperationalError")
    asker = world.asker("fails")
    for _ in range(12):
        asker.ask()
        world.clock.sleep(1)
    assert [at for _, at in world.asked] == [0.0, 3.0, 6.0, 9.0]
    assert asker.answer("fails") == Answer(None, "database unavailable (OperationalError)")


def test_what_was_true_before_is_not_told_when_it_cannot_be_asked_any_more(world: World) -> None:
    """A screen that still shows green figures during the outage is worse than none."""
    asker = world.asker("q")
    asker.ask()
    asker.wait(1)
    assert asker.answer("q").value is not None
    world.clock.sleep(2)
    world.takes["q"] = 100.0
    asker.ask()
    world.clock.sleep(1)
    assert asker.answer("q") == Answer("q at 0", "", 3.0), "it may answer yet"
    world.clock.sleep(DEADLINE)
    assert asker.answer("q") == Answer(None, "no answer within 4 s")


def test_a_bug_in_one_question_is_that_one_s(world: World) -> None:
    """And tells its type alone: a text may hold anything."""
    world.raises["buggy"] = KeyError("me@example.org")
    asker = world.asker("buggy", "other")
    asker.ask()
    asker.wait(1)
    assert asker.answer("buggy").why == "a bug in relayd status: KeyError"
    assert asker.answer("other").value == "other at 0"


def test_reasons_are_words() -> None:
    """What the errors know, without the snake."""
    assert reason(PermanentError("no_status", "HTTP 404")) == "no status (HTTP 404)"
    assert reason(HoldError("queue", "queue_missing")) == "queue missing"
    problems = [Problem("A", "one thing is wrong.", ""), Problem("B", "another", "")]
    assert reason(ConfigurationError(problems)) == "one thing is wrong; another"
