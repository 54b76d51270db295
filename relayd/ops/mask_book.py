"""The directory's rows in memory while masks are changed: one read, all decisions, one write."""

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal

import sqlalchemy as sa

from relayd.adapters.schema import mailboxes, mask_mailboxes, masks, owners
from relayd.errors import Problem
from relayd.model.mask import DmarcHandling, SpamHandling
from relayd.ops.mask_entries import Entry, RefusedError

Change = Literal["added", "changed", "unchanged"]

_FEW = 500
"""Addresses that one IN list may hold; for more, everything is read."""


@dataclass(slots=True)
class OwnerTraits:
    """How an owner is made. One that exists already is left as it is."""

    active: bool = True
    spam_handling: SpamHandling = "quarantine"
    dmarc_handling: DmarcHandling = "forward"


@dataclass(slots=True)
class _MaskRow:
    mask_id: str
    owner_id: str
    enabled: bool
    removed: bool
    mailbox_ids: tuple[str, ...] = ()


class Book:
    """What is there, and what shall become of it. Nothing is written before `write`."""

    def __init__(self, connection: sa.Connection, entries: Sequence[Entry] | None) -> None:
        """Reads what the entries touch; everything for None."""
        self._connection = connection
        few = entries if entries is not None and len(entries) <= _FEW else None
        boxes = None if few is None else [box.full for one in few for box in one.mailboxes]
        names = None if few is None else [_owner_name(one) for one in few]
        bares = None if few is None else [one.address.bare for one in few]
        self._mailboxes: dict[str, tuple[str, str]] = {
            row.address: (row.mailbox_id, row.owner_id) for row in self._rows(mailboxes.c.address, boxes)
        }
        self._owners: dict[str, str] = {row.name: row.owner_id for row in self._rows(owners.c.name, names)}
        self._masks = {
            row.address: _MaskRow(row.mask_id, row.owner_id, row.enabled, row.removed_at is not None)
            for row in self._rows(masks.c.address, bares)
        }
        by_id = {row.mask_id: row for row in self._masks.values()}
        links = self._rows(mask_mailboxes.c.mask_id, None if few is None else list(by_id), mask_mailboxes.c.position)
        for mask_id, group in groupby(links, lambda row: row.mask_id):
            by_id[mask_id].mailbox_ids = tuple(row.mailbox_id for row in group)
        self._new: dict[sa.Table, list[dict[str, Any]]] = {owners: [], mailboxes: [], masks: []}
        self._relinked: dict[str, tuple[str, ...]] = {}
        self._fresh: set[str] = set()
        self._switched: dict[str, bool] = {}
        self._removed: list[str] = []

    @property
    def live(self) -> list[str]:
        """The masks that are there, tombstones left out."""
        return [address for address, row in self._masks.items() if not row.removed]

    def put(self, entry: Entry, *, replace: bool, traits: OwnerTraits | None = None) -> Change:
        """Make the mask as the entry says. Raises RefusedError. `replace` allows to change where it forwards to."""
        address = entry.address.bare
        row = self._masks.get(address)
        if row and row.removed:
            raise _refused(
                f"{address} was removed, and a removed mask is never given out again",
                "choose another address: strangers still know this one as somebody else's.",
            )
        owner_id = self._owner(entry, row, traits or OwnerTraits())
        boxes = tuple(self._mailbox(box.full, owner_id) for box in entry.mailboxes)
        if row is None:
            row = self._masks[address] = _MaskRow(_random_id(), owner_id, entry.enabled is not False, False, boxes)
            values = {"mask_id": row.mask_id, "address": address, "owner_id": owner_id, "enabled": row.enabled}
            self._new[masks].append(values)
            self._relinked[row.mask_id] = boxes
            self._fresh.add(row.mask_id)
            return "added"
        change: Change = "unchanged"
        if row.mailbox_ids != boxes:
            if not replace:
                raise _refused(
                    f"{address} is there already, and forwards elsewhere",
                    f"see `relayd masks show {address}`; to forward it here from now on: add --replace.",
                )
            row.mailbox_ids, change = boxes, "changed"
            self._relinked[row.mask_id] = boxes
        if entry.enabled is not None and row.enabled != entry.enabled:
            row.enabled, change = entry.enabled, "changed"
            self._switched[row.mask_id] = entry.enabled
        return change

    def remove(self, address: str) -> None:
        """Leave a tombstone."""
        row = self._masks[address]
        row.removed = True
        self._removed.append(row.mask_id)

    def write(self, now: sa.ColumnElement[float]) -> None:
        """All changes, with the database's time for their time."""
        moment = self._connection.execute(sa.select(now)).scalar_one()
        for table in (owners, mailboxes, masks):
            self._many(sa.insert(table), [row | {"created_at": moment} for row in self._new[table]])
        old = [{"id": mask_id} for mask_id in self._relinked if mask_id not in self._fresh]
        self._many(sa.delete(mask_mailboxes).where(mask_mailboxes.c.mask_id == sa.bindparam("id")), old)
        links = [
            {"mask_id": mask_id, "mailbox_id": box, "position": position}
            for mask_id, boxes in self._relinked.items()
            for position, box in enumerate(boxes)
        ]
        self._many(sa.insert(mask_mailboxes), links)
        one = sa.update(masks).where(masks.c.mask_id == sa.bindparam("id"))
        self._many(
            one.values(enabled=sa.bindparam("on")),
            [{"id": mask_id, "on": enabled} for mask_id, enabled in self._switched.items()],
        )
        self._many(one.values(removed_at=moment), [{"id": mask_id} for mask_id in self._removed])

    def _owner(self, entry: Entry, row: _MaskRow | None, traits: OwnerTraits) -> str:
        """Whose mask it is, or shall be: one of the mailboxes' owner, the mask's, or a new one."""
        held = {self._mailboxes[box.full][1] for box in entry.mailboxes if box.full in self._mailboxes}
        if entry.owner is not None:
            owner_id = self._owners.get(entry.owner) or ""
        else:
            theirs = min(held, default="") or (row.owner_id if row else "")
            owner_id = theirs or self._owners.get(_owner_name(entry), "")
        if held - {owner_id}:
            name = self._name(min(held - {owner_id}))
            raise _refused(
                f"{entry.address.bare}: a mailbox of it belongs to another owner, {name!r}",
                "a mailbox has one owner: name that one, or leave the mailbox out.",
            )
        if row and row.owner_id != owner_id:
            raise _refused(
                f"{entry.address.bare} belongs to {self._name(row.owner_id)!r}, and a mask never changes hands",
                "give the other owner a mask of their own.",
            )
        return owner_id or self._new_owner(_owner_name(entry), traits)

    def _new_owner(self, name: str, traits: OwnerTraits) -> str:
        owner_id = _random_id()
        self._new[owners].append(
            {
                "owner_id": owner_id,
                "name": name,
                "active": traits.active,
                "flagged": False,
                "spam_handling": traits.spam_handling,
                "dmarc_handling": traits.dmarc_handling,
            }
        )
        self._owners[name] = owner_id
        return owner_id

    def _mailbox(self, address: str, owner_id: str) -> str:
        if address not in self._mailboxes:
            values = {"mailbox_id": _random_id(), "owner_id": owner_id, "address": address}
            self._new[mailboxes].append(values)
            self._mailboxes[address] = (values["mailbox_id"], owner_id)
        return self._mailboxes[address][0]

    def _name(self, owner_id: str) -> str:
        """For a refusal: read only then, unless it is in memory."""
        name = next((name for name, known in self._owners.items() if known == owner_id), None)
        query = sa.select(owners.c.name).where(owners.c.owner_id == owner_id)
        return name or str(self._connection.execute(query).scalar_one())

    def _rows(self, column: sa.Column[Any], wanted: Sequence[str] | None, *order: sa.Column[Any]) -> Sequence[Any]:
        """The table's rows whose column is among these; all of them for None."""
        query = sa.select(column.table).order_by(column, *order)
        if wanted is not None:
            query = query.where(column.in_(wanted))
        return self._connection.execute(query).all()

    def _many(self, statement: sa.Executable, rows: Iterable[dict[str, Any]]) -> None:
        if rows:
            self._connection.execute(statement, list(rows))


def _owner_name(entry: Entry) -> str:
    return entry.owner or entry.mailboxes[0].full


def _random_id() -> str:
    return secrets.token_hex(10)


def _refused(problem: str, hint: str) -> RefusedError:
    return RefusedError([Problem("the mask", problem, hint)])
