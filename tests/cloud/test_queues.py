"""The pure queue against a model that is slow and simple."""

from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from relayd.sandbox.cloud.handles import BadHandleError
from relayd.sandbox.cloud.queues import MAX_LEASE, LeaseError, Queue, Received, Redrive, Stored

START = 1_700_000_000.0
MAX_RECEIVES = 4


@dataclass
class Modelled:
    """What the model knows of a message: every handle in order, and until when it is hidden."""

    hidden_until: float
    sent_at: float
    count: int = 0
    handles: list[str] = field(default_factory=list)
    leased_at: float = 0.0

    def leased(self, now: float) -> bool:
        return bool(self.handles) and self.hidden_until > now


class QueueMachine(RuleBasedStateMachine):
    """Any order of sends, receives, deletes, changes and waiting."""

    @initialize()
    def begin(self) -> None:
        self.now = START
        self.dead = Queue("arn:dead")
        self.queue = Queue("arn:mail")
        self.queue.redrive = Redrive(MAX_RECEIVES, self.dead)
        self.alive: dict[str, Modelled] = {}
        self.moved = 0
        self.given: list[tuple[str, str]] = []

    @rule(delay=st.sampled_from([0, 0, 0, 5, 900]), messages=st.integers(1, 4))
    def send(self, delay: int, messages: int) -> None:
        for _ in range(messages):
            stored = Stored("body", "md5", int(self.now * 1000))
            self.queue.put(stored, self.now, delay)
            self.alive[stored.message_id] = Modelled(self.now + delay, self.now)

    @rule(limit=st.integers(1, 10), visibility=st.sampled_from([0, 1, 30, MAX_LEASE]), twin=st.booleans())
    def receive(self, limit: int, visibility: int, twin: bool) -> None:
        visible = {name: one for name, one in self.alive.items() if one.hidden_until <= self.now}
        spent = {name for name, one in visible.items() if one.count >= MAX_RECEIVES}
        moved_before = len(self.dead)
        batch = self.queue.receive(limit, visibility, self.now, twin=twin)
        names = [received.stored.message_id for received in batch]
        self._move_spent(spent, len(self.dead) - moved_before)
        distinct = set(names)
        assert distinct <= visible.keys() - spent
        assert len(distinct) == min(limit, len(visible) - len(spent))
        assert len(batch) == len(distinct) + (1 if twin and distinct and len(distinct) < limit else 0)
        for received in batch:
            self._give(received, visibility)

    def _move_spent(self, spent: set[str], moved: int) -> None:
        assert moved <= len(spent)
        self.moved += moved
        # Which of them it met before the batch was full is its own affair.
        gone = {name for name in spent if not self._still_there(name)}
        assert len(gone) == moved
        for name in gone:
            del self.alive[name]

    def _still_there(self, name: str) -> bool:
        """Seen through the newest handle: what can be found can be changed or is at least not unknown."""
        try:
            self.queue.change(self.alive[name].handles[-1], 30, self.now)
        except LeaseError as error:
            return error.why == "not_in_flight"
        raise AssertionError("a visible message has no lease")

    def _give(self, received: Received, visibility: int) -> None:
        one = self.alive[received.stored.message_id]
        one.count += 1
        one.handles.append(received.handle)
        one.leased_at = self.now
        one.hidden_until = self.now + visibility
        assert received.count == one.count
        self.given.append((received.stored.message_id, received.handle))

    @rule(which=st.integers(0))
    def delete(self, which: int) -> None:
        if not self.given:
            return
        name, handle = self.given[-1 - which % len(self.given)]
        one = self.alive.get(name)
        newest = one is not None and one.handles[-1] == handle
        assert self.queue.delete(handle) == (one is None or newest)
        if newest:
            del self.alive[name]

    @rule(which=st.integers(0), seconds=st.sampled_from([0, 1, 30, MAX_LEASE - 10, MAX_LEASE]))
    def change(self, which: int, seconds: int) -> None:
        if not self.given:
            return
        name, handle = self.given[-1 - which % len(self.given)]
        one = self.alive.get(name)
        expected = None
        if one is None or one.handles[-1] != handle:
            expected = "gone"
        elif not one.leased(self.now):
            expected = "not_in_flight"
        elif self.now + seconds > one.leased_at + MAX_LEASE:
            expected = "too_long"
        if expected:
            with pytest.raises(LeaseError) as caught:
                self.queue.change(handle, seconds, self.now)
            assert caught.value.why == expected
        else:
            assert one is not None
            self.queue.change(handle, seconds, self.now)
            one.hidden_until = self.now + seconds

    @rule(seconds=st.sampled_from([0.5, 1, 31, 1000, 400_000]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        oldest = self.now - self.queue.retention
        self.alive = {name: one for name, one in self.alive.items() if one.sent_at > oldest}

    @rule(really=st.sampled_from([False] * 9 + [True]))
    def purge(self, really: bool) -> None:
        if really:
            self.queue.purge()
            self.alive.clear()

    @invariant()
    def counts_agree(self) -> None:
        if not hasattr(self, "queue"):
            return
        self.queue.tick(self.now)
        hidden = [one for one in self.alive.values() if one.hidden_until > self.now]
        leased = sum(one.leased(self.now) for one in hidden)
        assert self.queue.in_flight == leased
        assert self.queue.delayed == len(hidden) - leased
        assert self.queue.visible == len(self.alive) - len(hidden)
        assert len(self.queue) == len(self.alive)
        assert len(self.dead) == self.moved

    @invariant()
    def time_alone_wakes_what_is_hidden(self) -> None:
        if not hasattr(self, "queue"):
            return
        hidden = [one.hidden_until for one in self.alive.values() if one.hidden_until > self.now]
        due = self.queue.next_due()
        assert (due is not None and due <= min(hidden)) if hidden else True


QueueMachine.TestCase.settings = settings(max_examples=200, stateful_step_count=60, deadline=None)
test_a_queue_behaves_as_the_model = QueueMachine.TestCase


def put(queue: Queue, body: str = "body", at: float = START) -> Stored:
    stored = Stored(body, "md5", int(at * 1000))
    queue.put(stored, at)
    return stored


def test_made_up_handles_are_no_handles() -> None:
    """Text, another queue's handle and one for a message that never was are told from stale ones."""
    queue, other = Queue(), Queue()
    put(queue)
    put(other)
    [received] = other.receive(1, 30, START)
    for handle in ("", "made up", "AQEB" + "A" * 28, "AQEB" + "!" * 28, received.handle):
        with pytest.raises(BadHandleError):
            queue.delete(handle)


def test_a_redriven_message_keeps_what_it_was() -> None:
    """Id, body, time of sending and receive count go along to the dead-letter queue; its source is noted."""
    dead, queue = Queue("arn:dead"), Queue("arn:mail")
    queue.redrive = Redrive(1, dead)
    stored = put(queue)
    name = stored.message_id
    queue.receive(1, 1, START)
    assert queue.receive(1, 1, START + 2) == []
    [received] = dead.receive(1, 30, START + 3)
    assert received.stored.message_id == name
    assert received.stored.sent_ms == int(START * 1000)
    assert received.count == 2
    assert received.stored.source_arn == "arn:mail"


def test_messages_expire_with_their_first_sending() -> None:
    """Retention counts from the first enqueue, also in the dead-letter queue that a message came to later."""
    dead, queue = Queue("arn:dead", retention=100), Queue("arn:mail", retention=1000)
    queue.redrive = Redrive(1, dead)
    put(queue)
    put(dead, at=START + 50)
    queue.receive(1, 1, START)
    queue.receive(1, 1, START + 60)
    assert len(dead) == 2
    assert [r.stored.sent_ms for r in dead.receive(10, 30, START + 101)] == [int((START + 50) * 1000)]


def test_leases_may_end_early() -> None:
    """A lease that was shortened ends at its own time."""
    queue = Queue()
    put(queue)
    queue.receive(1, 30, START, shorten=lambda seconds: seconds / 10)
    assert queue.receive(1, 30, START + 2.9) == []
    assert len(queue.receive(1, 30, START + 3.1)) == 1


def test_deleted_messages_leave_nothing_behind() -> None:
    """Extending and deleting ten thousand leases leaves no timers behind that would hold them in memory."""
    queue = Queue()
    for _ in range(1_000):
        put(queue, "x" * 100)
    for turn in range(10):
        batch = [received for _ in range(100) for received in queue.receive(10, 600, START + turn * 1000)]
        assert len(batch) == 1_000
        for received in batch:
            queue.change(received.handle, 900, START + turn * 1000)
    for received in batch:
        assert queue.delete(received.handle)
    assert len(queue) == queue.in_flight == queue.visible == 0
    assert len(queue._later) <= 2_048
    assert not any(stored.body for _, _, stored in queue._later)
