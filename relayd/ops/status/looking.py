"""Looks at everything, once or again and again, and puts together what is known by then."""

from collections import deque
from collections.abc import Mapping, Sequence

from relayd.adapters.sqs import queue_name
from relayd.ops.status.asking import DEADLINE, Asker
from relayd.ops.status.snapshot import Snapshot
from relayd.ops.status.sources import REPLICA, Places, Sources, shown
from relayd.ports import Clock

PREPARE_SECONDS = 5.0
"""For building clients, beside the deadline of the questions."""
TREND_SECONDS = 60.0
TREND_LEAST = 20.0
"""How the queue grows or shrinks is told over the last minute; SQS's counts lag behind by seconds, so that less than
twenty of them tell nothing."""


class Observer:
    """Whoever asks for the status."""

    def __init__(self, environ: Mapping[str, str], replica_urls: Sequence[str], clock: Clock) -> None:
        places = Places.of(environ)
        self._clock = clock
        self._urls = tuple(dict.fromkeys(replica_urls))
        self._sources = Sources(places, self._urls, clock)
        questions = self._sources.questions()
        self._events = "events" in questions
        self._asker = Asker(clock, questions)
        self._queue_name = queue_name(places.queue_url) if places.queue_url else ""
        self._trend = Trend()
        self._prepared = False

    def look(self, patience: float = DEADLINE) -> Snapshot:
        """Ask what is due, wait for the answers for so many seconds at most, and tell what is known then."""
        if not self._prepared:
            # On a thread of its own: credentials may take their time to come, or never come.
            self._prepared = True
            self._clock.spawn("prepare", self._sources.prepare).join(PREPARE_SECONDS)
        self._asker.ask()
        self._asker.wait(patience)
        answer = self._asker.answer
        queue = answer("queue")
        if queue.value is not None:
            self._trend.note(self._clock.monotonic() - queue.age, queue.value.total)
        return Snapshot(
            at=self._clock.time(),
            queue_name=self._queue_name,
            queue=queue,
            oldest_reported=answer("oldest"),
            dead_letters=answer("dead_letters"),
            events=answer("events") if self._events else None,
            account=answer("account"),
            heartbeats=answer("replicas"),
            asked={shown(url): answer(REPLICA + url) for url in self._urls},
            hour=answer("hour"),
            day=answer("day"),
            mailboxes=answer("mailboxes"),
            pauses=answer("pauses"),
            growth=self._trend.growth if queue.value is not None else None,
        )

    def close(self) -> None:
        """Let go of the database."""
        self._sources.close()


class Trend:
    """Whether a queue grows or shrinks, by what somebody has seen of it. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def note(self, at: float, total: int) -> None:
        """So many messages were in it then. The same answer may be told again."""
        self._seen.append((at, total))
        while at - self._seen[0][0] > TREND_SECONDS:
            self._seen.popleft()

    @property
    def growth(self) -> float | None:
        """Messages a second; None where it was not watched for long enough."""
        if not self._seen:
            return None
        (began, first), (ended, last) = self._seen[0], self._seen[-1]
        return (last - first) / (ended - began) if ended - began >= TREND_LEAST else None
