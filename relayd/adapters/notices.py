"""Notices in the database, where they wait until SES takes them."""

import json
import secrets
from collections.abc import Callable, Collection
from itertools import groupby
from typing import Any

import sqlalchemy as sa

from relayd.adapters.database import Database
from relayd.adapters.schema import mailboxes, notices, owners
from relayd.adapters.storable import storable
from relayd.model.notice import OwnerNotice, PendingNotice

_LONGEST_FACT = 500
"""Characters; a subject may have thousands, and nobody reads them in a notice."""


def insert_notice(database: Database) -> Callable[[OwnerNotice], tuple[Any, dict[str, str]]]:
    """Makes the statement, with its values, that lets an owner know something, once a day for each kind."""
    insert = database.insert(notices).values(day=database.today, created_at=database.now).on_conflict_do_nothing()

    def statement(notice: OwnerNotice) -> tuple[Any, dict[str, str]]:
        facts = {name: storable(value)[:_LONGEST_FACT] for name, value in notice.facts.items()}
        return insert, {
            "notice_id": secrets.token_hex(10),
            "owner_id": notice.owner_id,
            "kind": notice.kind,
            "facts": json.dumps(facts),
        }

    return statement


class SqlNotices:
    """`relayd.ports.Notices` on SQLAlchemy Core."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._insert = insert_notice(database)
        may_be_sent_to = sa.and_(
            mailboxes.c.verified, sa.or_(mailboxes.c.pause.is_(None), mailboxes.c.paused_until <= database.now)
        )
        reachable = sa.exists().where(mailboxes.c.owner_id == notices.c.owner_id, may_be_sent_to).correlate(notices)
        oldest = (
            sa.select(notices)
            .where(
                notices.c.ended_at.is_(None),
                notices.c.owner_id.not_in(sa.bindparam("without", expanding=True)),
            )
            # Those that nobody can be told of now wait for days, and must not take up all of the limit.
            .order_by(sa.case((reachable, 0), else_=1), notices.c.created_at, notices.c.notice_id)
            .limit(sa.bindparam("limit", type_=sa.Integer))
            .subquery()
        )
        usable = sa.and_(mailboxes.c.owner_id == oldest.c.owner_id, may_be_sent_to)
        self._waiting = (
            sa.select(
                oldest,
                (database.now - oldest.c.created_at).label("age"),
                owners.c.language,
                mailboxes.c.address,
            )
            .select_from(oldest)
            .join(owners, owners.c.owner_id == oldest.c.owner_id)
            .outerjoin(mailboxes, usable)
            .order_by(oldest.c.created_at, oldest.c.notice_id, mailboxes.c.created_at, mailboxes.c.mailbox_id)
        )
        # What it names is nobody's business any more once it was told.
        self._end = (
            sa.update(notices)
            .where(notices.c.notice_id == sa.bindparam("id"))
            .values(ended_at=database.now, outcome=sa.bindparam("how"), facts="{}")
        )

    def tell(self, notice: OwnerNotice) -> None:
        """Put it down, unless one of its kind was put down today."""
        with self._database.writing_once("tell") as connection:
            connection.execute(*self._insert(notice))

    def waiting(self, limit: int, without: Collection[str] = ()) -> list[PendingNotice]:
        """The oldest ones, each with the mailbox that it goes to."""
        with self._database.reading("waiting_notices") as connection:
            rows = connection.execute(self._waiting, {"limit": limit, "without": list(without)}).all()
        return [_pending(list(group)) for _, group in groupby(rows, lambda row: row.notice_id)]

    def ended(self, notice_id: str, outcome: str) -> None:
        """Forget what it said, and keep that it was."""
        with self._database.writing_once("end_notice") as connection:
            connection.execute(self._end, {"id": notice_id, "how": outcome})


def _pending(rows: list[Any]) -> PendingNotice:
    first = rows[0]
    facts: dict[str, str] = json.loads(first.facts)
    # Not to the mailbox that it is about: nothing reaches that one.
    usable = (row.address for row in rows if row.address is not None and row.address != facts.get("mailbox"))
    notice = OwnerNotice(first.owner_id, first.kind, facts)
    return PendingNotice(first.notice_id, notice, max(0.0, first.age), first.language, next(usable, None))
