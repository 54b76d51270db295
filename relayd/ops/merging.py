"""One table of an import against what is there: which rows are new, which differ, and which cannot be."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from relayd.errors import Problem
from relayd.ops.people import random_id

_BATCH = 300
"""Rows asked for at once: SQLite takes 32,766 values a statement, and its rows of several values in a list of 500."""

Record = dict[str, Any]


@dataclass(slots=True)
class Counts:
    """What an import did to one table, or would do."""

    added: int = 0
    changed: int = 0
    unchanged: int = 0


@dataclass(frozen=True, slots=True)
class Rules:
    """What makes two rows of a table the same, and which of their columns may differ."""

    table: sa.Table
    key: tuple[str, ...]
    """The columns that a person knows the row by."""
    id: str | None
    """The column that everything else knows it by; None: the key is all."""
    defaults: Record
    """What a new row has where the import says nothing."""
    keeps: frozenset[str] = frozenset()
    """Columns that count for new rows only."""
    renames: bool = False
    """The same id may come with another key."""
    guard: Callable[[Any, Record], tuple[str, str] | None] = lambda _, __: None
    """What forbids to change the row (first) into the record: the problem and the hint."""


@dataclass(slots=True)
class Merge:
    """The import of one table, in portions. Rows are written as they come: the transaction takes them all back."""

    connection: sa.Connection
    rules: Rules
    moment: float
    """When new rows are made, where the import does not say."""
    problems: list[Problem]
    counts: Counts = field(default_factory=Counts)
    _seen: set[tuple[str, ...]] = field(default_factory=set)

    def put(self, records: Sequence[Record]) -> None:
        """Make rows as the records say. Each is given its `outcome` and its id; one that cannot be is left without."""
        for start in range(0, len(records), _BATCH):
            self._put(records[start : start + _BATCH])

    def _put(self, records: Sequence[Record]) -> None:
        rules = self.rules
        here = {self._key(row): row for row in self._found(rules.key, (self._key(one) for one in records))}
        ids = [one[rules.id] for one in records if rules.id and rules.id in one]
        by_id = {row[rules.id]: row for row in self._found((rules.id,), ((one,) for one in ids))} if rules.id else {}
        new: list[Record] = []
        for record in records:
            key, known_id = self._key(record), record.pop(rules.id, None) if rules.id else None
            row = here.get(key) or (by_id.get(known_id) if rules.renames else None)
            wrong = self._clash(key, known_id, row, by_id) or (rules.guard(row, record) if row else None)
            if wrong:
                self.problems.append(Problem(record["place"], *wrong))
            elif row:
                self._change(row, record)
            else:
                values = {name: record.get(name, default) for name, default in self._columns()}
                if rules.id:
                    values[rules.id] = record[rules.id] = known_id or random_id()
                new.append(values)
                self._count(record, "added")
        if new:
            self.connection.execute(sa.insert(rules.table), new)

    def _clash(
        self, key: tuple[str, ...], known_id: str | None, row: Any, by_id: dict[Any, Any]
    ) -> tuple[str, str] | None:
        """Why the record cannot be this row, or any."""
        rules = self.rules
        ids = [(rules.id, known_id)] if rules.id and known_id else []
        marks = {("key", *key), *ids}
        if marks & self._seen:
            return "stands in the file already", "keep one of the two."
        self._seen |= marks
        if known_id and row and row[rules.id] != known_id:
            return (
                "is there already, under another id",
                f"leave out {rules.id!r} to change the one that is there.",
            )
        if known_id in by_id and row is None:
            return "has the id of another one that is there", f"leave out {rules.id!r}: a new one will be made."
        return None

    def _change(self, row: Any, record: Record) -> None:
        rules = self.rules
        if rules.id:
            record[rules.id] = row[rules.id]
        changed = {
            name: record[name]
            for name, _ in self._columns()
            if name in record and name not in rules.keeps and record[name] != row[name]
        }
        if not changed:
            self._count(record, "unchanged")
            return
        names = (rules.id,) if rules.id else rules.key
        same = sa.and_(*(rules.table.c[name] == row[name] for name in names))
        self.connection.execute(sa.update(rules.table).where(same).values(changed))
        self._count(record, "changed")

    def also_changed(self, record: Record) -> None:
        """Count a row as changed for what is kept of it in another table."""
        if record["outcome"] == "unchanged":
            self.counts.unchanged -= 1
            self._count(record, "changed")

    def _count(self, record: Record, outcome: str) -> None:
        record["outcome"] = outcome
        setattr(self.counts, outcome, getattr(self.counts, outcome) + 1)

    def _columns(self) -> Iterable[tuple[str, Any]]:
        return {"created_at": self.moment, **dict.fromkeys(self.rules.key), **self.rules.defaults}.items()

    def _key(self, row: Any) -> tuple[str, ...]:
        return tuple(row[name] for name in self.rules.key)

    def _found(self, names: tuple[str, ...], values: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
        wanted = list(dict.fromkeys(values))
        if not wanted:
            return iter(())
        table = self.rules.table
        if len(names) == 1:
            found = sa.select(table).where(table.c[names[0]].in_([value for (value,) in wanted]))
            return iter(self.connection.execute(found).mappings().all())
        columns = [sa.column(name, table.c[name].type) for name in names]
        # A join with a list of values: SQLite reads the whole table for `(a, b) IN (...)`.
        listed = sa.values(*columns, name="wanted").data(wanted).cte("wanted")
        same = sa.and_(*(table.c[name] == listed.c[name] for name in names))
        return iter(self.connection.execute(sa.select(table).join(listed, same)).mappings().all())


def relink(connection: sa.Connection, links: sa.Table, key: str, wanted: Mapping[str, Sequence[str]]) -> set[str]:
    """Make these rows (ids) forward to these mailboxes (ids, in order), and tell which did not before."""
    changed: set[str] = set()
    ids = list(wanted)
    for start in range(0, len(ids), _BATCH):
        part = ids[start : start + _BATCH]
        found: dict[str, list[str]] = {one: [] for one in part}
        for row in connection.execute(sa.select(links).where(links.c[key].in_(part)).order_by(links.c.position)):
            found[row._mapping[key]].append(row.mailbox_id)
        other = [one for one in part if found[one] != list(wanted[one])]
        if old := [one for one in other if found[one]]:
            connection.execute(sa.delete(links).where(links.c[key].in_(old)))
        new = [
            {key: one, "mailbox_id": box, "position": position}
            for one in other
            for position, box in enumerate(wanted[one])
        ]
        if new:
            connection.execute(sa.insert(links), new)
        changed |= set(other)
    return changed
