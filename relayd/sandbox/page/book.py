"""What the page knows of each mail, gathered from the door and the watch in whatever order they tell it."""

import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from statistics import median

from relayd.sandbox.child import Sent
from relayd.sandbox.outcomes import DeadLetter, Ended, delivery_of
from relayd.sandbox.receiving import Accepted

KEPT_ENTRIES = 1000
KEPT_BYTES = 64 * 1024 * 1024
"""Of mail as it came in. Older mails keep their line in the list and lose their bytes."""
KEPT_SENDS = 5000
LATENCIES = 50
"""Forwards that the median is taken over."""

STATES = ("waiting", "forwarded", "replied", "held", "discarded", "failed", "dead", "notice")


@dataclass(slots=True)
class Entry:
    """One line of the list: a mail that came in, a notice to an owner, or a dead letter that is no mail."""

    entry_id: str
    number: int
    at: float
    mail: Accepted | None
    revision: int = 0
    dead: DeadLetter | None = None
    ends: dict[str, Ended] = field(default_factory=dict)

    @property
    def state(self) -> str:
        """What became of it, the worst first: one of `STATES`."""
        if self.dead is not None:
            return "dead"
        found = {_word(end) for end in self.ends.values()}
        return next((state for state in _WORST_FIRST if state in found), "waiting")

    @property
    def notice(self) -> Ended | None:
        """The mail of relayd's own that this line is about."""
        return next((end for end in self.ends.values() if end.kind == "notice"), None)


_WORST_FIRST = ("failed", "notice", "replied", "forwarded", "held", "discarded")


def _word(end: Ended) -> str:
    if end.state == "sent":
        return {"forward": "forwarded", "reply": "replied", "notice": "notice"}[end.kind]
    return "held" if end.held else end.state


@dataclass(frozen=True, slots=True)
class Latency:
    """From publishing the notification to SES's acceptance, in milliseconds, over the last forwards."""

    last: float | None
    p50: float | None
    count: int


class Book:
    """Entries by id, the oldest let go first. A sink of the watch; safe to use from any thread."""

    def __init__(
        self, *, max_entries: int = KEPT_ENTRIES, max_bytes: int = KEPT_BYTES, clock: Callable[[], float] = time.time
    ) -> None:
        self._clock = clock
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._early: dict[str, dict[str, Ended]] = {}
        self._bytes: OrderedDict[str, bytes] = OrderedDict()
        self._held = 0
        self._sends: OrderedDict[str, list[Sent]] = OrderedDict()
        self._latencies: deque[float] = deque(maxlen=LATENCIES)
        self._counts: Counter[str] = Counter()
        self._forwards = 0
        self._number = 0
        self._revision = 0

    # What it is told.

    def keep(self, mail_id: str, data: bytes) -> None:
        """The bytes that went into S3, before anything is heard of the mail."""
        with self._lock:
            self._bytes[mail_id] = data
            self._held += len(data)
            while self._held > self._max_bytes and self._bytes:
                _, gone = self._bytes.popitem(last=False)
                self._held -= len(gone)

    def arrived(self, mail: Accepted) -> None:
        with self._lock:
            entry = self._add(mail.mail_id, mail.published_at, mail)
            for end in self._early.pop(mail.mail_id, {}).values():
                self._note(entry, end)

    def sent(self, sent: Sent) -> None:
        with self._lock:
            self._sends.setdefault(delivery_of(sent), []).append(sent)
            while len(self._sends) > KEPT_SENDS:
                self._sends.popitem(last=False)

    def ended(self, end: Ended) -> None:
        with self._lock:
            entry = self._entries.get(end.mail_id)
            if entry is None and end.kind == "notice":
                entry = self._add(end.mail_id, end.at, None)
            if entry is None:
                # The daemon can be quicker than the door's own thread.
                self._early.setdefault(end.mail_id, {})[end.delivery_id] = end
                while len(self._early) > self._max_entries:
                    self._early.pop(next(iter(self._early)))
                return
            self._note(entry, end)

    def dead(self, letter: DeadLetter) -> None:
        with self._lock:
            entry = next((self._entries[key] for key in letter.ids if key in self._entries), None)
            if entry is None:
                entry = self._add(letter.message_id, self._clock(), None)
            self._change(entry, lambda: setattr(entry, "dead", letter))

    def _add(self, entry_id: str, at: float, mail: Accepted | None) -> Entry:
        self._number += 1
        entry = Entry(entry_id, self._number, at, mail)
        self._entries[entry_id] = entry
        self._counts[entry.state] += 1
        self._touch(entry)
        while len(self._entries) > self._max_entries:
            self._entries.popitem(last=False)
        return entry

    def _note(self, entry: Entry, end: Ended) -> None:
        before = entry.ends.get(end.delivery_id)
        if end.state == "sent" and entry.mail is not None and (before is None or before.state != "sent"):
            self._forwards += 1
            self._latencies.append(max(0.0, end.at - entry.mail.published_at) * 1000)
        self._change(entry, lambda: entry.ends.__setitem__(end.delivery_id, end))

    def _change(self, entry: Entry, change: Callable[[], None]) -> None:
        before = entry.state
        change()
        self._counts[before] -= 1
        self._counts[entry.state] += 1
        self._touch(entry)

    def _touch(self, entry: Entry) -> None:
        self._revision += 1
        entry.revision = self._revision

    # What it is asked.

    def changed(self, since: int, limit: int) -> tuple[list[Entry], int]:
        """The entries that changed after that revision, the newest first, and the revision that this is."""
        with self._lock:
            found = [entry for entry in reversed(self._entries.values()) if entry.revision > since][:limit]
            return [_copy(entry) for entry in found], self._revision

    def entry(self, entry_id: str) -> Entry | None:
        with self._lock:
            entry = self._entries.get(entry_id)
            return _copy(entry) if entry is not None else None

    def received(self, mail_id: str) -> bytes | None:
        """The mail as it lies in S3; None when its bytes have been let go."""
        with self._lock:
            return self._bytes.get(mail_id)

    def sends(self, entry: Entry) -> list[tuple[Ended | None, Sent]]:
        """What SES accepted for it, with the delivery that each send belongs to."""
        with self._lock:
            return [(end, sent) for end in entry.ends.values() for sent in self._sends.get(end.delivery_id, [])]

    def totals(self) -> dict[str, int]:
        """Entries by state since the start, and deliveries to mailboxes."""
        with self._lock:
            return {state: self._counts[state] for state in STATES} | {"deliveries": self._forwards}

    def latency(self) -> Latency:
        with self._lock:
            taken = list(self._latencies)
        if not taken:
            return Latency(None, None, 0)
        return Latency(round(taken[-1], 1), round(median(taken), 1), len(taken))


def _copy(entry: Entry) -> Entry:
    """One that stays as it is while others change the book's."""
    return replace(entry, ends=dict(entry.ends))
