"""An SQS queue in memory, in virtual time, that keeps the truth and misbehaves on request.

It behaves as AWS documents standard queues, the unpleasant parts included; `Faults` turns up what real queues do
rarely. Nothing in it blocks on anything but the clock, and its lock is never held while time passes.
"""

import itertools
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from relayd.errors import HoldError, RelaydError, TransientError
from relayd.model.message import Message
from relayd.ports import Clock, EntryError
from tests.fakes.queue_records import Change, DeadLetter, Delete, Poll, Published, Receive
from tests.fakes.script import Latency, Script, pause

Operation = Literal["receive", "delete", "change_visibility", "dead_letter"]

MAX_LEASE = 43_200
"""Seconds from the receive, whatever the changes in between (SQS: 12 hours in all)."""


@dataclass
class Faults:
    """What goes wrong by itself; all off. Change it at any time. Chances are drawn from the queue's seed."""

    stale_delete: Literal["ignore", "error"] = "ignore"
    """A delete with an old handle deletes nothing: does it answer success, or an error? SQS does both."""
    twins: float = 0.0
    """Chance that a receive holds one of its messages twice, under two handles (room for it provided)."""
    late_polls: bool = False
    """A poll that finds nothing at once looks again only when its wait ends: what arrived meanwhile comes late."""
    call_errors: Mapping[str, float] = field(default_factory=dict)
    """Per operation: chance that a call is throttled (TransientError) and has no effect."""
    entry_errors: Mapping[str, float] = field(default_factory=dict)
    """Per operation (delete, change_visibility): chance that an entry fails (`InternalError`) without effect."""
    lost_answers: Mapping[str, float] = field(default_factory=dict)
    """Per operation: chance that a call takes effect, yet raises TransientError."""
    latency: Latency = 0.0
    """Seconds a call takes, or a function of the operation's name; the effect happens half-way."""


@dataclass(slots=True)
class _Stored:
    """A message as the queue sees it."""

    message_id: str
    body: str
    attributes: Mapping[str, str]
    sent_at: float
    visible_at: float
    trace_header: str | None = None
    count: int = 0
    first_received_at: float = 0.0
    handle: str = ""
    """The newest handle; every other one is stale."""
    leased_at: float = 0.0


