"""Notices in memory. They keep the promises of `tests/contract/test_notices.py`."""

from collections.abc import Collection
from dataclasses import dataclass

from relayd.model.notice import OwnerNotice, PendingNotice
from relayd.ports import Clock
from tests.fakes.directory import FakeDirectory


@dataclass
class Told:
    """What the table `notices` keeps. Ended ones forget what they said."""

    notice_id: str
    notice: OwnerNotice
    at: float
    outcome: str | None = None


class FakeNotices:
    """`relayd.ports.Notices` without a database. `fail_with` is raised by every call, while it is set."""

    def __init__(self, clock: Clock, directory: FakeDirectory) -> None:
        self._clock = clock
        self._directory = directory
        self.fail_with: Exception | None = None
        self.told: list[Told] = []

    def tell(self, notice: OwnerNotice) -> None:
        now = self._enter()
        same = (one for one in self.told if (one.notice.owner_id, one.notice.kind) == (notice.owner_id, notice.kind))
        if all(one.at // 86_400 != now // 86_400 for one in same):
            self.told.append(Told(f"notice{len(self.told) + 1}", notice, now))

    def waiting(self, limit: int, without: Collection[str] = ()) -> list[PendingNotice]:
        now = self._enter()
        known = self._directory.people.keys() - set(without)
        waiting = [one for one in self.told if one.outcome is None and one.notice.owner_id in known]
        # Those that nobody can be told of now must not take up all of the limit.
        first = sorted(waiting, key=lambda one: not self._usable(one.notice.owner_id, now))[:limit]
        return [self._pending(one, now) for one in waiting if one in first]

    def ended(self, notice_id: str, outcome: str) -> None:
        self._enter()
        for one in self.told:
            if one.notice_id == notice_id:
                one.outcome, one.notice = outcome, OwnerNotice(one.notice.owner_id, one.notice.kind)

    def _pending(self, one: Told, now: float) -> PendingNotice:
        owner_id, about = one.notice.owner_id, one.notice.facts.get("mailbox")
        mailbox = next((box for box in self._usable(owner_id, now) if box != about), None)
        language = self._directory.people[owner_id].owner.language
        return PendingNotice(one.notice_id, one.notice, now - one.at, language, mailbox)

    def _usable(self, owner_id: str, now: float) -> list[str]:
        """The owner's mailboxes that may be sent to."""
        theirs = (box.mailbox for box in self._directory.boxes.values() if box.owner_id == owner_id)
        free = (box for box in theirs if box.verified and (box.pause is None or box.pause.until <= now))
        return [box.address.full for box in free]

    def _enter(self) -> float:
        if self.fail_with is not None:
            raise self.fail_with
        return self._clock.time()
