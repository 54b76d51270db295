"""Masks for reading: who forwards where, in which state, and what became of the mail."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

import sqlalchemy as sa

from relayd.adapters.database import Database
from relayd.adapters.schema import contacts, deliveries, mailboxes, mask_mailboxes, masks, owners, usage
from relayd.model.address import Address
from relayd.ops.mask_entries import Entry, MaskTraits
from relayd.ops.refusals import RefusedError, refused


@dataclass(frozen=True, slots=True)
class MaskView:
    """A mask and its owner. The names are the keys of the JSON."""

    mask_id: str
    address: str
    mailboxes: tuple[str, ...]
    owner: str
    enabled: bool
    removed: bool
    created_at: float
    owner_active: bool
    owner_flagged: bool
    spam_handling: str
    dmarc_handling: str
    display_name: str = ""
    block_lists: bool = False
    banner: bool = False
    remove_trackers: bool = False
    made_by_rule: bool = False
    unverified: tuple[str, ...] = ()
    """Those of its mailboxes that nothing is sent to before somebody says that they are verified."""
    paused: tuple[str, ...] = ()
    """Those of its mailboxes that nothing is sent to for a while, because mail bounced."""


@dataclass(frozen=True, slots=True)
class MaskUsage:
    """What went through a mask. The names are the table's columns."""

    mails: int = 0
    bytes: int = 0
    replies: int = 0
    discards: int = 0
    trackers: int = 0


@dataclass(frozen=True, slots=True)
class MaskCounters:
    """What the ledger and the directory count for one mask."""

    deliveries: dict[str, int]
    """By state, and by reason where the state has one: `sent`, `discarded spam`."""
    contacts: int
    last_at: float | None
    """When a delivery was last touched."""
    today: MaskUsage
    total: MaskUsage


def list_masks(
    database: Database,
    *,
    owner: str | None = None,
    domain: str | None = None,
    mailbox: Address | None = None,
    enabled: bool | None = None,
    removed: bool = False,
) -> Iterator[MaskView]:
    """The masks in order of address, as far as they fit. Removed ones only where they are asked for."""
    query = _all(database).where(masks.c.removed_at.is_not(None) if removed else masks.c.removed_at.is_(None))
    if owner is not None:
        query = query.where(owners.c.name == owner.strip())
    if domain is not None:
        query = query.where(masks.c.address.endswith(f"@{domain}", autoescape=True))
    if mailbox is not None:
        theirs = (
            sa.select(mask_mailboxes.c.mask_id)
            .join(mailboxes, mailboxes.c.mailbox_id == mask_mailboxes.c.mailbox_id)
            .where(mailboxes.c.address == mailbox.full)
        )
        query = query.where(masks.c.mask_id.in_(theirs))
    if enabled is not None:
        query = query.where(masks.c.enabled == enabled)
    with database.reading() as connection:
        yield from _views(connection.execute(query))


def find_mask(database: Database, address: Address) -> MaskView:
    """One mask, a removed one included. Raises RefusedError when there never was one."""
    with database.reading() as connection:
        views = list(_views(connection.execute(_all(database).where(masks.c.address == address.bare))))
    if not views:
        raise no_mask(address.bare)
    return views[0]


def no_mask(bare: str) -> RefusedError:
    """There is none of this address, and never was."""
    return refused("the mask", f"{bare} is no mask", "`relayd masks list` shows what is there.")


def entries_of(views: Iterator[MaskView]) -> Iterator[Entry]:
    """What an export writes, and an import reads."""
    for view in views:
        boxes = tuple(Address.parse(box) for box in view.mailboxes)
        traits = MaskTraits(view.display_name, view.block_lists, view.banner, view.remove_trackers)
        yield Entry(Address.parse(view.address), boxes, view.owner, view.enabled, traits)


def count_mask(database: Database, mask_id: str) -> MaskCounters:
    """What happened to a mask's mail, as long as the ledger remembers it, and in all."""
    states = (
        sa.select(deliveries.c.state, deliveries.c.reason, sa.func.count(), sa.func.max(deliveries.c.updated_at))
        .where(deliveries.c.mask_id == mask_id)
        .group_by(deliveries.c.state, deliveries.c.reason)
        .order_by(deliveries.c.state, deliveries.c.reason)
    )
    with database.reading() as connection:
        rows = connection.execute(states).all()
        known = connection.execute(
            sa.select(sa.func.count()).select_from(contacts).where(contacts.c.mask_id == mask_id)
        ).scalar_one()
        ours = usage.c.mask_id == mask_id
        today, total = (used(connection, ours, day) for day in (database.today, None))
    counted = {f"{state} {reason}" if reason else state: count for state, reason, count, _ in rows}
    return MaskCounters(counted, known, max((row[3] for row in rows), default=None), today, total)


def used(connection: sa.Connection, whose: sa.ColumnElement[bool], day: sa.ColumnElement[int] | None) -> MaskUsage:
    """What the rows of the usage table sum up to: on one day, or on all days for None."""
    names = list(asdict(MaskUsage()))
    query = sa.select(*(sa.func.coalesce(sa.func.sum(usage.c[name]), 0) for name in names)).where(whose)
    row = connection.execute(query if day is None else query.where(usage.c.day == day)).one()
    return MaskUsage(*map(int, row))


def _all(database: Database) -> sa.Select[Any]:
    """A row for each mask and mailbox. Outer joins: what is left of an erased owner's masks has no mailbox."""
    paused = sa.and_(mailboxes.c.pause.is_not(None), mailboxes.c.paused_until > database.now)
    return (
        sa.select(
            masks,
            owners.c.name,
            owners.c.active,
            owners.c.flagged,
            owners.c.spam_handling,
            owners.c.dmarc_handling,
            mailboxes.c.address.label("mailbox"),
            mailboxes.c.verified,
            paused.label("paused"),
        )
        .join(owners, owners.c.owner_id == masks.c.owner_id)
        .outerjoin(mask_mailboxes, mask_mailboxes.c.mask_id == masks.c.mask_id)
        .outerjoin(mailboxes, mailboxes.c.mailbox_id == mask_mailboxes.c.mailbox_id)
        .order_by(masks.c.address, mask_mailboxes.c.position)
    )


def _views(rows: sa.Result[Any]) -> Iterator[MaskView]:
    for _, group in groupby(rows, lambda row: row.mask_id):
        lines = list(group)
        row = lines[0]
        boxes = [line for line in lines if line.mailbox is not None]
        yield MaskView(
            row.mask_id,
            row.address,
            tuple(line.mailbox for line in boxes),
            row.name,
            row.enabled,
            row.removed_at is not None,
            row.created_at,
            row.active,
            row.flagged,
            row.spam_handling,
            row.dmarc_handling,
            row.display_name,
            row.block_lists,
            row.banner,
            row.remove_trackers,
            row.rule_id is not None,
            tuple(line.mailbox for line in boxes if not line.verified),
            tuple(line.mailbox for line in boxes if line.paused),
        )
