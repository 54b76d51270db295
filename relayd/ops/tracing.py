"""Masks all of whose mail is traced for a while, as an operator asks for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from relayd.adapters.database import Database
from relayd.adapters.orders import SqlOrders
from relayd.adapters.schema import masks, traced_masks
from relayd.model.address import Address
from relayd.ops.mask_views import no_mask
from relayd.ops.masks import live_mask


@dataclass(frozen=True, slots=True)
class Traced:
    """A mask, and how long it is traced. The names are the keys of the JSON."""

    mask: str
    until: float
    """Seconds since the epoch, by the database's clock."""


def traced(database: Database) -> list[Traced]:
    """Every mask that is traced now, the next one to end first."""
    with database.reading("traced_masks") as connection:
        return [Traced(row.address, row.until) for row in connection.execute(_in_force(database))]


def trace(database: Database, addresses: Sequence[Address], seconds: float) -> list[Traced]:
    """Have all mail of these masks traced from now on for so many seconds, whatever was asked for before; all of them
    or, with a RefusedError, none.
    """
    until = database.now + seconds
    insert = database.insert(traced_masks).values(until=until)
    put = insert.on_conflict_do_update(index_elements=["mask_id"], set_={"until": until})
    SqlOrders(database).prune()
    with database.writing("trace") as connection:
        # In order, so that two operators who lock the same masks take turns.
        ids = [live_mask(connection, address).mask_id for address in sorted(addresses, key=lambda one: one.bare)]
        for mask_id in dict.fromkeys(ids):
            connection.execute(put, {"mask_id": mask_id})
        rows = connection.execute(_in_force(database).where(traced_masks.c.mask_id.in_(ids))).all()
    return [Traced(row.address, row.until) for row in rows]


def untrace(database: Database, addresses: Sequence[Address]) -> list[str]:
    """Trace these masks no longer, and tell which of them were. Raises RefusedError where one never was a mask."""
    SqlOrders(database).prune()
    ended: list[str] = []
    with database.writing("untrace") as connection:
        for bare in dict.fromkeys(address.bare for address in addresses):
            mask_id = connection.execute(sa.select(masks.c.mask_id).where(masks.c.address == bare)).scalar_one_or_none()
            if mask_id is None:
                raise no_mask(bare)
            if connection.execute(sa.delete(traced_masks).where(traced_masks.c.mask_id == mask_id)).rowcount:
                ended.append(bare)
    return ended


def _in_force(database: Database) -> sa.Select[Any]:
    return (
        sa.select(masks.c.address, traced_masks.c.until)
        .join(masks, masks.c.mask_id == traced_masks.c.mask_id)
        .where(traced_masks.c.until > database.now)
        .order_by(traced_masks.c.until, masks.c.address)
    )
