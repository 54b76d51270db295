"""What a Queue promises, on the fake and on SQS as moto and the embedded AWS have it."""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Protocol

import pytest

from relayd.adapters.sqs import SqsQueue
from relayd.errors import HoldError
from relayd.model.message import Message
from relayd.ports import EntryError, Queue
from tests.contract.moto_server import MotoServer
from tests.fakes.clock import VirtualClock
from tests.fakes.queue import FakeQueue


class World(Protocol):
    """A queue and the world around it."""

    queue: Queue

    def publish(self, body: str, attributes: Mapping[str, str] | None = None) -> None: ...
    def sleep(self, seconds: float) -> None: ...
    def now(self) -> float: ...
    def later(self, seconds: float, call: Callable[[], None]) -> None: ...
    def dead_letters(self) -> list[tuple[str, dict[str, str]]]: ...


class FakeWorld:
    def __init__(self, max_receive_count: int = 1000) -> None:
        self.clock = VirtualClock()
        self.fake = FakeQueue(self.clock, max_receive_count=max_receive_count)
        self.queue: Queue = self.fake

    def publish(self, body: str, attributes: Mapping[str, str] | None = None) -> None:
        self.fake.publish(body, attributes)

    def sleep(self, seconds: float) -> None:
        self.clock.sleep(seconds)

    def now(self) -> float:
        return self.clock.monotonic()

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        self.clock.at(self.now() + seconds, call)

    def dead_letters(self) -> list[tuple[str, dict[str, str]]]:
        return [(dead.body, {"relayd-reason": dead.reason, **dead.attributes}) for dead in self.fake.dead_letters]


class SqsWorld:
    def __init__(self, server: MotoServer, max_receive_count: int = 1000) -> None:
        self._sqs = server.sqs
        self._url, self._dead_url = server.new_queue(max_receive_count=max_receive_count)
        self.queue: Queue = SqsQueue(
            self._url,
            poll_client=server.relayd_client("sqs"),
            client=server.relayd_client("sqs"),
            dead_letter_url=self._dead_url,
        )

    def publish(self, body: str, attributes: Mapping[str, str] | None = None) -> None:
        given = {name: {"DataType": "String", "StringValue": value} for name, value in (attributes or {}).items()}
        self._sqs.send_message(QueueUrl=self._url, MessageBody=body, MessageAttributes=given)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def now(self) -> float:
        return time.monotonic()

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        threading.Timer(seconds, call).start()

    def dead_letters(self) -> list[tuple[str, dict[str, str]]]:
        answer = self._sqs.receive_message(
            QueueUrl=self._dead_url, MaxNumberOfMessages=10, VisibilityTimeout=0, MessageAttributeNames=["All"]
        )
        return [
            (entry["Body"], {n: v["StringValue"] for n, v in entry.get("MessageAttributes", {}).items()})
            for entry in answer.get("Messages", [])
        ]


MakeWorld = Callable[..., World]


def worlds(request: pytest.FixtureRequest) -> MakeWorld:
    if request.param == "fake":
        return FakeWorld
    server: MotoServer = request.getfixturevalue(request.param)
    return lambda **options: SqsWorld(server, **options)


@pytest.fixture(params=["fake", "moto", "embedded"])
def make(request: pytest.FixtureRequest) -> MakeWorld:
    return worlds(request)


@pytest.fixture
def world(make: MakeWorld) -> World:
    return make()


@pytest.fixture(params=["fake", "embedded"])
def strict(request: pytest.FixtureRequest) -> World:
    return worlds(request)()


def one(messages: list[Message]) -> Message:
    assert len(messages) == 1
    return messages[0]


