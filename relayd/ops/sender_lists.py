"""Block and allow lists of senders, on a mask or for all masks of an owner."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import sqlalchemy as sa

from relayd.adapters.database import Database
from relayd.adapters.schema import sender_rules
from relayd.errors import Problem
from relayd.model.address import Address
from relayd.ops.masks import live_mask
from relayd.ops.owner_views import find_owner
from relayd.ops.refusals import RefusedError
from relayd.rules.senders import SenderRule

Listed = Literal["added", "moved", "unchanged"]
"""What became of an entry; `moved` from the other list."""


@dataclass(frozen=True, slots=True)
class SenderEntry:
    """One entry of a list. The names are the keys of the JSON."""

    pattern: str
    kind: str
    created_at: float


Scope = Address | str
"""Whose lists: a mask's address, or an owner's name."""


def list_senders(database: Database, scope: Scope, patterns: Sequence[str], kind: SenderRule) -> dict[str, Listed]:
    """Put senders on a list, and tell of each what was done. Raises RefusedError when there is no such scope."""
    result: dict[str, Listed] = {}
    with database.writing() as connection:
        scope_id = _scope_id(connection, scope)
        for pattern in dict.fromkeys(patterns):
            here = _entry(scope_id, pattern)
            found = connection.execute(sa.select(sender_rules.c.kind).where(here)).scalar_one_or_none()
            result[pattern] = "added" if found is None else "unchanged" if found == kind else "moved"
            if found is None:
                values = {"scope_id": scope_id, "pattern": pattern, "kind": kind, "created_at": database.now}
                connection.execute(sa.insert(sender_rules).values(values))
            elif found != kind:
                connection.execute(sa.update(sender_rules).where(here).values(kind=kind, created_at=database.now))
    return result


def unlist_senders(database: Database, scope: Scope, patterns: Iterable[str]) -> None:
    """Take senders off both lists. RefusedError, and nothing done, when one is on neither."""
    with database.writing() as connection:
        scope_id = _scope_id(connection, scope)
        problems = [
            Problem("the sender", f"{pattern} is on neither list", "entries are taken off as they were put on.")
            for pattern in dict.fromkeys(patterns)
            if not connection.execute(sa.delete(sender_rules).where(_entry(scope_id, pattern))).rowcount
        ]
        if problems:
            raise RefusedError(problems)


def senders_of(database: Database, scope: Scope) -> list[SenderEntry]:
    """Both lists, each in order. Raises RefusedError when there is no such scope."""
    with database.reading() as connection:
        query = sa.select(sender_rules.c.pattern, sender_rules.c.kind, sender_rules.c.created_at)
        query = query.where(sender_rules.c.scope_id == _scope_id(connection, scope))
        rows = connection.execute(query.order_by(sender_rules.c.kind, sender_rules.c.pattern))
        return [SenderEntry(*row) for row in rows]


def _scope_id(connection: sa.Connection, scope: Scope) -> str:
    if isinstance(scope, Address):
        return str(live_mask(connection, scope).mask_id)
    return str(find_owner(connection, scope).owner_id)


def _entry(scope_id: str, pattern: str) -> sa.ColumnElement[bool]:
    return sa.and_(sender_rules.c.scope_id == scope_id, sender_rules.c.pattern == pattern)
