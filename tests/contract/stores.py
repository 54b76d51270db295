"""What relayd keeps: the four ports over one state, in memory or in a database, and what of it no port tells."""

from dataclasses import dataclass
from typing import Any, Protocol

import sqlalchemy as sa

from relayd import ports
from relayd.adapters.database import Database
from relayd.adapters.feedbacks import SqlFeedbacks
from relayd.adapters.ledger import SqlLedger
from relayd.adapters.notices import SqlNotices
from relayd.adapters.schema import attempts, quarantine, usage
from relayd.model.delivery import DeliveryKey, Held
from tests.contract.operated import Directory, Operated
from tests.fakes.clock import VirtualClock
from tests.fakes.directory import FakeDirectory
from tests.fakes.feedbacks import FakeFeedbacks
from tests.fakes.ledger import FakeLedger
from tests.fakes.ledger_rows import HeldMail, Tried
from tests.fakes.notices import FakeNotices
from tests.fakes.usage import Counts, FakeUsage


class Ledger(ports.Ledger, Protocol):
    """The port, and the daily cleaning."""

    def prune(self) -> int: ...


class Stores(Protocol):
    """All of it."""

    @property
    def directory(self) -> Directory: ...
    @property
    def ledger(self) -> Ledger: ...
    @property
    def feedbacks(self) -> ports.Feedbacks: ...
    @property
    def notices(self) -> ports.Notices: ...
    def quarantine(self) -> list[HeldMail]:
        """What is held back, in the order in which it was."""
        ...

    def attempts(self) -> list[Tried]:
        """The attempts that are on record, in order."""
        ...

    def counted(self, mask_id: str) -> Counts | None:
        """What the mask's mail came to, all days together."""
        ...


class FakeStores:
    """The fakes, wired as in the engine's tests."""

    def __init__(self, clock: VirtualClock) -> None:
        self._usage = FakeUsage(clock)
        self.directory = FakeDirectory(usage=self._usage)
        self.ledger = FakeLedger(clock, usage=self._usage)
        self.notices = FakeNotices(clock, self.directory)
        self.feedbacks = FakeFeedbacks(clock, self.ledger, self.directory, self.notices)

    def quarantine(self) -> list[HeldMail]:
        return self.ledger.quarantine

    def attempts(self) -> list[Tried]:
        return sorted(self.ledger.attempts, key=lambda one: (one.delivery_id, one.attempt))

    def counted(self, mask_id: str) -> Counts | None:
        found = [one for (whose, _), one in self._usage.days.items() if whose == mask_id]
        return _summed(found)


@dataclass
class SqlStores:
    """The adapters over one database."""

    database: Database

    def __post_init__(self) -> None:
        self.directory = Operated(self.database)
        self.ledger = SqlLedger(self.database)
        self.notices = SqlNotices(self.database)
        self.feedbacks = SqlFeedbacks(self.database)

    def quarantine(self) -> list[HeldMail]:
        query = sa.select(quarantine).order_by(quarantine.c.held_at)
        with self.database.reading() as connection:
            return [_held_mail(row) for row in connection.execute(query)]

    def attempts(self) -> list[Tried]:
        query = sa.select(attempts).order_by(attempts.c.delivery_id, attempts.c.attempt)
        with self.database.reading() as connection:
            return [Tried(**row._mapping) for row in connection.execute(query)]

    def counted(self, mask_id: str) -> Counts | None:
        with self.database.reading() as connection:
            rows = connection.execute(sa.select(usage).where(usage.c.mask_id == mask_id)).all()
        names = ("owner_id", "mails", "bytes", "replies", "discards", "trackers")
        return _summed([Counts(*(getattr(row, name) for name in names)) for row in rows])


def _held_mail(row: Any) -> HeldMail:
    key = DeliveryKey(row.mail_id, row.recipient, row.mailbox)
    held = Held(row.notification, row.sender, row.subject)
    return HeldMail(key, row.mask_id, row.owner_id, row.reason, held, row.held_at)


def _summed(found: list[Counts]) -> Counts | None:
    if not found:
        return None
    names = ("mails", "bytes", "replies", "discards", "trackers")
    return Counts(found[0].owner_id, *(sum(getattr(one, name) for one in found) for name in names))