class FakeQueue:
    """Implements `relayd.ports.Queue`. All recorded times are the clock's monotonic seconds."""

    def __init__(
        self,
        clock: Clock,
        *,
        name: str = "mail",
        seed: int = 0,
        max_receive_count: int = 1000,
        has_dead_letter_queue: bool = True,
        faults: Faults | None = None,
    ) -> None:
        self._clock = clock
        self._name = name
        self._changed = clock.condition()
        self._random = random.Random(seed)
        self._shuffled = seed != 0
        self._numbers = itertools.count(1)
        self._messages: dict[str, _Stored] = {}
        self._handles: dict[str, str] = {}
        self._calls: Script[RelaydError] = Script()
        self._entries: Script[EntryError] = Script()
        self._lost: Script[RelaydError] = Script()
        self._twins = 0
        self.max_receive_count = max_receive_count
        self.has_dead_letter_queue = has_dead_letter_queue
        self.faults = faults or Faults()
        self.published: list[Published] = []
        self.receives: list[Receive] = []
        self.deletes: list[Delete] = []
        self.changes: list[Change] = []
        self.polls: list[Poll] = []
        self.dead_letters: list[DeadLetter] = []
        self.open_polls = 0

    # What a test does with it.

    def publish(
        self,
        body: str,
        attributes: Mapping[str, str] | None = None,
        *,
        delay: float = 0.0,
        trace_header: str | None = None,
    ) -> str:
        """Put a message into the queue (from a timer of the clock, too) and return its id."""
        with self._changed:
            message_id = f"message-{next(self._numbers)}"
            now = self._clock.monotonic()
            kept = dict(attributes or {})
            self.published.append(Published(message_id, body, kept, now))
            self._messages[message_id] = _Stored(
                message_id, body, kept, self._clock.time(), now + delay, trace_header=trace_header
            )
            self._changed.notify_all()
        return message_id

    def fail_calls(self, operation: Operation, error: RelaydError, times: int = 1) -> None:
        """Let the next calls raise this error, without effect."""
        self._calls.add(operation, error, times)

    def fail_entries(
        self, operation: Operation, times: int = 1, *, code: str = "InternalError", gone: bool = False
    ) -> None:
        """Let the next entries of batches fail, without effect."""
        self._entries.add(operation, EntryError(code, gone), times)

    def lose_answers(self, operation: Operation, times: int = 1) -> None:
        """Let the next calls take effect and raise TransientError all the same."""
        self._lost.add(operation, TransientError("queue_unreachable"), times)

    def twin_next(self, times: int = 1) -> None:
        """Let the next receives with room for it hold their first message twice."""
        self._twins += times

    @property
    def visible(self) -> int:
        """Messages that a receive would find now."""
        now = self._clock.monotonic()
        return sum(stored.visible_at <= now for stored in self._messages.values())

    @property
    def in_flight(self) -> int:
        """Messages under a lease now (as in SQS, a deferred message is one of them)."""
        now = self._clock.monotonic()
        return sum(stored.visible_at > now and stored.count > 0 for stored in self._messages.values())

    @property
    def left(self) -> set[str]:
        """Ids of all messages that are still in the queue, visible or not."""
        return set(self._messages)

    def receive_count(self, message_id: str) -> int:
        return sum(receive.message_id == message_id for receive in self.receives)

    def visible_at(self, message_id: str) -> float:
        """When a message that is still here may be received (again)."""
        return self._messages[message_id].visible_at

    # What relayd does with it.

    @property
    def name(self) -> str:
        return self._name

    def receive(self, limit: int, wait: float, visibility: float) -> list[Message]:
        assert 1 <= limit <= 10, "MaxNumberOfMessages is 1 to 10"
        assert 0 <= wait <= 20, "WaitTimeSeconds is 0 to 20"
        assert 0 <= visibility <= MAX_LEASE, "VisibilityTimeout is 0 to 43200"
        began = self._clock.monotonic()
        self.open_polls += 1
        try:
            with self._call("receive"):
                batch = self._poll(limit, math.ceil(wait), math.ceil(visibility))
                handles = tuple(message.receipt_handle for message in batch)
                self.polls.append(Poll(began, self._clock.monotonic(), limit, wait, handles))
            return batch
        finally:
            self.open_polls -= 1

    def delete(self, handles: Sequence[str]) -> list[EntryError | None]:
        assert 1 <= len(handles) <= 10, "a batch has 1 to 10 entries"
        with self._call("delete"), self._changed:
            return [self._entry_fault("delete") or self._delete(handle) for handle in handles]

    def change_visibility(self, changes: Sequence[tuple[str, float]]) -> list[EntryError | None]:
        assert 1 <= len(changes) <= 10, "a batch has 1 to 10 entries"
        with self._call("change_visibility"), self._changed:
            answers = [
                self._entry_fault("change_visibility") or self._change(handle, math.ceil(seconds))
                for handle, seconds in changes
            ]
            self._changed.notify_all()
            return answers

    def dead_letter(self, message: Message, reason: str, detail: str) -> None:
        if not self.has_dead_letter_queue:
            raise HoldError("queue", "no_dead_letter_queue")
        with self._call("dead_letter"):
            now = self._clock.monotonic()
            letter = DeadLetter(message.message_id, message.body, dict(message.attributes), reason, detail, now)
            self.dead_letters.append(letter)

    # How it does that.

    def _call(self, operation: Operation) -> "_Call":
        return _Call(self, operation)

    def _chance(self, chances: Mapping[str, float], operation: str) -> bool:
        chance = chances.get(operation, 0.0)
        return chance > 0 and self._random.random() < chance

    def _before(self, operation: Operation) -> None:
        pause(self._clock, self.faults.latency, operation, 0.5)
        error = self._calls.take(operation)
        if error is None and self._chance(self.faults.call_errors, operation):
            error = TransientError("queue_throttled")
        if error is not None:
            raise error

    def _after(self, operation: Operation) -> None:
        pause(self._clock, self.faults.latency, operation, 0.5)
        error = self._lost.take(operation)
        if error is None and self._chance(self.faults.lost_answers, operation):
            error = TransientError("queue_unreachable")
        if error is not None:
            raise error

    def _entry_fault(self, operation: Operation) -> EntryError | None:
        error = self._entries.take(operation)
        if error is None and self._chance(self.faults.entry_errors, operation):
            error = EntryError("InternalError", gone=False)
        return error

    def _poll(self, limit: int, wait: float, visibility: float) -> list[Message]:
        deadline = self._clock.monotonic() + wait
        with self._changed:
            while True:
                batch = self._lease(limit, visibility)
                now = self._clock.monotonic()
                if batch or now >= deadline:
                    return batch
                if self.faults.late_polls:
                    self._sleep_until(deadline)
                else:
                    self._changed.wait(min(deadline, self._next_visible(deadline)) - now)

    def _sleep_until(self, deadline: float) -> None:
        while (left := deadline - self._clock.monotonic()) > 0:
            self._changed.wait(left)

    def _next_visible(self, default: float) -> float:
        return min((stored.visible_at for stored in self._messages.values()), default=default)

    def _lease(self, limit: int, visibility: float) -> list[Message]:
        now = self._clock.monotonic()
        found = [stored for stored in self._messages.values() if stored.visible_at <= now]
        if self._shuffled:
            self._random.shuffle(found)
        batch: list[Message] = []
        for stored in found:
            if len(batch) == limit:
                break
            if self.has_dead_letter_queue and stored.count >= self.max_receive_count:
                self._redrive(stored)
                continue
            batch.append(self._give_out(stored, visibility))
        if batch and len(batch) < limit and (self._twins or self._random.random() < self.faults.twins):
            self._twins = max(0, self._twins - 1)
            batch.append(self._give_out(self._messages[batch[0].message_id], visibility))
        return batch

    def _redrive(self, stored: _Stored) -> None:
        del self._messages[stored.message_id]
        now = self._clock.monotonic()
        self.dead_letters.append(DeadLetter(stored.message_id, stored.body, stored.attributes, "", "", now))

    def _give_out(self, stored: _Stored, visibility: float) -> Message:
        now = self._clock.monotonic()
        stored.count += 1
        stored.first_received_at = stored.first_received_at or self._clock.time()
        stored.handle = f"handle-{next(self._numbers)}"
        stored.leased_at = now
        stored.visible_at = now + visibility
        self._handles[stored.handle] = stored.message_id
        self.receives.append(Receive(stored.message_id, stored.handle, now, visibility, stored.count))
        return Message(
            message_id=stored.message_id,
            receipt_handle=stored.handle,
            body=stored.body,
            receive_count=stored.count,
            sent_at=stored.sent_at,
            first_received_at=stored.first_received_at,
            attributes=stored.attributes,
            trace_header=stored.trace_header,
        )

    def _delete(self, handle: str) -> EntryError | None:
        message_id = self._handles.get(handle)
        if message_id is None:
            return EntryError("ReceiptHandleIsInvalid", gone=True)
        stored = self._messages.get(message_id)
        # A lease that ran out is no hindrance as long as nobody else has received the message since.
        effective = stored is not None and stored.handle == handle
        self.deletes.append(Delete(message_id, handle, self._clock.monotonic(), effective))
        if effective:
            del self._messages[message_id]
        elif stored is not None and self.faults.stale_delete == "error":
            return EntryError("ReceiptHandleIsInvalid", gone=True)
        return None

    def _change(self, handle: str, seconds: float) -> EntryError | None:
        assert 0 <= seconds <= MAX_LEASE, "VisibilityTimeout is 0 to 43200"
        error = self._change_error(handle, seconds)
        now = self._clock.monotonic()
        message_id = self._handles.get(handle, "")
        self.changes.append(Change(message_id, handle, now, seconds, error.code if error else None))
        if error is None:
            self._messages[message_id].visible_at = now + seconds
        return error

    def _change_error(self, handle: str, seconds: float) -> EntryError | None:
        now = self._clock.monotonic()
        stored = self._messages.get(self._handles.get(handle, ""))
        if handle not in self._handles or (stored is not None and stored.handle != handle):
            return EntryError("ReceiptHandleIsInvalid", gone=True)
        if stored is None or stored.visible_at <= now:
            return EntryError("MessageNotInflight", gone=True)
        if now + seconds > stored.leased_at + MAX_LEASE:
            return EntryError("InvalidParameterValue", gone=False)
        return None


class _Call:
    """The way there and the way back of one call; between them, the effect."""

    def __init__(self, queue: FakeQueue, operation: Operation) -> None:
        self._queue = queue
        self._operation = operation

    def __enter__(self) -> None:
        self._queue._before(self._operation)

    def __exit__(self, kind: object, *args: object) -> None:
        if kind is None:
            self._queue._after(self._operation)
