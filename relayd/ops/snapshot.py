"""One moment of the whole database for reading, however long the reading takes, without keeping the daemon waiting."""

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from relayd.adapters.database import Database

_BEGIN = {"sqlite": "BEGIN", "postgresql": "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"}


@contextmanager
def snapshot(database: Database) -> Iterator[sa.Connection]:
    """All statements on the connection see the same moment."""
    with database.reading("snapshot") as connection:
        connection.exec_driver_sql(_BEGIN[database.dialect])
        without_limits(database, connection)
        yield connection
        connection.exec_driver_sql("ROLLBACK")


def without_limits(database: Database, connection: sa.Connection) -> None:
    """Let the transaction's statements take as long as they need: the daemon's limits are for single mails."""
    if database.dialect == "postgresql":
        for limit in ("statement_timeout", "idle_in_transaction_session_timeout"):
            connection.exec_driver_sql(f"SET LOCAL {limit} = 0")
