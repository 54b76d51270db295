"""The directory written out, whole or for one owner: everything that it takes to have the same directory elsewhere."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TextIO

import sqlalchemy as sa

from relayd.adapters.database import Database
from relayd.adapters.schema import (
    contacts,
    domain_rules,
    mailboxes,
    mask_mailboxes,
    masks,
    owners,
    rule_mailboxes,
    sender_rules,
)
from relayd.ops.directory_records import FORMAT, VERSION
from relayd.ops.snapshot import snapshot

_CHUNK = 400
"""Owners, or masks, that are read together: a few queries for each, and little memory however many there are."""

Rows = dict[str, list[dict[str, Any]]]


def export_directory(database: Database, file: TextIO) -> int:
    """Write the directory as one JSON document, a line an owner, and count the owners."""
    with snapshot(database) as connection:
        file.write(f'{{"format": "{FORMAT}", "version": {VERSION}, "owners": [')
        count = write_items(file, owner_records(connection))
        file.write("]}\n")
    return count


def write_items(file: TextIO, items: Iterable[Any]) -> int:
    """A JSON list's items, a line each, and how many they were."""
    count = 0
    for item in items:
        file.write(("\n" if count == 0 else ",\n") + json.dumps(item))
        count += 1
    file.write("\n")
    return count


def owner_records(connection: sa.Connection) -> Iterator[dict[str, Any]]:
    """All owners in order of their id, with all that is theirs."""
    last = ""
    while True:
        query = sa.select(owners).where(owners.c.owner_id > last).order_by(owners.c.owner_id).limit(_CHUNK)
        rows = connection.execute(query).mappings().all()
        if not rows:
            return
        yield from records_of(connection, rows)
        last = rows[-1]["owner_id"]


def records_of(connection: sa.Connection, rows: Sequence[Any]) -> Iterator[dict[str, Any]]:
    """These owners (rows of their table) with all that is theirs."""
    ids = [row["owner_id"] for row in rows]
    boxes = _grouped(connection, mailboxes, mailboxes.c.owner_id, ids, "address")
    senders = _senders(connection, ids)
    rules = _grouped(connection, domain_rules, domain_rules.c.owner_id, ids, "domain", "pattern")
    given: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for owner_id, mask in _masks(connection, ids):
        given[owner_id].append(mask)
    ruled = dict(
        _with_mailboxes(connection, [one for some in rules.values() for one in some], rule_mailboxes, "rule_id")
    )
    for row in rows:
        owner_id = row["owner_id"]
        yield {
            **row,
            "mailboxes": [_without(box, "owner_id", "mailbox_id") for box in boxes[owner_id]],
            "senders": senders[owner_id],
            "rules": [ruled[one["rule_id"]] for one in rules[owner_id]],
            "masks": given[owner_id],
        }


def _masks(connection: sa.Connection, owner_ids: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each mask with all that is its, and whose it is; each owner's in order of address."""
    found = _grouped(connection, masks, masks.c.owner_id, owner_ids, "address")
    rows = [row for theirs in found.values() for row in theirs]
    for start in range(0, len(rows), _CHUNK):
        part = rows[start : start + _CHUNK]
        ids = [row["mask_id"] for row in part]
        known = _grouped(connection, contacts, contacts.c.mask_id, ids, "address")
        senders = _senders(connection, ids)
        records = dict(_with_mailboxes(connection, part, mask_mailboxes, "mask_id"))
        for row in part:
            mask_id = row["mask_id"]
            theirs = [_without(one, "mask_id") for one in known[mask_id]]
            yield row["owner_id"], records[mask_id] | {"senders": senders[mask_id], "contacts": theirs}


def _with_mailboxes(
    connection: sa.Connection, rows: list[dict[str, Any]], links: sa.Table, key: str
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows by their ids, each with the addresses that it forwards to, in order."""
    for start in range(0, len(rows), _CHUNK):
        part = rows[start : start + _CHUNK]
        query = (
            sa.select(links.c[key], mailboxes.c.address)
            .join(mailboxes, mailboxes.c.mailbox_id == links.c.mailbox_id)
            .where(links.c[key].in_([row[key] for row in part]))
            .order_by(links.c[key], links.c.position)
        )
        found: dict[str, list[str]] = defaultdict(list)
        for one, address in connection.execute(query):
            found[one].append(address)
        for row in part:
            yield row[key], _without(row, "owner_id") | {"mailboxes": found[row[key]]}


def _senders(connection: sa.Connection, ids: Sequence[str]) -> Rows:
    found = _grouped(connection, sender_rules, sender_rules.c.scope_id, ids, "pattern")
    return defaultdict(list, {key: [_without(one, "scope_id") for one in rows] for key, rows in found.items()})


def _grouped(connection: sa.Connection, table: sa.Table, key: sa.Column[Any], ids: Sequence[str], *order: str) -> Rows:
    """The table's rows by their key. Sorted here, for every database has its own order of letters."""
    found: Rows = defaultdict(list)
    for row in connection.execute(sa.select(table).where(key.in_(ids))).mappings():
        found[row[key.name]].append(dict(row))
    for rows in found.values():
        rows.sort(key=lambda row: [row[name] for name in order])
    return found


def _without(row: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names}