class TestReceive:
    def test_carries_body_attributes_and_facts(self, world: World) -> None:
        """A message arrives as it was published, with its count and its times."""
        world.publish("héllo", {"traceparent": "00-abc-def-01"})
        message = one(world.queue.receive(10, 1, 30))
        assert message.body == "héllo"
        assert dict(message.attributes) == {"traceparent": "00-abc-def-01"}
        assert message.receive_count == 1
        assert message.sent_at > 1_600_000_000
        assert message.first_received_at >= message.sent_at - 1
        assert message.message_id
        assert message.receipt_handle

    def test_an_empty_queue_answers_empty(self, world: World) -> None:
        """Without a wait, an empty queue answers at once with nothing."""
        assert world.queue.receive(1, 0, 30) == []

    def test_a_long_poll_waits(self, world: World) -> None:
        """An empty long poll lasts as long as it was asked to."""
        began = world.now()
        assert world.queue.receive(1, 1, 30) == []
        assert world.now() - began >= 0.9

    def test_a_long_poll_ends_when_a_message_comes(self, world: World) -> None:
        """A message that arrives during a long poll is handed out well before its end."""
        began = world.now()
        world.later(0.2, lambda: world.publish("late"))
        assert one(world.queue.receive(10, 20, 30)).body == "late"
        assert world.now() - began < 5

    def test_takes_no_more_than_the_limit(self, world: World) -> None:
        """A receive holds at most as many messages as were asked for; the rest waits."""
        for number in range(3):
            world.publish(str(number))
        first = world.queue.receive(2, 0, 30)
        assert len(first) == 2
        rest = one(world.queue.receive(10, 0, 30))
        assert {message.body for message in [*first, rest]} == {"0", "1", "2"}


class TestLease:
    def test_hides_the_message_until_it_ends(self, world: World) -> None:
        """A leased message is invisible; when the lease ends it comes back, counted, under a new handle."""
        world.publish("once")
        first = one(world.queue.receive(1, 0, 1))
        assert world.queue.receive(1, 0, 1) == []
        second = one(world.queue.receive(1, 3, 30))
        assert second.message_id == first.message_id
        assert second.receipt_handle != first.receipt_handle
        assert second.receive_count == 2
        assert second.first_received_at == first.first_received_at

    def test_of_a_fraction_is_rounded_up(self, world: World) -> None:
        """A lease never ends before it was asked to: fractions of seconds are rounded up."""
        world.publish("short")
        one(world.queue.receive(1, 0, 0.2))
        world.sleep(0.3)
        assert world.queue.receive(1, 0, 30) == []

    def test_can_be_extended(self, world: World) -> None:
        """An extension counts from the change, not from the receive."""
        world.publish("long")
        lease = one(world.queue.receive(1, 0, 1))
        assert world.queue.change_visibility([(lease.receipt_handle, 30)]) == [None]
        world.sleep(1.2)
        assert world.queue.receive(1, 0, 30) == []

    def test_can_be_given_up(self, world: World) -> None:
        """A visibility of zero puts the message back at once."""
        world.publish("back")
        lease = one(world.queue.receive(1, 0, 30))
        assert world.queue.change_visibility([(lease.receipt_handle, 0)]) == [None]
        assert one(world.queue.receive(1, 1, 30)).receive_count == 2

    def test_of_a_deleted_message_is_gone(self, world: World) -> None:
        """Changing the visibility of a deleted message fails for good."""
        world.publish("deleted")
        lease = one(world.queue.receive(1, 0, 30))
        assert world.queue.delete([lease.receipt_handle]) == [None]
        [error] = world.queue.change_visibility([(lease.receipt_handle, 30)])
        assert error is not None
        assert error.gone


class TestDelete:
    def test_a_whole_batch(self, world: World) -> None:
        """Ten messages are deleted in one call, and do not come back."""
        for number in range(10):
            world.publish(str(number))
        leases: list[Message] = []
        while len(leases) < 10:
            leases += world.queue.receive(10, 1, 1)
        assert world.queue.delete([lease.receipt_handle for lease in leases]) == [None] * 10
        world.sleep(1.1)
        assert world.queue.receive(10, 0, 30) == []

    def test_answers_in_order(self, world: World) -> None:
        """Each answer of a batch stands where its handle stood, failures among successes."""
        world.publish("a")
        world.publish("b")
        a, b = (one(world.queue.receive(1, 0, 30)) for _ in "ab")
        answers = world.queue.delete([a.receipt_handle, "not-a-handle", b.receipt_handle])
        assert answers[0] is None
        assert answers[2] is None
        assert answers[1] is not None
        assert answers[1].gone

    def test_after_the_lease_ended(self, world: World) -> None:
        """A lease that ran out does not hinder the delete while nobody else has received the message."""
        world.publish("slow")
        lease = one(world.queue.receive(1, 0, 1))
        world.sleep(1.1)
        assert world.queue.delete([lease.receipt_handle]) == [None]
        assert world.queue.receive(1, 0, 30) == []


