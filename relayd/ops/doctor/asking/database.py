"""Looking into the database without touching it: it is opened for reading only, and a SQLite file is never made."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeVar
from urllib.parse import unquote

import sqlalchemy as sa

from relayd.adapters.database import Database, check_secret, connect, version, works_on
from relayd.adapters.directory import SqlDirectory
from relayd.adapters.schema import deliveries, domain_rules, masks, replicas
from relayd.adapters.versions import known
from relayd.errors import ConfigurationError, RelaydError
from relayd.ops.doctor.local_facts import DatabaseFacts, Looked, Sends
from relayd.ops.doctor.setup import Setup

T = TypeVar("T")

DAY = 86_400.0
ALIVE_SECONDS = 60.0
"""A replica that was not seen for longer has gone: it says so every few seconds."""

_MAGIC = b"SQLite format 3\0"
_MOUNTS = Path("/proc/self/mountinfo")


def look(setup: Setup, now: Callable[[], float] = time.time) -> DatabaseFacts:
    """Everything that can be found out. Raises UnknownError where there is no URL."""
    url = setup.database_url
    try:
        database = connect(url, pool_size=1, read_only=True)
    except ConfigurationError as error:
        return DatabaseFacts(None, error.problems[0].problem, error.problems[0].hint)
    try:
        return _look_at_file(setup, database, now) if database.dialect == "sqlite" else _look(setup, database, now)
    finally:
        database.close()


def _look_at_file(setup: Setup, database: Database, now: Callable[[], float]) -> DatabaseFacts:
    path = Path(unquote((database.engine.url.database or "").removeprefix("file:"))).resolve()
    filesystem = filesystem_of(path)
    if trouble := _trouble_of(path):
        return DatabaseFacts("sqlite", *trouble, filesystem=filesystem)
    writable = os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
    return _look(setup, database, now, filesystem=filesystem, writable=writable)


def _trouble_of(path: Path) -> tuple[str, str] | None:
    """What keeps a file from being a database of ours, and the hint."""
    try:
        with path.open("rb") as file:
            head = file.read(len(_MAGIC))
    except FileNotFoundError:
        return "there is no such file", "make it: relayd db upgrade"
    except OSError as error:
        return f"the file cannot be read ({type(error).__name__})", "give this user the right to read and write it"
    if head and head != _MAGIC:
        return "the file is no SQLite database", "name relayd's own file in RELAYD_DATABASE_URL"
    return None


def _look(
    setup: Setup,
    database: Database,
    now: Callable[[], float],
    *,
    filesystem: str = "",
    writable: bool | None = None,
) -> DatabaseFacts:
    kind: Literal["sqlite", "postgresql"] = "sqlite" if database.dialect == "sqlite" else "postgresql"
    try:
        database.ping()
    except RelaydError as error:
        hint = "check that it runs, that this host reaches it, and the name and password in the URL"
        return DatabaseFacts(kind, f"it cannot be used ({error})", hint, filesystem=filesystem)
    postgres = kind == "postgresql"
    return DatabaseFacts(
        kind,
        "",
        version=_looked(lambda: version(database) or ""),
        known_versions=tuple(known()),
        suitable=_looked(lambda: works_on(database)),
        secret=_looked(lambda: _secret_fits(database, setup)),
        empty=_looked(SqlDirectory(database).is_empty),
        domains=_looked(lambda: _domains(database)),
        sends=_looked(lambda: _sends(database)),
        replicas=_looked(lambda: _replicas(database)),
        skew=_looked(lambda: _skew(database, now)),
        writable=Looked(writable) if writable is not None else _looked(lambda: _is_writable(database)),
        connections=_looked(lambda: _connections(database)) if postgres else Looked(why="a file has no such limit"),
        filesystem=filesystem,
    )


def _looked(find: Callable[[], T]) -> Looked[T]:
    try:
        return Looked(find())
    except RelaydError as error:
        return Looked(why=f"the database does not tell ({error.reason})")


def _secret_fits(database: Database, setup: Setup) -> bool:
    try:
        check_secret(database, setup.values.get("secrets") or ())
    except ConfigurationError:
        return False
    return True


def _domains(database: Database) -> dict[str, int]:
    """Masks that are not removed, and rules, by domain."""
    found: dict[str, int] = {}
    with database.reading() as connection:
        addresses = connection.execute(sa.select(masks.c.address).where(masks.c.removed_at.is_(None)))
        for (address,) in addresses:
            domain = address.rpartition("@")[2]
            found[domain] = found.get(domain, 0) + 1
        for (domain,) in connection.execute(sa.select(domain_rules.c.domain).where(domain_rules.c.enabled)):
            found[domain] = found.get(domain, 0) + 1
    return found


def _sends(database: Database) -> Sends:
    """Of the last 24 hours, by the ledger. `updated_at` of a mail that was sent is when that was recorded."""
    d = deliveries
    minute = sa.cast(d.c.updated_at / 60, sa.Integer).label("minute")
    since = database.now - DAY
    # `created_at` is indexed, and never after `updated_at`; what was tried for longer than a week is not counted.
    counted = (
        sa.select(sa.func.count().label("mails"))
        .where(d.c.state == "sent", d.c.created_at >= since - 7 * DAY, d.c.updated_at >= since)
        .group_by(minute)
    ).subquery()
    with database.reading() as connection:
        row = connection.execute(
            sa.select(
                sa.func.coalesce(sa.func.sum(counted.c.mails), 0), sa.func.coalesce(sa.func.max(counted.c.mails), 0)
            )
        ).one()
    return Sends(int(row[0]), int(row[1]))


def _replicas(database: Database) -> int:
    alive = sa.select(sa.func.count()).select_from(replicas).where(replicas.c.seen_at >= database.now - ALIVE_SECONDS)
    with database.reading() as connection:
        return int(connection.execute(alive).scalar_one())


def _skew(database: Database, now: Callable[[], float]) -> float:
    with database.reading() as connection:
        before = now()
        theirs = float(connection.execute(sa.select(database.now)).scalar_one())
        return (before + now()) / 2 - theirs


def _is_writable(database: Database) -> bool:
    with database.reading() as connection:
        standby = connection.exec_driver_sql("SELECT pg_is_in_recovery()").scalar_one()
        # Our own session is read-only, because we made it so: what counts is what it was before.
        before = "SELECT reset_val FROM pg_settings WHERE name = 'default_transaction_read_only'"
        read_only = connection.exec_driver_sql(before).scalar_one()
    return not standby and read_only != "on"


def _connections(database: Database) -> int:
    with database.reading() as connection:
        most = int(connection.exec_driver_sql("SHOW max_connections").scalar_one())
        reserved = int(connection.exec_driver_sql("SHOW superuser_reserved_connections").scalar_one())
    return most - reserved


def filesystem_of(path: Path, mounts: str | None = None) -> str:
    """The kind of file system that a file lies on, by Linux's table of mounts; empty where that cannot be told."""
    if mounts is None:
        try:
            mounts = _MOUNTS.read_text()
        except OSError:
            return ""
    best, kind = "", ""
    for line in mounts.splitlines():
        mount, _, rest = line.partition(" - ")
        fields = mount.split()
        if len(fields) < 5 or not rest:
            continue
        point = fields[4].encode().decode("unicode_escape")
        # A later mount on the same point hides the earlier one.
        if _is_below(path, point) and len(point) >= len(best):
            best, kind = point, rest.split()[0]
    return kind


def _is_below(path: Path, point: str) -> bool:
    return str(path) == point or str(path).startswith(point if point.endswith("/") else f"{point}/")
