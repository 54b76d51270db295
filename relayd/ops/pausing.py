"""Pauses, as an operator puts them down and takes them back. Every daemon looks for them, and obeys within seconds."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from relayd.adapters.database import Database
from relayd.adapters.schema import owners, pauses
from relayd.ops.owner_views import find_owner
from relayd.ops.refusals import WrongEntryError
from relayd.telemetry.redaction import redact

Scope = Literal["all", "domain", "owner"]
Result = Literal["paused", "reason changed", "resumed", "unchanged"]

MAX_REASON = 200
"""Characters: a line of a terminal or two."""


@dataclass(frozen=True, slots=True)
class Paused:
    """A pause that is in force. The names are the keys of the JSON."""

    scope: Scope
    subject: str
    """Empty, the domain, or the owner's name (their id, where they have gone)."""
    reason: str
    since: float
    """Seconds since the epoch, by the database's clock."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What shall be paused, or go on. Owners by name, id or mailbox."""

    everything: bool = False
    domains: Sequence[str] = ()
    owners: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """What came of one part of a choice. The names are the keys of the JSON."""

    scope: Scope
    subject: str
    result: Result


def paused(database: Database) -> list[Paused]:
    """All that is paused now: everything, then domains, then owners, each by name."""
    query = (
        sa.select(pauses, owners.c.name)
        .outerjoin(owners, sa.and_(pauses.c.scope == "owner", owners.c.owner_id == pauses.c.subject))
        .order_by(pauses.c.scope, owners.c.name, pauses.c.subject)
    )
    with database.reading("pauses") as connection:
        rows = connection.execute(query).all()
    return [Paused(row.scope, row.name or row.subject, row.reason, row.created_at) for row in rows]


def pause(database: Database, choice: Choice, reason: str) -> list[Change]:
    """Hold this mail back; all of it, or nothing. What is paused already stays so since when it was, for this reason.
    Raises RefusedError where there is no such owner.
    """
    insert = database.insert(pauses).values(created_at=database.now)
    put = insert.on_conflict_do_update(index_elements=["scope", "subject"], set_={"reason": insert.excluded.reason})
    changes = []
    with database.writing("pause") as connection:
        for scope, subject, name in _chosen(connection, choice):
            before = connection.execute(sa.select(pauses.c.reason).where(_is(scope, subject))).scalar_one_or_none()
            connection.execute(put, {"scope": scope, "subject": subject, "reason": reason})
            result: Result = "paused" if before is None else "unchanged" if before == reason else "reason changed"
            changes.append(Change(scope, name, result))
    return changes


def resume(database: Database, choice: Choice) -> list[Change]:
    """Let this mail go on; all of it, or nothing. Raises RefusedError where there is no such owner."""
    changes = []
    with database.writing("resume") as connection:
        for scope, subject, name in _chosen(connection, choice):
            gone = connection.execute(sa.delete(pauses).where(_is(scope, subject))).rowcount
            changes.append(Change(scope, name, "resumed" if gone else "unchanged"))
    return changes


def reason_of(text: str) -> str:
    """Why, in a line that everybody may read: it stands in `relayd status`. Raises WrongEntryError."""
    line = text.strip()
    if not line or not line.isprintable() or len(line) > MAX_REASON:
        raise WrongEntryError(
            f"a reason is one line of at most {MAX_REASON} printable characters", "write a few words."
        )
    if redact(line) != line:
        raise WrongEntryError(
            "a reason holds no address, nor an @: it is shown to whoever looks at the status",
            "write what happened, and to whom by the id that `relayd owners show` tells.",
        )
    return line


def _chosen(connection: sa.Connection, choice: Choice) -> Iterator[tuple[Scope, str, str]]:
    """Scope, subject and the subject's name of each part, once."""
    if choice.everything:
        yield "all", "", ""
    for domain in dict.fromkeys(choice.domains):
        yield "domain", domain, domain
    named = dict(_owner(connection, text) for text in choice.owners)
    for owner_id, name in named.items():
        yield "owner", owner_id, name


def _owner(connection: sa.Connection, text: str) -> tuple[str, str]:
    """Id and name. One who has gone is known by the id alone, as long as a pause names it."""
    gone = ~sa.exists().where(owners.c.owner_id == pauses.c.subject)
    if connection.execute(sa.select(pauses.c.subject).where(_is("owner", text), gone)).first():
        return text, text
    row: Any = find_owner(connection, text)
    return row.owner_id, row.name


def _is(scope: Scope, subject: str) -> sa.ColumnElement[bool]:
    return sa.and_(pauses.c.scope == scope, pauses.c.subject == subject)
