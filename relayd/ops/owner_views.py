"""Owners for reading: their traits, their mailboxes and in which state these are, and how much they have and use."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from relayd.adapters.database import Database
from relayd.adapters.schema import domain_rules, mailboxes, masks, owners, usage
from relayd.model.address import Address
from relayd.ops.mask_views import MaskUsage, used
from relayd.ops.refusals import refused


@dataclass(frozen=True, slots=True)
class MailboxView:
    """A mailbox and how it stands. The names are the keys of the JSON."""

    address: str
    verified: bool
    pause: str | None
    """`hard` or `soft` while nothing is sent to it; None else."""
    paused_until: float | None
    bounces: int


@dataclass(frozen=True, slots=True)
class OwnerView:
    """An owner. The names are the keys of the JSON."""

    owner_id: str
    name: str
    active: bool
    flagged: bool
    flag_reason: str | None
    spam_handling: str
    dmarc_handling: str
    language: str
    complained_at: float | None
    created_at: float
    mailboxes: tuple[MailboxView, ...]
    masks: int
    """Removed ones left out."""
    rules: int


def find_owner(connection: sa.Connection, text: str, *, lock: bool = False) -> Any:
    """The row of the owner of this name, id or mailbox, in this order. Raises RefusedError."""
    query = sa.select(owners)
    if lock:
        query = query.with_for_update()
    ways = [owners.c.name == text.strip(), owners.c.owner_id == text]
    try:
        full = Address.parse(text).full
    except ValueError:
        pass
    else:
        ways.append(owners.c.owner_id.in_(sa.select(mailboxes.c.owner_id).where(mailboxes.c.address == full)))
    for way in ways:
        if row := connection.execute(query.where(way)).one_or_none():
            return row
    raise refused("the owner", f"there is no owner {text!r}", "`relayd owners list` shows who is there.")


def show_owner(database: Database, text: str) -> tuple[OwnerView, MaskUsage, MaskUsage]:
    """One owner, with what went through all their masks today and in all. Raises RefusedError."""
    with database.reading() as connection:
        row = find_owner(connection, text)
        (view,) = _views(database, connection, [row], owners.c.owner_id == row.owner_id)
        whose = usage.c.owner_id == row.owner_id
        return view, used(connection, whose, database.today), used(connection, whose, None)


def list_owners(
    database: Database, *, active: bool | None = None, flagged: bool = False, paused: bool = False
) -> list[OwnerView]:
    """The owners in order of name, as far as they fit. `paused`: only those with a mailbox that nothing is sent to."""
    wanted: list[sa.ColumnElement[bool]] = [sa.true()]
    if active is not None:
        wanted.append(owners.c.active == active)
    if flagged:
        wanted.append(owners.c.flagged)
    if paused:
        theirs = sa.select(mailboxes.c.owner_id).where(_paused(database))
        wanted.append(owners.c.owner_id.in_(theirs))
    which = sa.and_(*wanted)
    with database.reading() as connection:
        rows = connection.execute(sa.select(owners).where(which).order_by(owners.c.name)).all()
        return list(_views(database, connection, rows, which))


def _paused(database: Database) -> sa.ColumnElement[bool]:
    return sa.and_(mailboxes.c.pause.is_not(None), mailboxes.c.paused_until > database.now)


def _views(
    database: Database, connection: sa.Connection, rows: Sequence[Any], which: sa.ColumnElement[bool]
) -> Iterator[OwnerView]:
    boxes: dict[str, list[MailboxView]] = defaultdict(list)
    query = (
        sa.select(mailboxes, _paused(database).label("paused"))
        .join(owners, owners.c.owner_id == mailboxes.c.owner_id)
        .where(which)
        .order_by(mailboxes.c.created_at, mailboxes.c.address)
    )
    for box in connection.execute(query):
        pause, until = (box.pause, box.paused_until) if box.paused else (None, None)
        boxes[box.owner_id].append(MailboxView(box.address, box.verified, pause, until, box.bounces))
    given = _count(connection, masks, sa.and_(which, masks.c.removed_at.is_(None)))
    ruled = _count(connection, domain_rules, which)
    for row in rows:
        owner_id = row.owner_id
        # The rows of this table are named like the view, but for what is counted.
        theirs = tuple(boxes[owner_id])
        yield OwnerView(**row._mapping, mailboxes=theirs, masks=given.get(owner_id, 0), rules=ruled.get(owner_id, 0))


def _count(connection: sa.Connection, table: sa.Table, which: sa.ColumnElement[bool]) -> dict[str, int]:
    query = (
        sa.select(table.c.owner_id, sa.func.count())
        .join(owners, owners.c.owner_id == table.c.owner_id)
        .where(which)
        .group_by(table.c.owner_id)
    )
    return {row[0]: row[1] for row in connection.execute(query)}
