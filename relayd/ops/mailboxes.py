"""An owner's mailboxes, as an operator changes them: add, verify, remove, and let mail flow again."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from relayd.adapters.database import Database
from relayd.adapters.schema import domain_rules, mailboxes, mask_mailboxes, masks, owners, rule_mailboxes
from relayd.errors import Problem
from relayd.model.address import Address
from relayd.ops.owner_views import find_owner
from relayd.ops.people import random_id
from relayd.ops.refusals import RefusedError, refused

_SHOWN = 20
"""Masks that a refusal names; a mailbox may serve thousands."""


def add_mailbox(database: Database, owner: str, address: Address, *, verified: bool) -> bool:
    """Give the owner a mailbox, and tell whether they had it not yet. Raises RefusedError."""
    with database.writing() as connection:
        row = find_owner(connection, owner, lock=True)
        return insert_mailboxes(database, connection, row.owner_id, [address], verified=verified) > 0


def insert_mailboxes(
    database: Database, connection: sa.Connection, owner_id: str, addresses: Sequence[Address], *, verified: bool
) -> int:
    """Make those that the owner does not have yet, and count them. Raises RefusedError for another owner's."""
    made = 0
    for address in addresses:
        query = (
            sa.select(owners.c.owner_id, owners.c.name)
            .join(mailboxes, mailboxes.c.owner_id == owners.c.owner_id)
            .where(mailboxes.c.address == address.full)
        )
        holder = connection.execute(query).one_or_none()
        if holder is None:
            values = {"mailbox_id": random_id(), "owner_id": owner_id, "address": address.full, "verified": verified}
            connection.execute(sa.insert(mailboxes).values(values | {"created_at": database.now}))
            made += 1
        elif holder.owner_id != owner_id:
            raise refused(
                "the mailbox",
                f"{address} belongs to another owner, {holder.name!r}",
                "a mailbox has one owner: remove it there first.",
            )
    return made


def set_verified(database: Database, owner: str, address: Address, verified: bool) -> bool:
    """Say whether the mailbox is known to be its owner's, and tell whether that was not so already. Raises
    RefusedError.
    """
    return _set(database, owner, address, verified=verified)


def unpause(database: Database, owner: str, address: Address) -> bool:
    """Send to the mailbox again, as if it had never bounced, and tell whether it had. Raises RefusedError."""
    return _set(database, owner, address, pause=None, paused_until=None, bounces=0)


def _set(database: Database, owner: str, address: Address, **values: Any) -> bool:
    with database.writing() as connection:
        row = _theirs(connection, owner, address)
        changed = {name: value for name, value in values.items() if getattr(row, name) != value}
        if changed:
            connection.execute(sa.update(mailboxes).where(mailboxes.c.mailbox_id == row.mailbox_id).values(changed))
    return bool(changed)


def check_removal(database: Database, owner: str, address: Address) -> None:
    """Raise RefusedError where the mailbox cannot be taken from its owner."""
    with database.reading() as connection:
        _removable(connection, owner, address)


def remove_mailbox(database: Database, owner: str, address: Address) -> None:
    """Take the mailbox from its owner, and from the masks and rules that have another one. RefusedError where one
    would be left without.
    """
    with database.writing() as connection:
        mailbox_id = _removable(connection, owner, address)
        for table in (mask_mailboxes, rule_mailboxes, mailboxes):
            connection.execute(sa.delete(table).where(table.c.mailbox_id == mailbox_id))


def _removable(connection: sa.Connection, owner: str, address: Address) -> str:
    mailbox_id = str(_theirs(connection, owner, address).mailbox_id)
    if problems := [*_last_of_masks(connection, mailbox_id, address), *_last_of_rules(connection, mailbox_id)]:
        raise RefusedError(problems)
    return mailbox_id


def _last_of_masks(connection: sa.Connection, mailbox_id: str, address: Address) -> list[Problem]:
    """Tombstones are left out: nothing is forwarded from them."""
    lonely = _only(mask_mailboxes, mask_mailboxes.c.mask_id, mailbox_id)
    query = sa.select(masks.c.address).where(masks.c.mask_id.in_(lonely), masks.c.removed_at.is_(None))
    found = connection.execute(query.order_by(masks.c.address)).scalars().all()
    problems = [
        Problem(
            "the mask",
            f"{mask} would be left without a mailbox",
            f"forward it elsewhere (relayd masks set {mask} --to ...), or remove it.",
        )
        for mask in found[:_SHOWN]
    ]
    if len(found) > _SHOWN:
        hint = f"relayd masks list --to {address} shows them all."
        problems.append(Problem("the mailbox", f"{len(found) - _SHOWN} more masks would be left without one", hint))
    return problems


def _last_of_rules(connection: sa.Connection, mailbox_id: str) -> list[Problem]:
    lonely = _only(rule_mailboxes, rule_mailboxes.c.rule_id, mailbox_id)
    rules = connection.execute(sa.select(domain_rules).where(domain_rules.c.rule_id.in_(lonely))).all()
    return [
        Problem(
            "the rule",
            f"{rule.pattern}@{rule.domain} would be left without a mailbox",
            f"remove it first: relayd masks rule remove {rule.domain} --pattern '{rule.pattern}'",
        )
        for rule in rules
    ]


def _only(table: sa.Table, key: sa.Column[Any], mailbox_id: str) -> sa.Select[Any]:
    """The ids of what has this mailbox and no other."""
    with_it = sa.select(key).where(table.c.mailbox_id == mailbox_id)
    return sa.select(key).where(key.in_(with_it)).group_by(key).having(sa.func.count() == 1)


def _theirs(connection: sa.Connection, owner: str, address: Address) -> Any:
    row = find_owner(connection, owner, lock=True)
    query = sa.select(mailboxes).where(mailboxes.c.owner_id == row.owner_id, mailboxes.c.address == address.full)
    found = connection.execute(query.with_for_update()).one_or_none()
    if found is None:
        raise refused(
            "the mailbox", f"{address} is no mailbox of {row.name!r}", "`relayd owners show` names those that are."
        )
    return found
