"""Ten seconds of a daemon's work in bounded memory, and what many of them come to."""

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from relayd.errors import Dependency
from relayd.runtime.spread import Spread, joined
from relayd.telemetry.words import label

SECONDS = 10.0
KEPT = 10
"""Messages that are named: the slowest ones, and the last ones that failed."""
MOST_REASONS = 40
"""Pairs of outcome and reason in a bucket. relayd has fewer words than that; this holds if a text ever slips in."""
OTHER = "other"
DEPENDENCIES: tuple[Dependency, ...] = ("queue", "s3", "ses", "database", "certificates")
FAILED = ("rejected", "deferred")
"""Outcomes of messages that failed, if it counts as a try. One that is released was not tried."""


class Noted(NamedTuple):
    """A message to look at: slow, or failed. Ids only; by them it is found in logs, traces and the ledger."""

    seconds: float
    at: float
    """When it ended, in seconds since the epoch."""
    message_id: str
    mail_id: str
    """SES's id; empty where the message was not even decoded."""
    trace_id: str
    outcome: str
    reason: str


class Calls:
    """Calls to one dependency."""

    __slots__ = ("count", "errors", "seconds")

    def __init__(self) -> None:
        self.count = 0
        self.errors = 0
        self.seconds = Spread()


class Bucket:
    """Counts of ten seconds. Not thread-safe: whoever holds it locks."""

    __slots__ = ("calls", "ended", "failed", "finished", "number", "oldest", "seconds", "sent", "slowest", "unsettled")

    def __init__(self, number: int) -> None:
        self.number = number
        """Its place in time: it begins at `number` times `SECONDS`."""
        self.ended: dict[tuple[str, str], int] = {}
        """Messages by outcome and reason."""
        self.finished = 0
        """Messages that are deleted."""
        self.failed = 0
        """Messages whose try counts as a failed one."""
        self.sent = 0
        """Mails that SES took."""
        self.unsettled = 0
        """Messages that come back because SQS could not be told."""
        self.seconds = Spread()
        self.oldest: float | None = None
        """The greatest age, in seconds since it was sent to the queue, of a message that ended."""
        self.slowest: list[Noted] = []
        """As a heap."""
        self.calls: dict[str, Calls] = {}

    def count(self, outcome: str, reason: str) -> None:
        """One more message that ended so."""
        key = (outcome, reason)
        if key not in self.ended:
            # Looked at once for each word: this is done for every message.
            key = (outcome, label(reason)) if len(self.ended) < MOST_REASONS else (OTHER, OTHER)
        self.ended[key] = self.ended.get(key, 0) + 1

    def is_slow(self, seconds: float) -> bool:
        """Whether a message of so many seconds is one of the slowest."""
        return len(self.slowest) < KEPT or seconds > self.slowest[0].seconds

    def note(self, message: Noted) -> None:
        """Keep it among the slowest."""
        if len(self.slowest) < KEPT:
            heapq.heappush(self.slowest, message)
        else:
            heapq.heapreplace(self.slowest, message)

    def called(self, dependency: str) -> Calls:
        """The calls to that dependency."""
        found = self.calls.get(dependency)
        if found is None:
            found = self.calls[dependency] = Calls()
        return found

    def copy(self) -> "Bucket":
        """As it is now."""
        new = Bucket(self.number)
        for name in ("failed", "finished", "sent", "unsettled", "oldest"):
            setattr(new, name, getattr(self, name))
        new.ended, new.slowest, new.seconds = dict(self.ended), list(self.slowest), joined([self.seconds])
        for name, calls in self.calls.items():
            copied = new.calls[name] = Calls()
            copied.count, copied.errors, copied.seconds = calls.count, calls.errors, joined([calls.seconds])
        return new


def summed(buckets: Sequence[Bucket], seconds: float) -> dict[str, Any]:
    """What buckets come to that cover so many seconds."""
    ended: Counter[tuple[str, str]] = Counter()
    for bucket in buckets:
        ended.update(bucket.ended)
    messages: dict[str, dict[str, int]] = {}
    for place, ((word, reason), count) in enumerate(ended.most_common()):
        outcome, why = (word, reason) if place < MOST_REASONS else (OTHER, OTHER)
        reasons = messages.setdefault(outcome, {})
        reasons[why] = reasons.get(why, 0) + count
    return {
        "seconds": round(seconds, 1),
        "messages": messages,
        "finished": sum(bucket.finished for bucket in buckets),
        "failed": sum(bucket.failed for bucket in buckets),
        "sent": sum(bucket.sent for bucket in buckets),
        "unsettled": sum(bucket.unsettled for bucket in buckets),
        **_quantiles(joined(bucket.seconds for bucket in buckets)),
        "calls": {name: found for name in DEPENDENCIES if (found := _called(buckets, name))},
    }


def slowest(buckets: Iterable[Bucket]) -> list[dict[str, Any]]:
    """The slowest messages of all of them, the slowest first."""
    return [told(one) for one in heapq.nlargest(KEPT, (one for bucket in buckets for one in bucket.slowest))]


def told(noted: Noted) -> dict[str, Any]:
    """For a document."""
    return noted._asdict() | {"seconds": round(noted.seconds, 3), "at": round(noted.at, 1)}


def lines(buckets: Sequence[Bucket]) -> dict[str, Any]:
    """Bucket by bucket, as lists of the same length, for sparklines. None where there was nothing to measure."""
    return {
        "messages": {
            "finished": [bucket.finished for bucket in buckets],
            "failed": [bucket.failed for bucket in buckets],
            **_columns([bucket.seconds for bucket in buckets]),
        },
        "calls": {name: _line([bucket.calls.get(name) or Calls() for bucket in buckets]) for name in DEPENDENCIES},
    }


def _line(calls: Sequence[Calls]) -> dict[str, list[Any]]:
    return {
        "count": [one.count for one in calls],
        "errors": [one.errors for one in calls],
        **_columns([one.seconds for one in calls]),
    }


def _columns(spreads: Sequence[Spread]) -> dict[str, list[Any]]:
    found = [_quantiles(spread) for spread in spreads]
    return {name: [one[name] for one in found] for name in ("p50", "p99")}


def _called(buckets: Sequence[Bucket], dependency: str) -> Mapping[str, Any]:
    calls = [found for bucket in buckets if (found := bucket.calls.get(dependency))]
    count = sum(one.count for one in calls)
    errors = sum(one.errors for one in calls)
    return {"count": count, "errors": errors, **_quantiles(joined(one.seconds for one in calls))} if count else {}


def _quantiles(spread: Spread) -> dict[str, float | None]:
    found = {"p50": spread.quantile(0.5), "p99": spread.quantile(0.99)}
    return {name: None if seconds is None else round(seconds, 4) for name, seconds in found.items()}
