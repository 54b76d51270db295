"""The queue in memory keeps a Queue's promises: it runs through the same suite as SQS."""

from collections.abc import Callable, Mapping

import pytest

from relayd.ops.replay.local_queue import LocalQueue
from relayd.ports import Queue
from tests.contract import test_queue
from tests.contract.test_queue import World, one
from tests.fakes.clock import VirtualClock


class LocalWorld:
    """A queue in memory, in virtual time."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.local = LocalQueue(self.clock)
        self.queue: Queue = self.local

    def publish(self, body: str, attributes: Mapping[str, str] | None = None) -> None:
        self.local.put(body, attributes or {})

    def sleep(self, seconds: float) -> None:
        self.clock.sleep(seconds)

    def now(self) -> float:
        return self.clock.monotonic()

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        self.clock.at(self.now() + seconds, call)

    def dead_letters(self) -> list[tuple[str, dict[str, str]]]:
        return []


@pytest.fixture
def world() -> World:
    return LocalWorld()


class TestReceive(test_queue.TestReceive):
    """As of any queue."""


class TestLease(test_queue.TestLease):
    """As of any queue, but that it counts fractions of seconds."""

    def test_of_a_fraction_is_rounded_up(self, world: World) -> None:
        """SQS knows whole seconds; here a lease is as long as was asked for, and not shorter."""
        world.publish("short")
        one(world.queue.receive(1, 0, 0.2))
        world.sleep(0.19)
        assert world.queue.receive(1, 0, 30) == []
        world.sleep(0.02)
        assert one(world.queue.receive(1, 0, 30)).receive_count == 2

    def test_cannot_be_extended_when_it_has_ended(self, world: World) -> None:
        """Once a lease has ended, only another receive leases the message again."""
        world.publish("late")
        lease = one(world.queue.receive(1, 0, 1))
        world.sleep(1.1)
        [error] = world.queue.change_visibility([(lease.receipt_handle, 30)])
        assert error is not None
        assert error.gone


class TestDelete(test_queue.TestDelete):
    """As of any queue."""

    def test_with_an_old_handle(self, world: World) -> None:
        """It answers success and deletes nothing: the newest receive's holder still works on the message."""
        world.publish("twice")
        old = one(world.queue.receive(1, 0, 1))
        new = one(world.queue.receive(1, 5, 2))
        assert world.queue.delete([old.receipt_handle]) == [None]
        again = one(world.queue.receive(1, 5, 30))
        assert (again.message_id, again.receive_count) == (new.message_id, 3)
        [error] = world.queue.change_visibility([(new.receipt_handle, 0)])
        assert error is not None
        assert error.gone


def test_its_depth_is_exact() -> None:
    """What may be received, and what is leased or put off; nothing when all is deleted."""
    world = LocalWorld()
    world.publish("a")
    world.publish("b")
    [first, second] = world.queue.receive(2, 0, 30)
    world.queue.change_visibility([(first.receipt_handle, 0)])
    assert (world.local.depth().visible, world.local.depth().in_flight) == (1, 1)
    world.queue.delete([first.receipt_handle, second.receipt_handle])
    assert world.local.depth().total == 0


def test_dead_letters_stay_where_they_came_from() -> None:
    """Nothing is copied anywhere; the message is deleted here like any other that ended."""
    world = LocalWorld()
    world.publish("bad")
    message = one(world.queue.receive(1, 0, 30))
    world.queue.dead_letter(message, "not_json", "")
    assert world.local.depth().total == 1
    world.queue.delete([message.receipt_handle])
    assert world.local.depth().total == 0
