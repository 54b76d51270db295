"""The masks in memory while they are changed: one read, all decisions, one write."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Literal

import sqlalchemy as sa

from relayd.adapters.schema import mask_mailboxes, masks
from relayd.ops.mask_entries import Entry, MaskTraits
from relayd.ops.people import OwnerTraits, People, random_id, rows_of
from relayd.ops.refusals import refused

Change = Literal["added", "changed", "unchanged"]

_NEW = MaskTraits(display_name="", block_lists=False, banner=False, remove_trackers=False).said()


@dataclass(slots=True)
class _MaskRow:
    mask_id: str
    owner_id: str
    enabled: bool
    removed: bool
    traits: dict[str, Any]
    mailbox_ids: tuple[str, ...] = ()
    changed: set[str] = field(default_factory=set)
    """The columns that are not as they were read."""


class Book:
    """What is there, and what shall become of it. Nothing is written before `write`."""

    def __init__(self, connection: sa.Connection, entries: Sequence[Entry] | None) -> None:
        """Reads what the entries touch; everything for None."""
        self._connection = connection
        boxes = names = bares = None
        if entries is not None:
            boxes = {box.full for one in entries for box in one.mailboxes}
            names = {one.owner or (one.mailboxes[0].full if one.mailboxes else "") for one in entries}
            bares = {one.address.bare for one in entries}
        self._people = People(connection, boxes, names)
        self._masks = {row.address: _row_of(row) for row in rows_of(connection, masks.c.address, bares)}
        by_id = {row.mask_id: row for row in self._masks.values()}
        links = sorted(
            rows_of(connection, mask_mailboxes.c.mask_id, None if bares is None else by_id),
            key=lambda link: (link.mask_id, link.position),
        )
        for mask_id, group in groupby(links, lambda link: link.mask_id):
            by_id[mask_id].mailbox_ids = tuple(link.mailbox_id for link in group)
        self._new: list[dict[str, Any]] = []
        self._relinked: dict[str, tuple[str, ...]] = {}
        self._fresh: set[str] = set()
        self._removed: list[str] = []

    @property
    def live(self) -> list[str]:
        """The masks that are there, tombstones left out."""
        return [address for address, row in self._masks.items() if not row.removed]

    def put(
        self, entry: Entry, *, replace: bool, owner_traits: OwnerTraits | None = None, verified: bool = True
    ) -> Change:
        """Make the mask as the entry says. Raises RefusedError. `replace` allows to change where it forwards to."""
        address = entry.address.bare
        row = self._masks.get(address)
        if row and row.removed:
            raise refused(
                "the mask",
                f"{address} was removed, and a removed mask is never given out again",
                "choose another address: strangers still know this one as somebody else's.",
            )
        current = row.owner_id if row else None
        owner_id = self._people.owner(address, entry.mailboxes, entry.owner, current, owner_traits)
        boxes = tuple(self._people.mailbox(box.full, owner_id, verified=verified) for box in entry.mailboxes)
        if row is None:
            self._add(entry, owner_id, boxes)
            return "added"
        change: Change = "unchanged"
        if boxes and row.mailbox_ids != boxes:
            if not replace:
                raise refused(
                    "the mask",
                    f"{address} is there already, and forwards elsewhere",
                    f"see `relayd masks show {address}`; to forward it here from now on: add --replace.",
                )
            row.mailbox_ids, change = boxes, "changed"
            self._relinked[row.mask_id] = boxes
        said = entry.traits.said() | ({} if entry.enabled is None else {"enabled": entry.enabled})
        return "changed" if self._switch(row, said) else change

    def remove(self, address: str) -> None:
        """Leave a tombstone."""
        row = self._masks[address]
        row.removed = True
        self._removed.append(row.mask_id)

    def write(self, now: sa.ColumnElement[float]) -> None:
        """All changes, with the database's time for their time."""
        moment = self._connection.execute(sa.select(now)).scalar_one()
        self._people.write(moment)
        self._many(sa.insert(masks), [row | {"created_at": moment} for row in self._new])
        old = [{"id": mask_id} for mask_id in self._relinked if mask_id not in self._fresh]
        self._many(sa.delete(mask_mailboxes).where(mask_mailboxes.c.mask_id == sa.bindparam("id")), old)
        links = [
            {"mask_id": mask_id, "mailbox_id": box, "position": position}
            for mask_id, boxes in self._relinked.items()
            for position, box in enumerate(boxes)
        ]
        self._many(sa.insert(mask_mailboxes), links)
        one = sa.update(masks).where(masks.c.mask_id == sa.bindparam("id"))
        for name in ("enabled", *_NEW):
            switched = [row for row in self._masks.values() if name in row.changed]
            values = [{"id": row.mask_id, "new": {"enabled": row.enabled, **row.traits}[name]} for row in switched]
            self._many(one.values({name: sa.bindparam("new")}), values)
        self._many(one.values(removed_at=moment), [{"id": mask_id} for mask_id in self._removed])

    def _add(self, entry: Entry, owner_id: str, boxes: tuple[str, ...]) -> None:
        traits = _NEW | entry.traits.said()
        row = _MaskRow(random_id(), owner_id, entry.enabled is not False, False, traits, boxes)
        self._masks[entry.address.bare] = row
        values = {"mask_id": row.mask_id, "address": entry.address.bare, "owner_id": owner_id, "enabled": row.enabled}
        self._new.append(values | traits)
        self._relinked[row.mask_id] = boxes
        self._fresh.add(row.mask_id)

    def _switch(self, row: _MaskRow, said: dict[str, Any]) -> bool:
        changed = {name for name, value in said.items() if {"enabled": row.enabled, **row.traits}[name] != value}
        row.changed |= changed
        row.enabled = said.get("enabled", row.enabled)
        row.traits |= {name: value for name, value in said.items() if name in row.traits}
        return bool(changed)

    def _many(self, statement: sa.Executable, rows: Iterable[dict[str, Any]]) -> None:
        if rows:
            self._connection.execute(statement, list(rows))


def _row_of(row: Any) -> _MaskRow:
    traits = {name: getattr(row, name) for name in _NEW}
    return _MaskRow(row.mask_id, row.owner_id, row.enabled, row.removed_at is not None, traits)
