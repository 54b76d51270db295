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

_STATE_CAUSES = {
    "28000": "the login was refused",
    "28P01": "the password was refused",
    "3D000": "the server has no such database",
    "42501": "the user lacks a privilege",
    "53100": "the server's disk is full",
    "53300": "the server has too many connections",
    "57P01": "the server is stopping",
    "57P03": "the server is starting or stopping",
}
_CLASS_CAUSES = {"ConnectionTimeout": "the server did not answer in time"}
_SQLITE_CAUSES = {
    sqlite3.SQLITE_CANTOPEN: "the file cannot be opened",
    sqlite3.SQLITE_CORRUPT: "the file is damaged",
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_IOERR: "the disk could not be read or written",
    sqlite3.SQLITE_NOTADB: "the file is no database",
    sqlite3.SQLITE_READONLY: "the file cannot be written",
}


def translated(error: exc.SQLAlchemyError) -> RelaydError | exc.SQLAlchemyError:
    """One of our errors in the place of SQLAlchemy's; a wrong use of SQLAlchemy stays the bug that it is.

    The driver's text is never part of it: that may quote a row, or a password that a wrong URL moved into the host.
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
    if state in _BUSY_STATES or _sqlite_busy(cause):
        return TransientError("database_busy", name, charged=False)
    if state in _OLD_SCHEMA_STATES or _sqlite_old_schema(cause):
        return HoldError("database", "database_not_upgraded", name)
    if isinstance(error, exc.IntegrityError):
        return TransientError("database_conflict", name, dependency="database")
    if isinstance(error, exc.DataError):
        return PermanentError("database_refused_value", name)
    known = _STATE_CAUSES.get(state or "") or _CLASS_CAUSES.get(type(cause).__name__) or _sqlite_cause(cause)
    return HoldError("database", "database_unavailable", f"{name}: {known}" if known else name)


def _sqlite_busy(cause: BaseException | None) -> bool:
    return _sqlite_code(cause) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _sqlite_old_schema(cause: BaseException | None) -> bool:
    # SQLite has no code of its own for it; the text is read here, and told to nobody.
    return isinstance(cause, sqlite3.Error) and str(cause).startswith(("no such table", "no such column"))


def _sqlite_cause(cause: BaseException | None) -> str | None:
    return _SQLITE_CAUSES.get(_sqlite_code(cause))


def _sqlite_code(cause: BaseException | None) -> int:
    """The primary code, in the low byte; the rest says which of its kinds. 0 (OK) where there is none."""
    return int(getattr(cause, "sqlite_errorcode", 0)) & 0xFF
