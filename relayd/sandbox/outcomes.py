"""What became of each mail, held against what should have: every end exactly once."""

import math
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from relayd.model.delivery import DELIVERY_TAG, DeliveryKind
from relayd.sandbox.child import Sent
from relayd.sandbox.samples import Expected, Sample

_ID = re.compile(r"[0-9a-v]{40}")
"""Mail ids and markers, as they stand in a message."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A delivery that has come to its end, as the ledger has it."""

    delivery_id: str
    mail_id: str
    recipient: str = field(repr=False)
    mailbox: str = field(repr=False)
    state: str
    """`sent`, `discarded` or `failed`."""
    reason: str
    ses_id: str
    resends: int
    at: float
    """Seconds since the epoch."""
    kind: DeliveryKind = "forward"
    mask: str = field(repr=False, default="")
    """The mask's address; empty where there is none."""
    held: str = ""
    """The id of its entry in the quarantine, while it waits there."""
    notice: str = ""
    """What a notice is about."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message on the dead-letter queue."""

    message_id: str
    reason: str
    body: str = field(repr=False)

    @property
    def ids(self) -> frozenset[str]:
        """Every mail id or marker that it mentions."""
        return frozenset(_ID.findall(self.body))


@dataclass(slots=True)
class _Course:
    """One sample and all that is known about it."""

    sample: Sample
    published_at: float
    ended: dict[str, Ended] = field(default_factory=dict)
    dead: DeadLetter | None = None

    @property
    def finished(self) -> bool:
        expected = self.sample.expected
        enough = not expected.dead_letter and len(self.ended) >= len(expected.forwards) + len(expected.discards)
        return self.dead is not None or enough

    @property
    def sends(self) -> list[Ended]:
        return [end for end in self.ended.values() if end.state == "sent"]

    @property
    def actual(self) -> Expected:
        """What did happen, in the words of what should."""
        forwards = {(end.recipient, end.mailbox) for end in self.sends}
        discards = {(end.recipient, end.reason) for end in self.ended.values() if end.state == "discarded"}
        dead = self.dead.reason if self.dead else ""
        return Expected(frozenset(forwards), frozenset(discards), dead)


@dataclass(frozen=True, slots=True)
class Summary:
    """A run of samples in numbers. A mail is counted once: dead-lettered, forwarded, discarded or lost."""

    sent: int
    forwarded: int
    discarded: Mapping[str, int]
    dead_lettered: int
    duplicates: int
    """Sends that SES accepted beyond one for each delivery."""
    lost: int
    p50_ms: float | None
    """From publishing the notification to SES's acceptance, over all forwards; None when there was none."""
    p99_ms: float | None
    deliveries: int
    """Forwards to a mailbox: one mail may have several."""
    slowest: str | None
    """The mail that took longest."""
    replied: int
    """Of the forwarded ones: answers of an owner, which went to a stranger."""
    quarantined: int
    """Mails that wait in the quarantine, for one mailbox at least."""
    wrong: tuple[str, ...]
    """Each mail that did not end as it should have, and how it did."""

    @property
    def ok(self) -> bool:
        return not self.wrong and not self.duplicates and not self.lost

    def as_json(self) -> dict[str, Any]:
        keys = ("sent", "forwarded", "replied", "discarded", "quarantined", "dead_lettered", "duplicates", "lost")
        return {key: getattr(self, key) for key in (*keys, "p50_ms", "p99_ms")}


