"""A person's right to see: everything that is kept about an owner, as one document."""

import json
from collections.abc import Iterator
from typing import Any, TextIO

import sqlalchemy as sa

from relayd.adapters.database import Database
from relayd.adapters.schema import attempts, deliveries, masks, notices, pauses, quarantine, usage
from relayd.ops.directory_export import records_of, write_items
from relayd.ops.owner_views import find_owner
from relayd.ops.snapshot import snapshot

FORMAT = "relayd-owner"
VERSION = 1

_MACHINERY = frozenset({"token", "expires_at", "claimed_at", "generation", "kills", "doubts", "resends"})
"""Columns of the ledger that say nothing about anybody: how replicas take turns."""
_JSON = frozenset({"notification", "facts"})
"""Columns that hold JSON as text."""


def of_owner(table: sa.Table, owner_id: str) -> sa.ColumnElement[bool]:
    """The rows of the table that are about the owner or one of their masks."""
    wanted = table.c.owner_id == owner_id
    if "mask_id" not in table.c:
        return wanted
    # Rows of before there was an owner's id in them know the mask alone.
    return wanted | table.c.mask_id.in_(sa.select(masks.c.mask_id).where(masks.c.owner_id == owner_id))


def is_about(owner_id: str) -> sa.ColumnElement[bool]:
    """The row in which an operator holds the owner's mail back."""
    return sa.and_(pauses.c.scope == "owner", pauses.c.subject == owner_id)


def export_person(database: Database, text: str, file: TextIO) -> None:
    """Write what is kept about an owner: a JSON document, a line a record. Raises RefusedError."""
    with snapshot(database) as connection:
        row = find_owner(connection, text)
        moment = connection.execute(sa.select(database.now)).scalar_one()
        head = {"format": FORMAT, "version": VERSION, "exported_at": moment}
        (record,) = records_of(connection, [row._mapping])
        file.write(f'{json.dumps(head)[:-1]},\n"owner": {json.dumps(record)}')
        for table in (deliveries, usage, quarantine, notices):
            file.write(f',\n"{table.name}": [')
            write_items(file, _rows(connection, table, row.owner_id))
            file.write("]")
        file.write(f',\n"{attempts.name}": [')
        write_items(file, _attempts(connection, row.owner_id))
        file.write("]")
        paused = sa.select(pauses.c.reason, pauses.c.created_at).where(is_about(row.owner_id))
        held = [dict(one) for one in connection.execute(paused).mappings()]
        file.write(f',\n"pauses": {json.dumps(held)}}}\n')


def _rows(connection: sa.Connection, table: sa.Table, owner_id: str) -> Iterator[dict[str, Any]]:
    order = table.c.day if table is usage else table.c.held_at if table is quarantine else table.c.created_at
    query = sa.select(table).where(of_owner(table, owner_id)).order_by(order)
    for row in connection.execute(query).mappings():
        yield {
            name: _parsed(value) if name in _JSON else value for name, value in row.items() if name not in _MACHINERY
        }


def _attempts(connection: sa.Connection, owner_id: str) -> Iterator[dict[str, Any]]:
    """How the deliveries came about: they are known by those alone."""
    query = (
        sa.select(attempts)
        .join(deliveries, deliveries.c.delivery_id == attempts.c.delivery_id)
        .where(of_owner(deliveries, owner_id))
        .order_by(attempts.c.ended_at, attempts.c.delivery_id, attempts.c.attempt)
    )
    for row in connection.execute(query).mappings():
        yield dict(row)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
