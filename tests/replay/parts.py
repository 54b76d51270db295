"""A source, a queue and a terminal for the tests of replay, in memory and in virtual time."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from relayd.adapters.injecting import Parcel
from relayd.errors import RelaydError, TransientError
from relayd.model.notification import Received
from relayd.ops.replay.choosing import Choice, Weigher
from relayd.ops.replay.ended import Ended
from relayd.ops.replay.offers import Offer
from relayd.ops.replay.outcomes import Outcomes
from relayd.ops.replay.reading import Reading
from relayd.ops.replay.sending import Act, Sending
from relayd.wire import own, ses
from tests.fakes.clock import VirtualClock
from tests.wire.samples import received_text

SECRET = b"0123456789abcdef0123456789abcdef"
REPLAY = "replay-1"


def offer(
    mail_id: str, *, reason: str = "ses_rejected", recipients: Sequence[str] = ("shop@mask.example",), **facts: Any
) -> Offer:
    """An offer of a mail, that can be sealed unless it is said otherwise."""
    text = received_text(mail={"messageId": mail_id}, receipt={"recipients": list(recipients)})
    told = ses.read_notification(text)
    assert isinstance(told, Received)
    known: dict[str, Any] = {"text": text, "received": told, "names": frozenset({mail_id}), "token": mail_id}
    return Offer(reason, facts.pop("at", 1000.0), **{**known, **facts})


class FakeSource:
    """Implements `relayd.ops.replay.offers.Source`. `left` is what lies in it."""

    def __init__(self, offers: Iterable[Offer], portion: int = 10) -> None:
        self.left = list(offers)
        self._portion = portion
        self.held: list[Offer] = []
        self.closed = 0
        self.tended = 0
        self.undeletable: set[str] = set()
        self.offered = 0

    def offers(self) -> Iterator[list[Offer]]:
        waiting = list(self.left)
        while waiting:
            some, waiting = waiting[: self._portion], waiting[self._portion :]
            self.held += some
            self.offered += len(some)
            yield some
        yield []

    def total(self) -> int | None:
        return len(self.left)

    def done(self, offers: Sequence[Offer]) -> Sequence[str | None]:
        answers = ["InternalError" if str(one.token) in self.undeletable else None for one in offers]
        for one, answer in zip(offers, answers, strict=True):
            if answer is None:
                self.left.remove(one)
                self.held.remove(one)
        return answers

    def tend(self) -> None:
        self.tended += 1

    def close(self) -> None:
        self.closed += 1
        self.held.clear()

    def remark(self) -> str:
        return ""


@dataclass
class FakePost:
    """A mail queue. `answers` are scripted by what is in a call."""

    clock: VirtualClock
    calls: list[list[Parcel]] = field(default_factory=list)
    at: list[float] = field(default_factory=list)
    errors: list[RelaydError] = field(default_factory=list)
    """Of the next calls."""
    outage_after: int | None = None
    """From this call on, the queue is out of reach."""
    refused: set[int] = field(default_factory=set)
    """Positions of messages, counted over all calls, that SQS refuses."""

    def post(self, parcels: Sequence[Parcel]) -> list[str | None]:
        if self.errors:
            raise self.errors.pop(0)
        if self.outage_after is not None and len(self.calls) >= self.outage_after:
            raise TransientError("queue_unreachable")
        before = len(self.parcels)
        self.calls.append(list(parcels))
        self.at.append(self.clock.monotonic())
        return ["InvalidMessageContents" if before + n in self.refused else None for n in range(len(parcels))]

    @property
    def parcels(self) -> list[Parcel]:
        return [parcel for call in self.calls for parcel in call]

    @property
    def mail_ids(self) -> list[str]:
        """What was sent, by SES's ids."""
        return [mail_id(own.open_own(parcel.body, [SECRET]).text) for parcel in self.parcels]


def mail_id(text: str) -> str:
    told = ses.read_notification(text)
    assert isinstance(told, Received)
    return told.mail_id


class FakeKnown(dict[str, dict[str, dict[str, str]]]):
    """What the ledger knows: by mail, recipient and mailbox, the state."""

    def of(self, mail_ids: Iterable[str]) -> dict[str, Ended]:
        return {one: Ended(dict(self[one])) for one in mail_ids if one in self}


class FakeWatch:
    """Somebody who looks on, and wants a stop after so many looks."""

    def __init__(self, clock: VirtualClock, stop_after: int | None = None) -> None:
        self._clock = clock
        self.left = stop_after
        self.seen: list[tuple[int, int | None, str]] = []

    def pause(self, seconds: float) -> bool:
        self._clock.sleep(seconds)
        if self.left is None:
            return False
        self.left -= 1
        return self.left < 0

    def shown(self, done: int, total: int | None, note: str) -> None:
        self.seen.append((done, total, note))


class Bench:
    """All of it, put together."""

    def __init__(self, *offers: Offer, portion: int = 10) -> None:
        self.clock = VirtualClock()
        self.source = FakeSource(offers, portion)
        self.post = FakePost(self.clock)
        self.known = FakeKnown()
        self.outcomes = Outcomes()
        self.watch = FakeWatch(self.clock)

    def reading(
        self,
        choice: Choice | None = None,
        *,
        limit: int | None = None,
        acts: bool = True,
        again: bool = False,
        discards_count: bool = False,
        replay_id: str = REPLAY,
    ) -> Reading:
        weigher = Weigher(
            choice or Choice(),
            self.known,
            {"mask.example"},
            replay_id=replay_id,
            again=again,
            discards_count=discards_count,
        )
        return Reading(self.source, weigher, self.outcomes, self.watch, limit=limit, acts=acts)

    def act(self, *, again: bool = False) -> Act:
        return Act(REPLAY, again, [SECRET])

    def send(self, *, rate: float | None = None, again: bool = False, **options: Any) -> str:
        reading = self.reading(again=again, **options)
        return Sending(reading, self.post, self.act(again=again), self.clock, rate=rate).run()

    @property
    def left(self) -> list[str]:
        """What lies in the source, by SES's ids."""
        return [str(one.token) for one in self.source.left]