class Tally:
    """Expectations and observations, in whatever order they come, from whatever thread."""

    def __init__(self, *, recorded: bool) -> None:
        """`recorded`: sends are seen at SES itself; otherwise the ledger is believed about them."""
        self._recorded = recorded
        self._changed = threading.Condition()
        self._courses: dict[str, _Course] = {}
        self._open: set[str] = set()
        self._ended: dict[str, dict[str, Ended]] = {}
        self._dead: dict[str, DeadLetter] = {}
        self._sent: dict[int, Sent] = {}
        self._refused: list[str] = []

    def expect(self, key: str, sample: Sample, published_at: float) -> None:
        """A sample is on its way under this mail id or marker."""
        with self._changed:
            # Its end may have been seen already: the daemon is quicker than the door's answer.
            course = _Course(sample, published_at, self._ended.setdefault(key, {}), self._dead.get(key))
            self._courses[key] = course
            if not course.finished:
                self._open.add(key)
            self._changed.notify_all()

    def refused(self, sample: Sample, why: str) -> None:
        """The door did not take it."""
        with self._changed:
            self._refused.append(f"{sample.name}: the door refused it: {why}")

    def ended(self, end: Ended) -> None:
        with self._changed:
            self._ended.setdefault(end.mail_id, {})[end.delivery_id] = end
            self._check({end.mail_id})

    def dead(self, letter: DeadLetter) -> None:
        with self._changed:
            for key in letter.ids:
                self._dead[key] = letter
                if key in self._courses:
                    self._courses[key].dead = letter
            self._check(letter.ids)

    def sent(self, sent: Sent) -> None:
        with self._changed:
            self._sent[sent.number] = sent

    def _check(self, keys: Iterable[str]) -> None:
        done = {key for key in keys if key in self._open and self._courses[key].finished}
        if done:
            self._open -= done
            self._changed.notify_all()

    @property
    def open(self) -> int:
        """Samples that have not ended yet."""
        with self._changed:
            return len(self._open)

    @property
    def finished(self) -> int:
        with self._changed:
            return len(self._courses) - len(self._open) + len(self._refused)

    def wait_below(self, limit: int, timeout: float) -> bool:
        """Wait until fewer than `limit` samples are open; False when the time is up."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self._open) < limit, timeout)

    def summary(self, read: Callable[[int], bytes] | None = None) -> Summary:
        """The run so far. `read` fetches what SES was given, by the send's number."""
        with self._changed:
            courses = dict(self._courses)
            sends = self._sends()
            refused = list(self._refused)
            numbers = {delivery_of(sent): sent.number for sent in self._sent.values()}
        wrong = refused + [_complaint(course) for course in courses.values() if course.actual != course.sample.expected]
        if read is not None:
            wrong += _misread(courses.values(), numbers, read)
        forwarded = dead = lost = 0
        discarded: Counter[str] = Counter()
        for course in courses.values():
            actual = course.actual
            if course.dead:
                dead += 1
            elif actual.forwards:
                forwarded += 1
            elif actual.discards:
                discarded[min(reason for _, reason in actual.discards)] += 1
            else:
                lost += 1
        taken = {key: took for key, course in courses.items() if (took := _slowest(course, sends)) is not None}
        times = sorted(
            at - course.published_at
            for course in courses.values()
            for end in course.ended.values()
            for at in sends.get(end.delivery_id, [])[:1]
        )
        return Summary(
            sent=len(courses) + len(refused),
            forwarded=forwarded,
            discarded=dict(sorted(discarded.items())),
            dead_lettered=dead,
            duplicates=sum(len(at) - 1 for at in sends.values()),
            lost=lost + len(refused),
            p50_ms=_percentile(times, 0.50),
            p99_ms=_percentile(times, 0.99),
            deliveries=sum(len(course.actual.forwards) for course in courses.values()),
            replied=sum(any(end.kind == "reply" for end in course.sends) for course in courses.values()),
            quarantined=sum(any(end.held for end in course.ended.values()) for course in courses.values()),
            slowest=max(taken, key=lambda key: taken[key], default=None),
            wrong=tuple(wrong),
        )

    def _sends(self) -> dict[str, list[float]]:
        """When SES accepted each send of a delivery, in order."""
        found: dict[str, list[float]] = {}
        if self._recorded:
            for number in sorted(self._sent):
                sent = self._sent[number]
                found.setdefault(delivery_of(sent), []).append(sent.at)
            return found
        for ends in self._ended.values():
            for end in ends.values():
                if end.state == "sent":
                    found[end.delivery_id] = [end.at] * (1 + end.resends)
        return found


def delivery_of(sent: Sent) -> str:
    """The delivery id in a send's tag; SES's own id where relayd has set none, which then matches no delivery."""
    return sent.tags.get(DELIVERY_TAG, "").rpartition("-")[0] or sent.message_id


def _slowest(course: _Course, sends: Mapping[str, list[float]]) -> float | None:
    moments = [at for end in course.ended.values() for at in sends.get(end.delivery_id, [])]
    return max(moments) - course.published_at if moments else None


def _misread(courses: Iterable[_Course], numbers: Mapping[str, int], read: Callable[[int], bytes]) -> Iterator[str]:
    """What is wrong inside of mails: one of each kind, the newest, as the emulator lets go of the bytes of old ones."""
    newest = {course.sample.kind: course for course in courses if course.sample.contents is not None}
    for course in newest.values():
        assert course.sample.contents is not None
        for end in course.sends:
            data = read(numbers[end.delivery_id]) if end.delivery_id in numbers else b""
            if data:
                yield from (f"{course.sample.name}: {told}" for told in course.sample.contents.complaints(data))


def _complaint(course: _Course) -> str:
    actual = str(course.actual) or "nothing"
    failed = ", ".join(sorted(end.reason for end in course.ended.values() if end.state == "failed"))
    return f"{course.sample.name}: expected {course.sample.expected}; came: {actual}{failed and f' (failed: {failed})'}"


def _percentile(ordered: list[float], share: float) -> float | None:
    """Nearest rank, in milliseconds."""
    if not ordered:
        return None
    return round(ordered[max(0, math.ceil(share * len(ordered)) - 1)] * 1000, 1)
