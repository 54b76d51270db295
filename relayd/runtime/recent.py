"""The last quarter of an hour of a daemon: how messages ended, how the dependencies answered, and which messages to
look at first. /metrics has the counters; this is for whoever has nothing but the daemon itself.
"""

import threading
from collections import OrderedDict, deque
from collections.abc import Mapping
from typing import Any

from relayd.errors import Dependency
from relayd.ports import Clock
from relayd.runtime.buckets import FAILED, KEPT, SECONDS, Bucket, Noted, lines, slowest, summed, told
from relayd.runtime.watching import Ended
from relayd.telemetry.words import label

MINUTE, QUARTER_HOUR = 6, 90
"""Whole buckets. The one that is not over yet comes on top, so that what happens now is seen now."""

MOST_BACK = 1000
"""Messages that went back to the queue and are remembered."""
_WAITING = ("receive",)
"""Operations that wait on purpose: how long says nothing about who is asked."""


class Recent:
    """Told of messages and calls by any thread, in a few microseconds each; asked by whoever shows the figures."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began = clock.monotonic()
        self._lock = threading.Lock()
        self._ring: list[Bucket | None] = [None] * (QUARTER_HOUR + 1)
        self._failed: deque[Noted] = deque(maxlen=KEPT)
        self._back: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """Messages that went back to the queue, by id: when each was sent to it, and when it went back (epoch)."""
        self._last_at = 0.0
        """When the last message ended."""

    def __call__(self, ended: Ended) -> None:
        """One message ended (`relayd.runtime.watching.Watcher`)."""
        outcome, seconds, age = ended.outcome, ended.seconds, ended.age
        waits = ended.visible_in is not None or ended.problem is not None
        failed = outcome in FAILED and ended.charged
        sent = _sent(ended.facts)
        now = self._clock.time()
        with self._lock:
            bucket = self._current()
            bucket.count(outcome, ended.reason)
            bucket.seconds.add(seconds)
            bucket.sent += sent
            bucket.failed += failed
            if ended.problem is not None:
                bucket.unsettled += 1
            elif not waits and outcome != "abandoned":
                bucket.finished += 1
            if age is not None and (bucket.oldest is None or age > bucket.oldest):
                bucket.oldest = age
            self._note_whereabouts(ended.message.message_id, age if waits else None, now)
            slow = bucket.is_slow(seconds)
            if slow or failed:
                noted = _noted(ended, now)
                if slow:
                    bucket.note(noted)
                if failed:
                    self._failed.append(noted)

    def called(self, dependency: Dependency, operation: str, seconds: float, fault: bool) -> None:
        """One call to a dependency ended (`relayd.telemetry.calls.CallListener`)."""
        with self._lock:
            calls = self._current().called(dependency)
            calls.count += 1
            calls.errors += fault
            if operation not in _WAITING:
                calls.seconds.add(seconds)

    def figures(self) -> dict[str, Any]:
        """The sums of the last minute and of the quarter of an hour, and the messages to look at first.

        `minute` and `quarter_hour`: the `seconds` that they cover; `messages` by outcome and reason; how many were
        `finished` (they are deleted), how many `failed`; mails `sent`; settlements that SQS did not take (`unsettled`);
        `p50` and `p99` seconds of work; `calls` to each dependency that had any, with `count`, `errors`, `p50` and
        `p99`. `slowest` and `failed`: as `Noted`, the slowest and the last one first. `oldest_seconds`: the age of the
        oldest message of the last minute that had any: of one that ended when it did, of one that went back by now.
        """
        buckets, failed, back = self._looked()
        number, now = buckets[-1].number, self._clock.monotonic()
        minute = [bucket for bucket in buckets if bucket.number >= number - MINUTE]

        def covered(count: int) -> float:
            return now - max(self._began, (number - count) * SECONDS)

        return {
            "minute": summed(minute, covered(MINUTE)),
            "quarter_hour": summed(buckets, covered(QUARTER_HOUR)),
            "oldest_seconds": _oldest(buckets, back, self._clock.time()),
            "slowest": slowest(buckets),
            "failed": [told(one) for one in reversed(failed)],
        }

    def series(self) -> dict[str, Any]:
        """The quarter of an hour bucket by bucket, the oldest first; the last one is not over yet.

        `every_seconds`; `until`, in seconds since the epoch; `messages` with `finished`, `failed`, `p50` and `p99`, and
        `calls` by dependency with `count`, `errors`, `p50` and `p99`: each a list of one value a bucket.
        """
        buckets, _, _ = self._looked()
        number = buckets[-1].number
        known = {bucket.number: bucket for bucket in buckets}
        line = [known.get(place) or Bucket(place) for place in range(number - QUARTER_HOUR, number + 1)]
        return {"every_seconds": SECONDS, "until": round(self._clock.time(), 1), **lines(line)}

    def _current(self) -> Bucket:
        """The bucket of now. Called with the lock."""
        number = int(self._clock.monotonic() / SECONDS)
        place = number % len(self._ring)
        bucket = self._ring[place]
        if bucket is None or bucket.number != number:
            # A new one, and never the old one made empty: somebody may be reading that.
            bucket = self._ring[place] = Bucket(number)
        return bucket

    def _note_whereabouts(self, message_id: str, age: float | None, now: float) -> None:
        """`age`: of one that went back. Called with the lock."""
        self._last_at = now
        self._back.pop(message_id, None)
        if age is not None:
            self._back[message_id] = (now - age, now)
            if len(self._back) > MOST_BACK:
                self._back.popitem(last=False)

    def _looked(self) -> tuple[list[Bucket], list[Noted], float | None]:
        """The buckets that there are, in their order and the current one last; what failed meanwhile; and when the
        oldest of those messages had been sent that went back, as far as they are likely to be in the queue still.
        """
        with self._lock:
            current = self._current()
            # None of the others changes any more, so that little is done here.
            now = current.copy()
            before = [bucket for bucket in self._ring if bucket is not None and bucket is not current]
            failed = list(self._failed)
            # Another replica may have finished it since. Where no message ends, nobody has.
            likely = [sent_at for sent_at, at in self._back.values() if at >= self._last_at - MINUTE * SECONDS]
        since = self._clock.time() - QUARTER_HOUR * SECONDS
        recent = [bucket for bucket in before if bucket.number >= now.number - QUARTER_HOUR]
        return (
            [*sorted(recent, key=lambda bucket: bucket.number), now],
            [one for one in failed if one.at >= since],
            min(likely, default=None),
        )


def _noted(ended: Ended, now: float) -> Noted:
    # Not the message itself: its body may be the whole mail.
    mail_id = ended.facts.get("mail_id")
    return Noted(
        seconds=ended.seconds,
        at=now,
        message_id=ended.message.message_id,
        mail_id=mail_id if isinstance(mail_id, str) else "",
        trace_id=ended.trace_id or "",
        outcome=ended.outcome,
        reason=label(ended.reason),
    )


def _sent(facts: Mapping[str, object]) -> int:
    deliveries = facts.get("deliveries")
    count = 0
    if isinstance(deliveries, list):
        for one in deliveries:
            count += one["state"] == "sent"
    return count


def _oldest(buckets: list[Bucket], back: float | None, now: float) -> float | None:
    ages = [(bucket.number, bucket.oldest) for bucket in buckets if bucket.oldest is not None]
    if not ages:
        return None
    last = ages[-1][0]
    oldest = max(age for number, age in ages if number >= last - MINUTE)
    return round(oldest if back is None else max(oldest, now - back), 1)
