"""A person's right to be forgotten: an owner goes, and what is left says nothing about anybody.

The masks' addresses stay as tombstones that belong to nobody: given out again, they would bring one person's mail to
another.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from relayd.adapters.database import Database
from relayd.adapters.schema import (
    attempts,
    contacts,
    deliveries,
    domain_rules,
    mailboxes,
    mask_mailboxes,
    masks,
    meta,
    notices,
    owners,
    pauses,
    quarantine,
    rule_mailboxes,
    sender_rules,
    traced_masks,
    usage,
)
from relayd.ops.owner_views import find_owner
from relayd.ops.people import random_id
from relayd.ops.person import is_about, of_owner
from relayd.ops.refusals import refused
from relayd.ops.snapshot import without_limits

_NOBODY = "nobody"
"""Under this name `meta` keeps the id of the owner that all tombstones of erased owners belong to: one for all, for
one each would tell whose masks belonged together."""


@dataclass(frozen=True, slots=True)
class Archived:
    """A mail whose copy may lie where relayd deletes nothing. The names are the keys of the JSON."""

    mail_id: str
    """SES's messageId: the end of the object's key, unless the receipt rule says otherwise."""
    bucket: str | None
    key: str | None
    """None where only the id is known."""
    at: float
    """When relayd last had to do with it."""
    shared: bool
    """It had other recipients, too."""


def erase_owner(
    database: Database, text: str, keep: Callable[[Iterator[Archived]], None], *, dry_run: bool = False
) -> dict[str, int]:
    """Forget an owner, and tell how many rows of which table went. All of it, or nothing; with `dry_run`, nothing.

    `keep` is given the mails whose copies are elsewhere, and the owner stays when it fails: nobody could tell again.
    Raises RefusedError.
    """
    with database.writing("erase") as connection:
        without_limits(database, connection)
        owner = find_owner(connection, text, lock=True)
        nobody = connection.execute(sa.select(meta.c.value).where(meta.c.name == _NOBODY)).scalar_one_or_none()
        if owner.owner_id == nobody:
            raise refused(
                "the owner", f"{owner.name!r} is nobody: it holds what is left of erased owners", "let it be."
            )
        _refuse_unfinished(database, connection, owner)
        counts = {
            table.name: connection.execute(sa.select(sa.func.count()).select_from(table).where(which)).scalar_one()
            for table, which in _forgotten(owner.owner_id)
        }
        counts["masks"] = len(_mask_ids(connection, owner.owner_id))
        keep(_archived(connection, owner.owner_id))
        if not dry_run:
            _bury(database, connection, owner.owner_id, nobody)
    return counts


def _refuse_unfinished(database: Database, connection: sa.Connection, owner: Any) -> None:
    """Their rows would come back: whoever works on a delivery writes them again."""
    busy = deliveries.c.state.in_(("claimed", "sending")) & (deliveries.c.expires_at > database.now)
    query = sa.select(sa.func.count()).select_from(deliveries).where(of_owner(deliveries, owner.owner_id), busy)
    if count := connection.execute(query).scalar_one():
        raise refused(
            "the owner",
            f"{count} of their mails are being forwarded right now",
            f"try again in a few minutes; where it never ends: relayd owners deactivate '{owner.name}' before.",
        )


def _forgotten(owner_id: str) -> list[tuple[sa.Table, sa.ColumnElement[bool]]]:
    """What goes, in an order that no foreign key minds."""
    theirs = sa.select(masks.c.mask_id).where(masks.c.owner_id == owner_id)
    ruled = sa.select(domain_rules.c.rule_id).where(domain_rules.c.owner_id == owner_id)
    tried = sa.select(deliveries.c.delivery_id).where(of_owner(deliveries, owner_id))
    return [
        # First: only the deliveries tell whose they are.
        (attempts, attempts.c.delivery_id.in_(tried)),
        *((table, of_owner(table, owner_id)) for table in (deliveries, quarantine, notices, usage)),
        (sender_rules, (sender_rules.c.scope_id == owner_id) | sender_rules.c.scope_id.in_(theirs)),
        (contacts, contacts.c.mask_id.in_(theirs)),
        (traced_masks, traced_masks.c.mask_id.in_(theirs)),
        (pauses, is_about(owner_id)),
        (mask_mailboxes, mask_mailboxes.c.mask_id.in_(theirs)),
        (rule_mailboxes, rule_mailboxes.c.rule_id.in_(ruled)),
        (domain_rules, domain_rules.c.owner_id == owner_id),
        (mailboxes, mailboxes.c.owner_id == owner_id),
    ]


def _bury(database: Database, connection: sa.Connection, owner_id: str, nobody: str | None) -> None:
    for table, which in _forgotten(owner_id):
        connection.execute(sa.delete(table).where(which))
    if ids := _mask_ids(connection, owner_id):
        blank = {
            "mask_id": sa.bindparam("new"),
            "owner_id": nobody or _nobody(database, connection),
            "enabled": False,
            "removed_at": sa.func.coalesce(masks.c.removed_at, database.now),
            "display_name": "",
            "block_lists": False,
            "banner": False,
            "remove_trackers": False,
            "rule_id": None,
        }
        # Another id: logs of before name the old one.
        statement = sa.update(masks).where(masks.c.mask_id == sa.bindparam("old")).values(blank)
        connection.execute(statement, [{"old": mask_id, "new": random_id()} for mask_id in ids])
    connection.execute(sa.delete(owners).where(owners.c.owner_id == owner_id))


def _nobody(database: Database, connection: sa.Connection) -> str:
    owner_id = random_id()
    values = {"owner_id": owner_id, "name": f"nobody-{owner_id}", "active": False, "flagged": False}
    values |= {"spam_handling": "drop", "dmarc_handling": "discard"}
    connection.execute(sa.insert(owners).values(values | {"created_at": database.now}))
    connection.execute(sa.insert(meta).values(name=_NOBODY, value=owner_id))
    return owner_id


def _mask_ids(connection: sa.Connection, owner_id: str) -> list[str]:
    """Locked, so that no mail can make a contact for them meanwhile."""
    query = sa.select(masks.c.mask_id).where(masks.c.owner_id == owner_id).order_by(masks.c.address).with_for_update()
    return list(connection.execute(query).scalars())


def _archived(connection: sa.Connection, owner_id: str) -> Iterator[Archived]:
    """Every mail once, in order of its id."""
    held = {
        row.mail_id: (row.notification, row.held_at)
        for row in connection.execute(sa.select(quarantine).where(of_owner(quarantine, owner_id)))
    }
    ours = of_owner(deliveries, owner_id)
    # Notices are mails of our own: nobody archived them.
    query = sa.select(deliveries.c.mail_id, sa.func.max(deliveries.c.updated_at)).where(
        ours, deliveries.c.kind != "notice"
    )
    known = {row[0]: row[1] for row in connection.execute(query.group_by(deliveries.c.mail_id))}
    shared = _shared(connection, owner_id)
    for mail_id in sorted({*held, *known}):
        notification, held_at = held.get(mail_id, ("", 0.0))
        bucket, key = _place(notification)
        yield Archived(mail_id, bucket, key, max(held_at, known.get(mail_id, 0.0)), mail_id in shared)


def _shared(connection: sa.Connection, owner_id: str) -> set[str]:
    """The mails that have rows of somebody else's, too."""
    ours = of_owner(deliveries, owner_id)
    query = (
        sa.select(deliveries.c.mail_id)
        .where(deliveries.c.mail_id.in_(sa.select(deliveries.c.mail_id).where(ours)))
        .group_by(deliveries.c.mail_id)
        .having(sa.func.count() > sa.func.sum(sa.case((ours, 1), else_=0)))
    )
    return set(connection.execute(query).scalars())


def _place(notification: str) -> tuple[str | None, str | None]:
    try:
        action = json.loads(notification)["receipt"]["action"]
        return str(action["bucketName"]), str(action["objectKey"])
    except (ValueError, LookupError, TypeError):
        return None, None
