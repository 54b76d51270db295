"""How old the oldest message is, as seen from here. Virtual time."""

import pytest

from relayd.model.message import Message
from relayd.runtime.ages import LATELY, Ages
from tests.fakes.clock import VirtualClock


class World:
    """What was received, and what is in hand."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.in_hand: list[Message] = []
        self.ages = Ages(self.clock, lambda: self.in_hand)

    def message(self, age: float, count: int = 1) -> Message:
        return Message(f"m-{age}", "h", "b", receive_count=count, sent_at=self.clock.time() - age)


def test_nothing_is_known_until_sqs_has_answered() -> None:
    """A poller that is held by a breaker does not know how old its queue is."""
    world = World()
    assert world.ages.oldest() == {}
    world.ages.received([])
    assert world.ages.oldest() == {"first": 0.0, "again": 0.0}
    world.clock.sleep(LATELY + 1)
    assert world.ages.oldest() == {}


def test_the_oldest_of_a_minute_is_told() -> None:
    """As old as it was when it came; and mail that had come before is told apart, as it says nothing of a backlog."""
    world = World()
    world.ages.received([world.message(3.0), world.message(40.0), world.message(7200.0, count=9)])
    world.clock.sleep(10)
    world.ages.received([world.message(5.0)])
    assert world.ages.oldest() == pytest.approx({"first": 40.0, "again": 7200.0})
    world.clock.sleep(LATELY - 9)
    assert world.ages.oldest() == pytest.approx({"first": 5.0, "again": 0.0})


def test_what_is_in_hand_grows_older() -> None:
    """A message whose worker hangs is still there, though nothing was received since."""
    world = World()
    world.in_hand = [world.message(1.0)]
    world.clock.sleep(300)
    assert world.ages.oldest() == pytest.approx({"first": 301.0, "again": 0.0})


def test_a_message_without_a_time_says_nothing() -> None:
    """An emulator may leave SentTimestamp out; 1970 is not its age."""
    world = World()
    world.ages.received([Message("m", "h", "b")])
    assert world.ages.oldest() == {"first": 0.0, "again": 0.0}
