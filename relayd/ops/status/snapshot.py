"""Everything that is known at one moment, and what follows from it: who runs, how fast, how far behind, until when."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from relayd.adapters.probes import Account
from relayd.adapters.queue_depth import QueueDepth
from relayd.ops.pausing import Paused
from relayd.ops.status.asking import Answer
from relayd.ops.status.figures import Deliveries, MailboxPauses
from relayd.ops.status.replica import CallFigures, Message, Replica, Window

NAMED = 10
"""Messages that are told of."""


@dataclass(frozen=True, slots=True)
class Oldest:
    """The age of the oldest message, and who says so."""

    seconds: float | None
    source: str
    """`cloudwatch`, `replicas`, or empty where nobody knows."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Of all replicas that run, a second."""

    seconds: float
    """That they are taken over."""
    finished: float
    """Messages that are deleted."""
    failed: float
    """Messages whose try failed."""
    sent: float
    """Mails that SES took."""
    messages: Mapping[str, Mapping[str, float]]
    """By outcome and reason, the most frequent reason first."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What everybody answered."""

    at: float
    """Seconds since the epoch, by our own clock."""
    queue_name: str
    """Empty where it is not known."""
    queue: Answer[QueueDepth]
    oldest_reported: Answer[float]
    dead_letters: Answer[QueueDepth]
    events: Answer[QueueDepth] | None
    """None where there is no such queue."""
    account: Answer[Account]
    heartbeats: Answer[tuple[Replica, ...]]
    asked: Mapping[str, Answer[Replica]]
    """By address: replicas that were asked themselves."""
    hour: Answer[Deliveries]
    day: Answer[Deliveries]
    mailboxes: Answer[MailboxPauses]
    pauses: Answer[list[Paused]]
    growth: float | None = None
    """Messages a second by which the queue grows, or shrinks (below 0); None where nobody has watched for long enough.
    """
    replicas: tuple[Replica, ...] = field(init=False)
    """All that are known of, each once: who was asked itself knows better than its heartbeat."""

    def __post_init__(self) -> None:
        answers = [(one, self.heartbeats.age) for one in self.heartbeats.value or ()]
        answers += [(answer.value, answer.age) for answer in self.asked.values() if answer.value is not None]
        known = {one.replica_id: replace(one, seen_ago=one.seen_ago + age) for one, age in answers}
        ordered = sorted(known.values(), key=lambda one: (one.silent, one.replica_id))
        object.__setattr__(self, "replicas", tuple(ordered))

    @property
    def running(self) -> tuple[Replica, ...]:
        """Replicas that say something, and take from this queue."""
        return tuple(one for one in self.replicas if not one.silent and self._is_ours(one))

    @property
    def silent(self) -> tuple[Replica, ...]:
        """Replicas that have stopped to say anything without having left."""
        return tuple(one for one in self.replicas if one.silent and self._is_ours(one))

    @property
    def knows_replicas(self) -> bool:
        """Whether anybody could say which replicas there are."""
        return self.heartbeats.value is not None or any(answer.value is not None for answer in self.asked.values())

    @property
    def knows_anything(self) -> bool:
        """Whether anybody answered at all."""
        return any(answer.value is not None for _, answer in self.answers())

    @property
    def waiting(self) -> int | None:
        """Messages that nobody has in hand and that can be received now or soon."""
        found = self.queue.value
        return None if found is None else found.visible + found.delayed

    @property
    def in_hand(self) -> int | None:
        """Messages that replicas have in hand, as far as SQS's count and theirs, of different moments, tell."""
        if self.queue.value is None or not self.running:
            return None
        return min(self.queue.value.in_flight, sum(_may_hold(one) for one in self.running))

    @property
    def put_off(self) -> int | None:
        """Messages that come back by themselves: SQS counts them as in flight, and no replica can have them in hand."""
        in_hand = self.in_hand
        return None if self.queue.value is None or in_hand is None else self.queue.value.in_flight - in_hand

    @property
    def oldest(self) -> Oldest:
        """CloudWatch leaves out what was received three times or more, and replicas know only what they have seen: the
        older one counts.
        """
        seen = max((one.oldest for one in self.running if one.oldest is not None), default=None)
        reported = self.oldest_reported.value
        if reported is not None and (seen is None or reported >= seen):
            return Oldest(reported, "cloudwatch")
        empty = self.queue.value is not None and self.queue.value.total == 0
        return Oldest(None if empty else seen, "" if empty or seen is None else "replicas")

    def rates(self, window: Callable[[Replica], Window | None]) -> Rates | None:
        """Over `minute` or `quarter_hour`; None where no replica tells."""
        windows = [found for one in self.running if (found := window(one)) is not None]
        if not windows:
            return None
        messages: dict[str, dict[str, float]] = {}
        for one in windows:
            for outcome, reasons in one.messages.items():
                known = messages.setdefault(outcome, {})
                for reason, number in reasons.items():
                    known[reason] = known.get(reason, 0.0) + number / one.seconds
        return Rates(
            seconds=max(one.seconds for one in windows),
            finished=sum(one.finished / one.seconds for one in windows),
            failed=sum(one.failed / one.seconds for one in windows),
            sent=sum(one.sent / one.seconds for one in windows),
            messages={outcome: dict(sorted(found.items(), key=_most_first)) for outcome, found in messages.items()},
        )

    @property
    def minute(self) -> Rates | None:
        return self.rates(lambda replica: replica.minute)

    @property
    def quarter_hour(self) -> Rates | None:
        return self.rates(lambda replica: replica.quarter_hour)

    @property
    def drained_in(self) -> float | None:
        """Seconds until the queue is empty: as fast as it shrinks, where somebody has watched it; else as fast as
        messages are finished, if no more came. None where that is never, or not known.
        """
        waiting, minute = self.waiting, self.minute
        if waiting is None:
            return None
        if waiting == 0:
            return 0.0
        speed = -self.growth if self.growth is not None else minute.finished if minute is not None else 0.0
        return waiting / speed if speed > 0 else None

    def calls(self) -> dict[str, CallFigures]:
        """Calls to each dependency in the last minute, of all replicas together; of their times the worst."""
        windows = [one.minute for one in self.running if one.minute is not None]
        names = dict.fromkeys(name for one in windows for name in one.calls)
        return {name: _together([one.calls[name] for one in windows if name in one.calls]) for name in names}

    def slowest(self) -> list[tuple[Replica, Message]]:
        """The slowest messages of the last quarter of an hour."""
        found = [(one, message) for one in self.running for message in one.slowest]
        return sorted(found, key=lambda pair: -pair[1].seconds)[:NAMED]

    def failed(self) -> list[tuple[Replica, Message]]:
        """The last messages that failed, the last one first."""
        found = [(one, message) for one in self.running for message in one.failed]
        return sorted(found, key=lambda pair: -pair[1].at)[:NAMED]

    def answers(self) -> Iterator[tuple[str, Answer[Any]]]:
        """All of them, by what they are about."""
        yield "queue", self.queue
        yield "oldest", self.oldest_reported
        yield "dead_letters", self.dead_letters
        if self.events is not None:
            yield "events", self.events
        yield "account", self.account
        yield "replicas", self.heartbeats
        for address, answer in self.asked.items():
            yield f"replica {address}", answer
        yield "hour", self.hour
        yield "day", self.day
        yield "mailboxes", self.mailboxes
        yield "pauses", self.pauses

    def _is_ours(self, replica: Replica) -> bool:
        return not self.queue_name or not replica.queue or replica.queue == self.queue_name


def _most_first(item: tuple[str, float]) -> tuple[float, str]:
    return -item[1], item[0]


def _may_hold(replica: Replica) -> int:
    """How many messages it may have in hand by now: since its heartbeat it has finished some and taken others."""
    works = replica.minute is not None and replica.minute.finished > 0
    if works and all(one.breaker != "open" for one in replica.dependencies.values()):
        return replica.slots or replica.in_flight or 0
    return replica.in_flight or 0


def _together(calls: Sequence[CallFigures]) -> CallFigures:
    def worst(times: list[float | None]) -> float | None:
        return max((one for one in times if one is not None), default=None)

    return CallFigures(
        count=sum(one.count for one in calls),
        errors=sum(one.errors for one in calls),
        p50=worst([one.p50 for one in calls]),
        p99=worst([one.p99 for one in calls]),
    )
