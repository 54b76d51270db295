"""What became of the messages of one drain: each is counted once, however often it was received."""

from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from relayd.ports import Clock
from relayd.rules.retry import PAUSED
from relayd.runtime.breaker import PAUSE_CAP
from relayd.runtime.gates import UNLIMITED
from relayd.runtime.governor import BEHIND
from relayd.runtime.watching import Ended

LONGEST_PAUSE = PAUSE_CAP + BEHIND
"""Seconds: no breaker keeps a message away for longer."""
LAPSE_SECONDS = 2.0
"""After its time a message still counts as put off for so long: SQS counts whole seconds, by a clock of its own."""
RETURN_SECONDS = 10.0
"""The same for one that was put off on purpose, until it has been received again. Where there are many of them, one
comes back all the time, only to be put off once more: a drain that waited for that would never end.
"""
FORWARDED = "forwarded"
IN_HAND_ELSEWHERE = "claimed_elsewhere"
"""A message that waits for somebody's claim is waited for however long that is: a claim comes to an end by itself."""
REMEMBERED = 10_000
"""Finished messages that may come again: twice in one receive, or because SQS could not be told to delete them."""


@dataclass(frozen=True, slots=True)
class PutOff:
    """A message that will come back."""

    reason: str
    due: float
    """When, by the monotonic clock."""
    on_purpose: bool
    """It stays away longer than anybody wants to wait for it."""

    def is_away(self, now: float) -> bool:
        """Whether it is still put off, or just back."""
        return now < self.due + (RETURN_SECONDS if self.on_purpose else LAPSE_SECONDS)


@dataclass(frozen=True, slots=True)
class Later:
    """Messages that were put off for one reason."""

    count: int
    back_in: float
    """Seconds until the last of them comes back; 0 when all may be received by now."""


@dataclass(frozen=True, slots=True)
class Sums:
    """Messages, by how they ended; every one of them is in exactly one of these."""

    forwarded: int = 0
    before: int = 0
    """Had been forwarded before, by a drain that was killed or by a daemon: only deleted now."""
    discarded: Mapping[str, int] = field(default_factory=dict)
    dead_lettered: Mapping[str, int] = field(default_factory=dict)
    deferred: Mapping[str, Later] = field(default_factory=dict)
    in_hand: int = 0
    """Being worked on, or not settled yet. Those come back when their leases lapse."""

    @property
    def finished(self) -> int:
        """Gone from the queue for good."""
        return self.forwarded + self.before + sum(self.discarded.values()) + sum(self.dead_lettered.values())

    @property
    def received(self) -> int:
        """All of them."""
        return self.finished + sum(later.count for later in self.deferred.values()) + self.in_hand


