"""Owners and their mailboxes in memory while something that belongs to them is put in: found, or made on the way."""

import secrets
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from relayd.adapters.schema import mailboxes, owners
from relayd.model.address import Address
from relayd.model.mask import DmarcHandling, SpamHandling
from relayd.ops.refusals import refused

_FEW = 500
"""Values that one IN list may hold; for more, everything is read."""


def random_id() -> str:
    """An id that says nothing."""
    return secrets.token_hex(10)


@dataclass(frozen=True, slots=True)
class OwnerTraits:
    """How an owner is made. The names are the table's columns."""

    active: bool = True
    spam_handling: SpamHandling = "quarantine"
    dmarc_handling: DmarcHandling = "forward"
    language: str = "en"


def rows_of(connection: sa.Connection, column: sa.Column[Any], wanted: Collection[str] | None) -> Sequence[Any]:
    """The table's rows whose column is among these; all of them for None, or for many."""
    query = sa.select(column.table)
    if wanted is not None and len(wanted) <= _FEW:
        query = query.where(column.in_(wanted))
    return connection.execute(query).all()


class People:
    """Nothing is written before `write`."""

    def __init__(
        self, connection: sa.Connection, addresses: Collection[str] | None, names: Collection[str] | None
    ) -> None:
        """Reads the mailboxes and owners that are called so; everything for None."""
        self._connection = connection
        self._mailboxes: dict[str, tuple[str, str]] = {
            row.address: (row.mailbox_id, row.owner_id) for row in rows_of(connection, mailboxes.c.address, addresses)
        }
        self._owners: dict[str, str] = {row.name: row.owner_id for row in rows_of(connection, owners.c.name, names)}
        self._new_owners: list[dict[str, Any]] = []
        self._new_mailboxes: list[dict[str, Any]] = []

    def owner(
        self,
        subject: str,
        boxes: Sequence[Address],
        name: str | None,
        current: str | None = None,
        traits: OwnerTraits | None = None,
    ) -> str:
        """Whose `subject` is, or shall be: the named owner, one of the mailboxes', the current one, or a new one.
        Raises RefusedError where these do not agree.
        """
        held = {self._mailboxes[box.full][1] for box in boxes if box.full in self._mailboxes}
        new_name = name or (boxes[0].full if boxes else "")
        if name is not None:
            owner_id = self._owners.get(name) or ""
        else:
            owner_id = min(held, default="") or current or self._owners.get(new_name, "")
        if held - {owner_id}:
            other = self._name(min(held - {owner_id}))
            raise refused(
                subject,
                f"a mailbox of it belongs to another owner, {other!r}",
                "a mailbox has one owner: name that one, or leave the mailbox out.",
            )
        if current and current != owner_id:
            raise refused(
                subject,
                f"belongs to {self._name(current)!r}, and never changes hands",
                "give the other owner one of their own.",
            )
        return owner_id or self._new_owner(new_name, traits or OwnerTraits())

    def mailbox(self, address: str, owner_id: str, *, verified: bool = True) -> str:
        """The mailbox's id. `verified` counts when it is new."""
        if address not in self._mailboxes:
            mailbox_id = random_id()
            self._new_mailboxes.append(
                {"mailbox_id": mailbox_id, "owner_id": owner_id, "address": address, "verified": verified}
            )
            self._mailboxes[address] = (mailbox_id, owner_id)
        return self._mailboxes[address][0]

    def write(self, moment: float) -> None:
        """The new ones, made at `moment`."""
        for table, rows in ((owners, self._new_owners), (mailboxes, self._new_mailboxes)):
            if rows:
                self._connection.execute(sa.insert(table), [row | {"created_at": moment} for row in rows])

    def _new_owner(self, name: str, traits: OwnerTraits) -> str:
        owner_id = random_id()
        self._new_owners.append({"owner_id": owner_id, "name": name, "flagged": False, **asdict(traits)})
        self._owners[name] = owner_id
        return owner_id

    def _name(self, owner_id: str) -> str:
        """For a refusal: read only then, unless it is in memory."""
        name = next((name for name, known in self._owners.items() if known == owner_id), None)
        query = sa.select(owners.c.name).where(owners.c.owner_id == owner_id)
        return name or str(self._connection.execute(query).scalar_one())
