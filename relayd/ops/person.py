"""A person's right to see: everything that is kept about an owner, as one document."""

import json
from collections.abc import Iterator
from typing import Any, TextIO

import sqlalchemy as sa

from relayd.adapters.database import Database
from relayd.adapters.schema import deliveries, masks, notices, quarantine, usage
from relayd.ops.directory_export import records_of, write_items
from relayd.ops.owner_views import find_owner
from relayd.ops.snapshot import snapshot

FORMAT = "relayd-owner"
VERSION = 1

_MACHINERY = frozenset({"token", "expires_at", "generation", "kills", "doubts", "resends"})
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
        file.write("}\n")


def _rows(connection: sa.Connection, table: sa.Table, owner_id: str) -> Iterator[dict[str, Any]]:
    order = table.c.day if table is usage else table.c.held_at if table is quarantine else table.c.created_at
    query = sa.select(table).where(of_owner(table, owner_id)).order_by(order)
    for row in connection.execute(query).mappings():
        yield {
            name: _parsed(value) if name in _JSON else value for name, value in row.items() if name not in _MACHINERY
        }


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