class Tally:
    """Watches the engine (`ended`) and its polls (as a Gate that minds nothing). Any thread may tell and ask."""

    def __init__(self, clock: Clock, *, patience: float, outage: Callable[[], bool] = lambda: False) -> None:
        """`patience`: seconds that a message may stay away and still be waited for. `outage`: whether some dependency
        is down right now; what is put off meanwhile is waited for, as what put it off will end.
        """
        self._clock = clock
        self._patience = patience
        self._outage = outage
        self._lock = clock.condition()
        self._forwarded = 0
        self._before = 0
        self._discarded: Counter[str] = Counter()
        self._dead_lettered: Counter[str] = Counter()
        self._open: dict[str, PutOff] = {}
        self._done: OrderedDict[str, None] = OrderedDict()
        self._receives = 0
        self._endings = 0
        self._news = 0
        self._began: float | None = None
        self._last = 0.0

    # What it is told.

    def allowance(self) -> int:
        """It only counts what is received."""
        return UNLIMITED

    def took(self, count: int) -> None:
        """So many messages were received."""
        with self._lock:
            self._receives += count
            self._began = self._clock.monotonic() if self._began is None else self._began

    def ended(self, ended: Ended) -> None:
        """One receive of one message ended."""
        now = self._clock.monotonic()
        message_id = ended.message.message_id
        with self._lock:
            self._endings += 1
            self._last = now
            if message_id in self._done:
                return
            if ended.outcome in ("accepted", "rejected"):
                self._open.pop(message_id, None)
                self._finished(ended)
                self._done[message_id] = None
                if len(self._done) > REMEMBERED:
                    self._done.popitem(last=False)
            else:
                before = self._open.get(message_id)
                after = self._open[message_id] = self._put_off(ended, now)
                if before is not None and before.on_purpose and after.on_purpose:
                    return
            self._news += 1

    # What it is asked.

    @property
    def receives(self) -> int:
        """Receives so far, several of one message each counted."""
        with self._lock:
            return self._receives

    @property
    def news(self) -> int:
        """Endings so far of which nobody knew before: not those of messages that came back to be put off once more."""
        with self._lock:
            return self._news

    @property
    def seconds(self) -> float:
        """From the first receive to the last end of a message."""
        with self._lock:
            return 0.0 if self._began is None else max(0.0, self._last - self._began)

    def away(self) -> tuple[int, int]:
        """How many messages are put off right now: to be waited for, and on purpose. Some may just be back."""
        now = self._clock.monotonic()
        with self._lock:
            away = [one.on_purpose for one in self._open.values() if one.is_away(now)]
        return away.count(False), away.count(True)

    def unknown(self, message_ids: Collection[str]) -> int:
        """How many of these messages are no old friends that were put off on purpose before."""
        with self._lock:
            return sum(not (one in self._open and self._open[one].on_purpose) for one in message_ids)

    def next_due(self) -> float | None:
        """Seconds until the last of the messages comes back that are waited for; None where there are none."""
        now = self._clock.monotonic()
        with self._lock:
            waiting = [one.due for one in self._open.values() if not one.on_purpose and one.is_away(now)]
        return max(0.0, max(waiting) - now) if waiting else None

    def sums(self, in_hand: Collection[str] = ()) -> Sums:
        """All of it so far. `in_hand`: ids of the messages that the engine has leases for."""
        now = self._clock.monotonic()
        held = set(in_hand)
        with self._lock:
            deferred: dict[str, list[float]] = {}
            for message_id, one in self._open.items():
                # One that came back and is in hand now is counted there.
                if message_id not in held:
                    deferred.setdefault(one.reason, []).append(max(0.0, one.due - now))
            return Sums(
                self._forwarded,
                self._before,
                dict(self._discarded),
                dict(self._dead_lettered),
                {reason: Later(len(left), max(left)) for reason, left in sorted(deferred.items())},
                # Not only the leases: what waits to be settled has none any more.
                max(len(held), self._receives - self._endings),
            )

    # All of these are called with the lock.

    def _finished(self, ended: Ended) -> None:
        if ended.outcome == "rejected":
            self._dead_lettered[ended.reason] += 1
        elif ended.reason != FORWARDED:
            self._discarded[ended.reason] += 1
        elif was_before(ended):
            self._before += 1
        else:
            self._forwarded += 1

    def _put_off(self, ended: Ended, now: float) -> PutOff:
        if ended.visible_in is None or ended.problem is not None:
            # It comes back when a lease lapses: soon, and nobody knows when.
            return PutOff(ended.reason, now, on_purpose=False)
        return PutOff(ended.reason, now + ended.visible_in, self._is_on_purpose(ended, ended.visible_in))

    def _is_on_purpose(self, ended: Ended, seconds: float) -> bool:
        if ended.reason == PAUSED:
            # It comes back every so often to ask, and nobody knows when the answer changes.
            return True
        if ended.reason == IN_HAND_ELSEWHERE or seconds <= self._patience:
            return False
        # Handed back, or told to wait for a breaker.
        for_a_breaker = ended.outcome == "released" or self._outage()
        return not (for_a_breaker and seconds <= LONGEST_PAUSE)


def was_before(ended: Ended) -> bool:
    """Whether all that was sent of it was sent in another attempt, so that this one only deletes the message."""
    deliveries = ended.facts.get("deliveries")
    if not isinstance(deliveries, list) or not deliveries:
        return False
    return all(one.get("before") for one in deliveries if one.get("state") == "sent")
