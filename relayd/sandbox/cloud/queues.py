"""A standard SQS queue: messages, leases, receive counts and redrive, in memory and in constant or logarithmic time.

No protocol, no waiting and no clock in here: `now` is an argument. Whoever parks long polls sets `changed`.
"""

import heapq
import secrets
import uuid
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from relayd.sandbox.cloud import handles
from relayd.sandbox.cloud.handles import BadHandleError
from relayd.sandbox.cloud.tally import Tally

MAX_LEASE = 43_200
"""Seconds from the receive, all changes together (SQS: 12 hours)."""
IN_FLIGHT_LIMIT = 120_000
_COMPACT_FROM = 1024
"""Outdated timers that are put up with before the heap is rebuilt."""

_DELAYED, _VISIBLE, _LEASED, _GONE = range(4)
STATES = ("delayed", "visible", "in_flight", "gone")
"""The names of a message's states."""

Shorten = Callable[[float], float]


class LeaseError(Exception):
    """A visibility cannot be changed."""

    def __init__(self, why: Literal["gone", "not_in_flight", "too_long"]) -> None:
        super().__init__(why)
        self.why = why


@dataclass(slots=True, eq=False)
class Stored:
    """A message as the queue holds it."""

    body: str
    md5: str
    sent_ms: int
    attributes: Mapping[str, Any] | None = None
    attributes_md5: str = ""
    trace_header: str = ""
    group: str = ""
    message_id: str = ""
    source_arn: str = ""
    """The queue that a redrive took it from."""
    count: int = 0
    first_received_ms: int = 0
    number: int = 0
    """Its place in the queue's own numbering; handles name it."""
    lease: int = 0
    """Counts its receives in this queue; the newest handle carries it."""
    leased_at: float = 0.0
    due: float = 0.0
    """When it becomes visible, while it is not."""
    timer: int = 0
    """The one entry of the heap that counts for it."""
    state: int = _DELAYED


@dataclass(frozen=True, slots=True)
class Received:
    """One receive of one message."""

    stored: Stored
    handle: str
    count: int


@dataclass(frozen=True, slots=True)
class Redrive:
    """After `limit` receives the message goes to `target` instead of being received once more."""

    limit: int
    target: "Queue"


def message_id() -> str:
    return str(uuid.UUID(bytes=secrets.token_bytes(16), version=4))


