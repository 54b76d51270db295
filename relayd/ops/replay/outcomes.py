"""What became of the offers of one replay: each is counted once, by why it was there and what was done with it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from relayd.ops.replay.ended import DISCARDED_BEFORE, SENT_BEFORE
from relayd.ops.replay.offers import Offer
from relayd.rules.inbound import NO_RECIPIENT
from relayd.wire.rebuilt import NOT_MAIL

What = Literal["would_send", "sent", "forwarded", "discarded", "failed", "skipped", "left"]
"""`sent`: to the mail queue. `forwarded`, `discarded`: by the engine here. `failed`: tried, to no avail. `left`: put
off, or the end came first. Whatever is not `sent`, `forwarded` or `discarded` is still where it was.
"""
DONE: frozenset[What] = frozenset({"sent", "forwarded", "discarded"})
_HARMLESS = frozenset({SENT_BEFORE, DISCARDED_BEFORE, NOT_MAIL, NO_RECIPIENT})
"""Reasons to skip an offer that leave nothing to be done about it."""


@dataclass(slots=True)
class Group:
    """Offers that were there for the same reason and met the same end."""

    count: int = 0
    oldest: float = 0.0
    newest: float = 0.0
    """In seconds since the epoch; 0 where no time is known."""

    def add(self, at: float) -> None:
        """One more."""
        self.count += 1
        if at > 0:
            self.oldest = min(self.oldest or at, at)
            self.newest = max(self.newest, at)


class Outcomes:
    """Counts. One thread at a time."""

    def __init__(self) -> None:
        self.groups: dict[tuple[str, What, str], Group] = {}
        """By the reason why it was there, what was done, and why."""
        self.passed_over = 0
        """Read, and not asked for."""
        self.unverified = 0
        """Sent as they came, because nobody could tell here whether they are true."""
        self.remark = ""
        """What the source has to say of what it could not offer."""
        self.came_back = 0
        """Sent by this replay, and failed again while it went on."""
        self.removed = 0
        """Skipped because it was sent before, and taken out of the source for that."""
        self.undeleted = 0
        """Sent, and still in the source: the next replay meets them again, and the ledger absorbs that."""

    def add(self, offer: Offer, what: What, why: str = "") -> None:
        """Tell what became of one offer."""
        self.groups.setdefault((offer.reason, what, why), Group()).add(offer.at)

    def settled(self, problems: Iterable[str | None]) -> None:
        """What a source answered when it was told that offers are done."""
        self.undeleted += sum(problem is not None for problem in problems)

    def count(self, *what: What) -> int:
        """How many met one of these ends; of all of them, without any."""
        return sum(group.count for (_, found, _), group in self.groups.items() if not what or found in what)

    def by_why(self, what: What) -> dict[str, int]:
        """The reasons of one end, the most frequent first."""
        counted: dict[str, int] = {}
        for (_, found, why), group in self.groups.items():
            if found == what:
                counted[why] = counted.get(why, 0) + group.count
        return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0])))

    @property
    def told(self) -> int:
        """All offers whose end is known, those included that were not asked for."""
        return self.count() + self.passed_over + self.came_back

    @property
    def complete(self) -> bool:
        """Whether nothing is left that somebody should look at."""
        skipped = set(self.by_why("skipped")) <= _HARMLESS
        return skipped and not self.came_back and not self.count("failed", "left")
