"""Owners, as an operator changes them: who they are, how their mail is treated, whether it flows."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from relayd.adapters.database import Database
from relayd.adapters.schema import owners
from relayd.model.address import Address
from relayd.ops.mailboxes import insert_mailboxes
from relayd.ops.owner_views import find_owner
from relayd.ops.people import OwnerTraits, random_id
from relayd.ops.refusals import refused


def add_owner(
    database: Database, name: str, traits: OwnerTraits, mailboxes: Sequence[Address] = (), *, verified: bool = True
) -> None:
    """Make an owner, with mailboxes or without. Raises RefusedError."""
    with database.writing() as connection:
        _refuse_taken(connection, name)
        owner_id = random_id()
        values = {"owner_id": owner_id, "name": name, "flagged": False, **asdict(traits)}
        connection.execute(sa.insert(owners).values(values | {"created_at": database.now}))
        insert_mailboxes(database, connection, owner_id, mailboxes, verified=verified)


def set_owner(database: Database, text: str, **values: Any) -> bool:
    """Change these columns of an owner, and tell whether any was not so already. Raises RefusedError."""
    with database.writing() as connection:
        row = find_owner(connection, text, lock=True)
        changed = {name: value for name, value in values.items() if getattr(row, name) != value}
        if changed:
            connection.execute(sa.update(owners).where(owners.c.owner_id == row.owner_id).values(changed))
    return bool(changed)


def rename_owner(database: Database, text: str, name: str) -> bool:
    """Call an owner something else, and tell whether they were not called so already. Raises RefusedError."""
    with database.writing() as connection:
        row = find_owner(connection, text, lock=True)
        if row.name == name:
            return False
        _refuse_taken(connection, name)
        connection.execute(sa.update(owners).where(owners.c.owner_id == row.owner_id).values(name=name))
    return True


def _refuse_taken(connection: sa.Connection, name: str) -> None:
    if connection.execute(sa.select(owners.c.owner_id).where(owners.c.name == name)).first():
        raise refused(
            "the owner",
            f"there is an owner {name!r} already",
            "choose another name, or change that one: relayd owners set.",
        )