class Queue:
    """One queue. Counts are exact, which is more than SQS promises."""

    def __init__(self, arn: str = "", *, retention: float = 345_600.0) -> None:
        self.arn = arn
        self.retention = retention
        self.redrive: Redrive | None = None
        self.changed: Callable[[], None] = lambda: None
        """Called when a message may have become visible other than by the passing of time."""
        self.delayed = 0
        self.visible = 0
        self.in_flight = 0
        self.tally = Tally()
        self._nonce = secrets.token_bytes(handles.NONCE_BYTES)
        self._numbers = 0
        self._timers = 0
        # Ordered as sent. A plain dict would search ever longer for its first item while items leave at the front.
        self._messages: OrderedDict[int, Stored] = OrderedDict()
        self._ready: deque[Stored] = deque()
        self._later: list[tuple[float, int, Stored]] = []
        self._outdated = 0

    def __len__(self) -> int:
        return len(self._messages)

    def __iter__(self) -> Iterator[Stored]:
        """All messages, whoever may see them, in the order in which they came."""
        return iter(self._messages.values())

    def put(self, stored: Stored, now: float, delay: float = 0.0) -> None:
        """Take in a message under its own id, or a new one if it has none."""
        self._numbers += 1
        self.tally.sent += 1
        stored.number = self._numbers
        stored.lease = 0
        stored.message_id = stored.message_id or message_id()
        self._messages[stored.number] = stored
        if delay > 0:
            stored.state = _DELAYED
            self.delayed += 1
            self._wake_at(stored, now + delay)
        else:
            self._show(stored)
        self.changed()

    def tick(self, now: float) -> None:
        """Let become visible, or expire, what is due."""
        later = self._later
        while later and later[0][0] <= now:
            _, timer, stored = heapq.heappop(later)
            if stored.timer != timer:
                self._outdated -= 1
                continue
            stored.timer = 0
            if stored.state == _LEASED:
                self.in_flight -= 1
            else:
                self.delayed -= 1
            self._show(stored)
        oldest_ms = (now - self.retention) * 1000
        while self._messages and (first := next(iter(self._messages.values()))).sent_ms <= oldest_ms:
            self._drop(first)

    def next_due(self) -> float | None:
        """When time alone will make a message visible; perhaps a little early, never late."""
        return self._later[0][0] if self._later else None

    def receive(
        self, limit: int, visibility: float, now: float, *, twin: bool = False, shorten: Shorten | None = None
    ) -> list[Received]:
        """Lease up to `limit` messages. With `twin`, the first one is in it twice where there is room."""
        self.tick(now)
        batch: list[Received] = []
        limit = min(limit, IN_FLIGHT_LIMIT - self.in_flight)
        while len(batch) < limit and self.visible:
            stored = self._ready.popleft()
            if stored.state != _VISIBLE:
                continue
            if stored.sent_ms <= (now - self.retention) * 1000:
                # Redriven messages are older than their place in line says.
                self._drop(stored)
                continue
            self.visible -= 1
            if self.redrive is not None and stored.count >= self.redrive.limit:
                self._move(stored, self.redrive.target, now)
                continue
            batch.append(self._lease(stored, visibility, now, shorten))
        if twin and batch and len(batch) < limit:
            batch.append(self._again(batch[0].stored, visibility, now, shorten))
        if visibility <= 0:
            self._show_again(batch)
        return batch

    def delete(self, handle: str) -> bool:
        """Whether the message is gone now. False: the handle is not its newest, and the message stays.

        A lease that has ended does not matter as long as nobody else has received the message since.
        """
        stored, lease = self._find(handle)
        if stored is None:
            return True
        if stored.lease != lease:
            return False
        full = self.in_flight >= IN_FLIGHT_LIMIT
        self.tally.deleted[stored.count] += 1
        self._drop(stored)
        if full and self.visible:
            self.changed()
        return True

    def redeliver(self, handle: str, seconds: float, now: float) -> bool:
        """A delete that one of SQS's servers missed: the message comes once more in `seconds`. Answers as `delete`."""
        stored, lease = self._find(handle)
        if stored is None or stored.lease != lease or stored.state != _LEASED:
            return self.delete(handle)
        # For whoever deleted it, it is gone: their handle must not count any more.
        stored.lease += 1
        self.tally.redelivered += 1
        self._wake_at(stored, now + seconds)
        return True

    def change(self, handle: str, seconds: float, now: float) -> None:
        """Let the lease end in `seconds`. Raises LeaseError."""
        self.tick(now)
        stored, lease = self._find(handle)
        if stored is None or stored.lease != lease:
            raise LeaseError("gone")
        if stored.state != _LEASED:
            raise LeaseError("not_in_flight")
        if now + seconds > stored.leased_at + MAX_LEASE:
            raise LeaseError("too_long")
        if seconds > 0:
            self._wake_at(stored, now + seconds)
            return
        self._forget_timer(stored)
        self.in_flight -= 1
        self._show(stored)
        self.changed()

    def take(self, now: float) -> Stored | None:
        """Remove the next visible message, as a move task does."""
        self.tick(now)
        while self._ready:
            stored = self._ready.popleft()
            if stored.state == _VISIBLE:
                self.visible -= 1
                stored.state = _GONE
                del self._messages[stored.number]
                return stored
        return None

    def purge(self) -> None:
        for stored in self._messages.values():
            stored.state = _GONE
            stored.timer = 0
        self._messages.clear()
        self._ready.clear()
        self._later.clear()
        self._outdated = self.delayed = self.visible = self.in_flight = 0

    def _lease(self, stored: Stored, visibility: float, now: float, shorten: Shorten | None) -> Received:
        stored.count += 1
        stored.lease += 1
        self.tally.received += 1
        self.tally.most_received = max(self.tally.most_received, stored.count)
        stored.first_received_ms = stored.first_received_ms or int(now * 1000)
        stored.leased_at = now
        stored.state = _LEASED
        self.in_flight += 1
        if visibility > 0:
            self._wake_at(stored, now + (shorten(visibility) if shorten else visibility))
        return Received(stored, handles.write(self._nonce, stored.number, stored.lease), stored.count)

    def _again(self, stored: Stored, visibility: float, now: float, shorten: Shorten | None) -> Received:
        self._forget_timer(stored)
        self.in_flight -= 1
        return self._lease(stored, visibility, now, shorten)

    def _show_again(self, batch: list[Received]) -> None:
        """A lease of no time at all: only once the batch is complete, or it would hold one message ten times."""
        for stored in {received.stored.number: received.stored for received in batch}.values():
            self.in_flight -= 1
            self._show(stored)
        self.changed()

    def _move(self, stored: Stored, target: "Queue", now: float) -> None:
        # The id, the body, the time of sending and the count of receives stay as they are.
        del self._messages[stored.number]
        stored.source_arn = self.arn
        target.put(stored, now)

    def _show(self, stored: Stored) -> None:
        stored.state = _VISIBLE
        self.visible += 1
        self._ready.append(stored)

    def _drop(self, stored: Stored) -> None:
        if stored.state == _LEASED:
            self.in_flight -= 1
        elif stored.state == _DELAYED:
            self.delayed -= 1
        else:
            self.visible -= 1
        self._forget_timer(stored)
        stored.state = _GONE
        # What still refers to it (a timer, the line of the visible) must not keep the mail in memory.
        stored.body = ""
        stored.attributes = None
        del self._messages[stored.number]

    def _wake_at(self, stored: Stored, due: float) -> None:
        self._forget_timer(stored)
        self._timers += 1
        stored.timer = self._timers
        stored.due = due
        heapq.heappush(self._later, (due, stored.timer, stored))

    def _forget_timer(self, stored: Stored) -> None:
        if not stored.timer:
            return
        stored.timer = 0
        self._outdated += 1
        if self._outdated > _COMPACT_FROM and self._outdated * 2 > len(self._later):
            self._later = [entry for entry in self._later if entry[2].timer == entry[1]]
            heapq.heapify(self._later)
            self._outdated = 0

    def _find(self, handle: str) -> tuple[Stored | None, int]:
        """The message that a handle names, None when it is gone, and which of its receives."""
        nonce, number, lease = handles.read(handle)
        if nonce != self._nonce or not 0 < number <= self._numbers:
            raise BadHandleError
        return self._messages.get(number), lease
