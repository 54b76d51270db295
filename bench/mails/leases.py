"""The fake's queue: numbered messages with leases, and what has come of them."""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any

from bench.mails.post import Told

HUSHED_SECONDS = 0.1
"""How long a poll takes of which nobody expects anything."""

Answer = list[bytes]


@dataclass(slots=True)
class Lease:
    number: int
    receives: int
    expires: float
    handle: str


@dataclass(slots=True)
class Run:
    """What has come of the mails since they were put in."""

    size: int = 0
    published: dict[int, float] = field(default_factory=dict)
    sent: dict[int, float] = field(default_factory=dict)
    again: int = 0
    """Sends of a mail that had been sent."""
    deleted: int = 0
    unknown: int = 0
    calls: Counter[str] = field(default_factory=Counter)
    last: float = 0.0
    """When a mail was sent."""
    told_of: int = 0
    """Mails that were put in, or will be."""
    began: int = 0
    """The first number that counts."""

    def mark(self, *, rewind: bool) -> None:
        """What came until now counts no longer. `rewind`: the numbers begin at 0 again, for programs that keep no
        books about mails: signing is dear.
        """
        if rewind:
            self.published.clear()
            self.sent.clear()
            self.deleted = self.told_of = 0
        self.began = self.told_of

    def told(self) -> dict[str, Any]:
        """How far things are; cheap, because it is asked all the time."""
        return {
            "published": len(self.published),
            "sent": len(self.sent),
            "sent_again": self.again,
            "deleted": self.deleted,
            "unknown": self.unknown,
            "calls": dict(self.calls),
        }

    def result(self) -> dict[str, Any]:
        """Seconds since the mark: how long mails waited, and how long all took."""
        counted = [(self.published[number], at) for number, at in self.sent.items() if number >= self.began]
        waits = sorted(at - published for published, at in counted)
        first = min((published for published, _ in counted), default=self.last)
        return {
            "p50": waits[len(waits) // 2] if waits else None,
            "p99": waits[min(len(waits) - 1, len(waits) * 99 // 100)] if waits else None,
            "seconds": self.last - first,
        }


class Queue:
    """One queue of numbered messages with leases."""

    def __init__(self, run: Run, told: list[Told]) -> None:
        self.run = run
        self._told = told
        self._ready: deque[tuple[int, int]] = deque()
        self._leases: dict[int, Lease] = {}
        self._expiries: list[tuple[float, int, str]] = []
        self._polls: deque[tuple[int, float, Callable[[Answer], None]]] = deque()
        self._longest = 20.0

    @property
    def depth(self) -> tuple[int, int]:
        return len(self._ready), len(self._leases)

    def put(self, numbers: range) -> None:
        now = time.time()
        self.run.published.update(dict.fromkeys(numbers, now))
        self._ready.extend((number, 0) for number in numbers)
        self._serve()

    def receive(self, most: int, wait: float, visibility: float, answer: Callable[[Answer], None]) -> None:
        self.expire()
        wait = min(wait, self._longest)
        if self._ready or wait == 0:
            answer(self._take(most, visibility))
            return
        poll = (most, visibility, answer)
        self._polls.append(poll)
        asyncio.get_running_loop().call_later(wait, self._give_up, poll)

    def extend(self, handle: str, seconds: float) -> bool:
        lease = self._leases.get(int(handle.partition("-")[0]))
        if lease is None or lease.handle != handle:
            return False
        lease.expires = time.time() + seconds
        heappush(self._expiries, (lease.expires, lease.number, handle))
        if seconds == 0:
            self.expire()
        return True

    def delete(self, handle: str) -> None:
        number = int(handle.partition("-")[0])
        lease = self._leases.get(number)
        if lease is not None and lease.handle == handle:
            del self._leases[number]
            self.run.deleted += 1

    def expire(self) -> None:
        now = time.time()
        while self._expiries and self._expiries[0][0] <= now:
            _, number, handle = heappop(self._expiries)
            lease = self._leases.get(number)
            if lease is not None and lease.handle == handle and lease.expires <= now:
                del self._leases[number]
                self._ready.append((number, lease.receives))
        self._serve()

    def hush(self) -> None:
        """Nothing will come: a program that is told to stop need not wait for its polls."""
        self._longest = HUSHED_SECONDS
        for poll in list(self._polls):
            self._give_up(poll)

    def _give_up(self, poll: tuple[int, float, Callable[[Answer], None]]) -> None:
        if poll in self._polls:
            self._polls.remove(poll)
            poll[2]([b"{}"])

    def _serve(self) -> None:
        while self._ready and self._polls:
            most, visibility, answer = self._polls.popleft()
            answer(self._take(most, visibility))

    def _take(self, most: int, visibility: float) -> Answer:
        now = time.time()
        pieces: Answer = []
        while self._ready and len(pieces) < most:
            number, receives = self._ready.popleft()
            lease = Lease(number, receives + 1, now + visibility, f"{number}-{receives + 1}")
            self._leases[number] = lease
            heappush(self._expiries, (lease.expires, number, lease.handle))
            pieces.append(self._message(lease))
        return [b'{"Messages":[', b",".join(pieces), b"]}"] if pieces else [b"{}"]

    def _message(self, lease: Lease) -> bytes:
        told = self._told[lease.number]
        at = int(self.run.published[lease.number] * 1000)
        return (
            b'{"MessageId":"10000000-0000-4000-8000-%012d","ReceiptHandle":"%s","MD5OfBody":"%s","Body":%s,"Attributes":'
            b'{"ApproximateReceiveCount":"%d","SentTimestamp":"%d","ApproximateFirstReceiveTimestamp":"%d"}}'
        ) % (lease.number, lease.handle.encode(), told.digest.encode(), told.body, lease.receives, at, at)