class TestDeadLetters:
    def test_a_copy_with_the_reason(self, world: World) -> None:
        """The dead letter has the body, the attributes and the reason; the message itself is still ours to delete."""
        world.publish("bad", {"traceparent": "00-abc-def-01"})
        lease = one(world.queue.receive(1, 0, 30))
        world.queue.dead_letter(lease, "not_json", "at byte 3")
        [(body, attributes)] = world.dead_letters()
        assert body == "bad"
        assert attributes["relayd-reason"] == "not_json"
        assert attributes["traceparent"] == "00-abc-def-01"
        assert world.queue.delete([lease.receipt_handle]) == [None]

    def test_the_redrive_policy_moves_what_was_received_too_often(self, make: MakeWorld) -> None:
        """After maxReceiveCount receives, the next one moves the message instead of handing it out."""
        world = make(max_receive_count=2)
        world.publish("poison")
        for _ in range(2):
            lease = one(world.queue.receive(1, 1, 30))
            world.queue.change_visibility([(lease.receipt_handle, 0)])
        assert world.queue.receive(1, 0, 30) == []
        assert [body for body, _ in world.dead_letters()] == ["poison"]


class TestWhereMotoLies:
    """What AWS documents and moto gets wrong: the fake and the embedded AWS agree on it."""

    def test_a_stale_delete_deletes_nothing(self, strict: World) -> None:
        """An old handle answers success and deletes nothing. (moto deletes with any handle it ever gave out.)"""
        strict.publish("twice")
        old = one(strict.queue.receive(1, 0, 1))
        new = one(strict.queue.receive(1, 5, 2))
        assert strict.queue.delete([old.receipt_handle]) == [None]
        again = one(strict.queue.receive(1, 5, 30))
        assert again.message_id == new.message_id
        assert strict.queue.delete([again.receipt_handle]) == [None]
        assert strict.queue.receive(1, 0, 30) == []

    def test_a_stale_handle_changes_nothing(self, strict: World) -> None:
        """The lease of the newest receive cannot be changed through an older handle. (moto changes it.)"""
        strict.publish("twice")
        old = one(strict.queue.receive(1, 0, 1))
        one(strict.queue.receive(1, 5, 30))
        [error] = strict.queue.change_visibility([(old.receipt_handle, 0)])
        assert error is not None
        assert error.gone
        assert strict.queue.receive(1, 0, 30) == []

    def test_an_ended_lease_cannot_be_extended(self, strict: World) -> None:
        """Once a lease has ended, only another receive leases the message again. (moto extends it.)"""
        strict.publish("late")
        lease = one(strict.queue.receive(1, 0, 1))
        strict.sleep(1.1)
        [error] = strict.queue.change_visibility([(lease.receipt_handle, 30)])
        assert error == EntryError("MessageNotInflight", gone=True)

    def test_no_lease_lasts_over_twelve_hours(self, strict: World) -> None:
        """Extensions count towards twelve hours since the receive. (moto fails the whole batch.)"""
        strict.publish("for ever")
        lease = one(strict.queue.receive(1, 0, 43_000))
        strict.sleep(0.2)
        assert strict.queue.change_visibility([(lease.receipt_handle, 43_190)]) == [None]
        [error] = strict.queue.change_visibility([(lease.receipt_handle, 43_200)])
        assert error == EntryError("InvalidParameterValue", gone=False)


class TestOnlyOnTheFake:
    """Turns that only the fake can take."""

    def test_a_stale_delete_may_be_an_error(self) -> None:
        """SQS may also refuse an old handle; the lease is gone then."""
        world = FakeWorld()
        world.publish("twice")
        old = one(world.queue.receive(1, 0, 1))
        one(world.queue.receive(1, 5, 30))
        world.fake.faults.stale_delete = "error"
        assert world.queue.delete([old.receipt_handle]) == [EntryError("ReceiptHandleIsInvalid", gone=True)]
        assert world.fake.left == {old.message_id}

    def test_no_dead_letter_queue_is_a_hold(self) -> None:
        """Without a dead-letter queue nothing may be rejected: that would destroy the mail."""
        world = FakeWorld()
        world.fake.has_dead_letter_queue = False
        world.publish("bad")
        with pytest.raises(HoldError, match="no_dead_letter_queue"):
            world.queue.dead_letter(one(world.queue.receive(1, 0, 30)), "not_json", "")
