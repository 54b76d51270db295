"""What the database's errors mean for the queue: the one place that knows drivers' exceptions and SQLSTATEs."""

import sqlite3

from sqlalchemy import exc

from relayd.errors import HoldError, PermanentError, RelaydError, TransientError

_BUSY_STATES = frozenset(
    {
        "40001",  # serialization_failure
        "40P01",  # deadlock_detected
        "55P03",  # lock_not_available
        "57014",  # query_canceled: the statement timeout
    }
)
_OLD_SCHEMA_STATES = frozenset({"42P01", "42703"})
"""undefined_table, undefined_column"""


def translated(error: exc.SQLAlchemyError) -> RelaydError | exc.SQLAlchemyError:
    """One of our errors in the place of SQLAlchemy's; a wrong use of SQLAlchemy stays the bug that it is.

    The text of an integrity or data error quotes values of the row, so only operational ones are quoted, and of
    those the first line: PostgreSQL says there what happened and in later lines with what.
    """
    if isinstance(error, exc.TimeoutError):
        return TransientError("database_busy", "no free connection in the pool", charged=False)
    if isinstance(error, exc.InvalidRequestError | exc.DisconnectionError):
        # The pool gave up on a connection that closed again and again.
        return HoldError("database", "database_unavailable", type(error).__name__)
    if not isinstance(error, exc.DBAPIError):
        return error
    cause = error.orig
    state = getattr(cause, "sqlstate", None)
    name = f"{type(cause).__name__} {state}" if state else type(cause).__name__
    text = str(cause).partition("\n")[0].strip() if isinstance(error, exc.OperationalError) else ""
    if state in _BUSY_STATES or _sqlite_busy(cause):
        return TransientError("database_busy", name, charged=False)
    if state in _OLD_SCHEMA_STATES or text.startswith(("no such table", "no such column")):
        return HoldError("database", "database_not_upgraded", name)
    if isinstance(error, exc.IntegrityError):
        return TransientError("database_conflict", name)
    if isinstance(error, exc.DataError):
        return PermanentError("database_refused_value", name)
    return HoldError("database", "database_unavailable", f"{name}: {text}" if text else name)


def _sqlite_busy(cause: BaseException | None) -> bool:
    code = getattr(cause, "sqlite_errorcode", None)
    # The low byte is the primary code; the rest says which of its kinds.
    return code is not None and code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
