"""The way to the database: one engine, its transactions, its clock and its version, on SQLite and PostgreSQL alike."""

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.dialects import postgresql, sqlite

from relayd.adapters.database_calls import DatabaseCall
from relayd.adapters.database_urls import database_url, path_of, refused, unwritten
from relayd.adapters.group_commit import GroupCommit, OneWriter
from relayd.adapters.prepared import Borrowed, Prepared, Statements, wrapped
from relayd.adapters.schema import HEAD, meta
from relayd.adapters.versions import alembic, known, suits
from relayd.telemetry import names
from relayd.telemetry.fingerprint import fingerprint

T = TypeVar("T")
Insert = postgresql.Insert | sqlite.Insert
"""Both know ON CONFLICT, and spell it alike."""

BUSY_SECONDS = 5.0
"""How long a writer waits for another one's lock on a SQLite file."""
POOL_SECONDS = 10.0
IDLE_SECONDS = 5.0
"""A pooled connection that rested for longer is asked whether it still lives, before it is used."""

_UPGRADE_LOCK = 0x72656C61
"""The advisory lock that upgrades take turns by: `rela` in ASCII, as any number would do."""
UPGRADE_LOCK_SECONDS = 4.0
"""How long an upgrade waits for a table that somebody holds, as a backup does. All later statements wait behind it, and
a daemon's give up after 5 s.
"""

_CLOCKS = {
    # unixepoch('subsec') came only with SQLite 3.42.
    "sqlite": "((julianday('now') - 2440587.5) * 86400.0)",
    # now() stands still inside a transaction, and so does not notice how long a lock was waited for.
    "postgresql": "CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS DOUBLE PRECISION)",
}
_POSTGRES_ARGUMENTS = {
    "connect_timeout": 5,
    # A server that vanished without a word is noticed by the kernel, not by a worker that waits for ever.
    "tcp_user_timeout": 10_000,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "options": "-c statement_timeout=10000 -c lock_timeout=5000 -c idle_in_transaction_session_timeout=30000",
    "application_name": "relayd",
}


class Database:
    """An engine, and the ways to use it. Errors leave it as ours, translated once."""

    def __init__(self, engine: sa.Engine, now: Callable[[], sa.ColumnElement[float]] | None = None) -> None:
        self.engine = engine
        self.dialect = engine.dialect.name
        self.now = now() if now else sa.literal_column(_CLOCKS[self.dialect], sa.Double)
        """The database's clock, as an SQL expression: seconds since the epoch."""
        days = self.now / 86_400
        # PostgreSQL rounds where it casts, and SQLite, which cuts, may have no FLOOR.
        self.today = sa.cast(days if self.dialect == "sqlite" else sa.func.floor(days), sa.Integer)
        """Days since 1970 by the same clock, UTC."""
        # SQLite's own waiting polls, and starves under many threads; a lock hands over in an instant.
        self._turn = OneWriter(BUSY_SECONDS) if self.dialect == "sqlite" else None
        self._waiting: set[object] = set()
        self._attributes = _attributes(engine)
        self._group = GroupCommit(engine, self._turn) if self._turn else None
        # The engine's own connections begin nothing by themselves.
        options: dict[str, Any] = (
            {"relayd_begin": "BEGIN IMMEDIATE"} if self._turn else {"isolation_level": "READ COMMITTED"}
        )
        self._transaction = engine.execution_options(**options)

    @property
    def upgrades_itself(self) -> bool:
        """A SQLite file has no administrator; PostgreSQL waits for `relayd db upgrade`."""
        return self.dialect == "sqlite"

    @contextmanager
    def reading(self, operation: str = "read") -> Iterator[sa.Connection]:
        """A connection on which every statement stands alone. `operation` is what it is measured as."""
        with self._call(operation) as call, self.engine.connect() as connection:
            call.connected()
            yield connection

    @contextmanager
    def writing(self, operation: str = "write") -> Iterator[sa.Connection]:
        """A connection in a transaction: committed at the end, rolled back by any exception."""
        with self._call(operation) as call, self._turn or nullcontext(), self._transaction.begin() as connection:
            call.connected()
            yield connection

    def writing_once(self, operation: str = "write") -> AbstractContextManager[sa.Connection]:
        """For a single writing statement: PostgreSQL is spared the trips of BEGIN and COMMIT."""
        return self.writing(operation) if self._turn else self.reading(operation)

    def prepared(self, statement: Any) -> Prepared:
        """The statement, for `asking` and `change`."""
        return Prepared(statement, self.engine.dialect)

    def asking(self, operation: str) -> Borrowed:
        """As `reading`, for prepared statements."""
        return Borrowed(self.engine, self._call(operation))

    def change(self, operation: str, work: Callable[[Statements], T], *, once: bool = False) -> T:
        """As `writing`, for prepared statements; `once`: `work` runs a single one, which is a transaction by itself.

        `work` may run in another thread than this one, and may not hold a connection of its own.
        """
        if self._group is None:
            with Borrowed(self.engine, self._call(operation), None if once else "BEGIN") as run:
                return work(run)
        with self._call(operation) as call:
            change = self._group.commit(work)
            call.connected(change.began or None)
            if change.error is not None:
                # Of one error of all, each thread raises its own.
                raise wrapped(change.error, self.engine.dialect)
        answer: T = change.answer
        return answer

    def insert(self, table: sa.Table) -> Insert:
        """The dialect's INSERT, the one that knows ON CONFLICT."""
        return sqlite.insert(table) if self.dialect == "sqlite" else postgresql.insert(table)

    def ping(self) -> None:
        """Ask for one row, for readiness and probes."""
        with self.reading("ping") as connection:
            connection.exec_driver_sql("SELECT 1").all()

    @property
    def most(self) -> int:
        """Connections that there may be."""
        return self.engine.pool.size() if isinstance(self.engine.pool, sa.QueuePool) else 0

    def connections(self) -> dict[str, float]:
        """Connections of the pool: `used` and `idle`."""
        # Asked for each time: to close all connections is to have a new pool.
        pool = self.engine.pool
        return {"used": pool.checkedout(), "idle": pool.checkedin()} if isinstance(pool, sa.QueuePool) else {}

    def waiting(self) -> int:
        """Threads that wait for a connection; on SQLite, also for their turn to write."""
        return len(self._waiting)

    @property
    def exists(self) -> bool:
        """False for a SQLite file that nobody has made yet. Of a server only a connection can tell."""
        return self.dialect != "sqlite" or path_of(self.engine.url).exists()

    def close(self) -> None:
        """Close the connections that nobody uses."""
        self.engine.dispose()

    def _call(self, operation: str) -> DatabaseCall:
        return DatabaseCall(operation, self._attributes, self._waiting)


def _attributes(engine: sa.Engine) -> dict[str, str]:
    """What every span of a call tells. Of a file the path may name somebody."""
    name = engine.url.database
    if engine.dialect.name == "sqlite" or not name:
        return {names.DB_SYSTEM: engine.dialect.name}
    return {names.DB_SYSTEM: engine.dialect.name, names.DB_NAMESPACE: name}


def connect(
    url: str, *, pool_size: int, now: Callable[[], sa.ColumnElement[float]] | None = None, read_only: bool = False
) -> Database:
    """The database behind the URL. Nothing is opened yet; `now` replaces its clock in tests. `read_only`: it refuses
    whatever would change it, and no file is made.
    """
    parsed = database_url(url)
    options: dict[str, Any] = {
        "hide_parameters": True,
        "pool_size": pool_size,
        "max_overflow": 0,
        "pool_timeout": POOL_SECONDS,
    }
    if parsed.get_backend_name() == "sqlite":
        opened = unwritten(parsed) if read_only else parsed
        engine = sa.create_engine(opened, connect_args={"timeout": BUSY_SECONDS}, **options)
        event.listen(engine, "connect", _prepare_reader if read_only else _prepare_sqlite)
        event.listen(engine, "begin", _begin)
    else:
        arguments = {name: value for name, value in _POSTGRES_ARGUMENTS.items() if name not in parsed.query}
        engine = sa.create_engine(parsed, connect_args=arguments, isolation_level="AUTOCOMMIT", **options)
        if read_only:
            event.listen(engine, "connect", _forbid_writing)
        _ping_rested(engine)
    return Database(engine, now)


def _prepare_reader(connection: sqlite3.Connection, _: object) -> None:
    connection.isolation_level = None


def _forbid_writing(connection: Any, _: object) -> None:
    # By the server, for every transaction of this session: a role that may write cannot by mistake.
    connection.execute("SET default_transaction_read_only = on")
    connection.commit()


def _prepare_sqlite(connection: sqlite3.Connection, _: object) -> None:
    # None: the driver begins nothing on its own. `_begin` does, so that a writer takes its lock before it reads.
    connection.isolation_level = None
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            break
        except sqlite3.OperationalError as error:
            # The change of mode, alone of all statements, does not wait for locks.
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
    # FULL: a commit is on the disk before it returns, or `sending` would be no promise.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


def _begin(connection: sa.Connection) -> None:
    if begin := connection.get_execution_options().get("relayd_begin"):
        connection.exec_driver_sql(begin)


def _ping_rested(engine: sa.Engine) -> None:
    """SQLAlchemy's pool_pre_ping, without its trip to the server before every single statement under load."""

    def rested(_: object, record: Any) -> None:
        record.info["rested_at"] = time.monotonic()

    def ping(connection: Any, record: Any, _: object) -> None:
        if time.monotonic() - record.info.get("rested_at", time.monotonic()) < IDLE_SECONDS:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error:
            raise exc.DisconnectionError from None

    event.listen(engine, "checkin", rested)
    event.listen(engine, "checkout", ping)


def version(database: Database) -> str | None:
    """The revision that the database is at; None where relayd has never been."""
    with database.reading() as connection:
        return _version(connection)


def _version(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return found


def upgrade(database: Database, *, lock_seconds: float = UPGRADE_LOCK_SECONDS) -> None:
    """Bring the tables to this program's version. Any number of processes may do it at once: one does, others wait.
    Newer tables that this program works on are left alone.

    Raises TransientError `database_busy`, with nothing changed, where somebody holds a table for `lock_seconds`.
    """
    with database.writing() as connection:
        if database.dialect == "postgresql":
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
            connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_UPGRADE_LOCK})")
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = {round(lock_seconds * 1000)}")
        found = _version(connection)
        if suits(connection, found):
            return
        _refuse_newer(found)

        from alembic import command

        config = alembic()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def check_version(database: Database, *, may_upgrade: bool = True) -> str:
    """The version of the tables, on which this relayd works: its own, or a newer one that says so. Others are refused.
    A SQLite file that is behind is upgraded here, if that may be: it has no other user.
    """
    found = version(database)
    if found == HEAD:
        return HEAD
    with database.reading() as connection:
        if found is not None and suits(connection, found):
            return found
    _refuse_newer(found)
    if database.upgrades_itself and may_upgrade:
        upgrade(database)
        return HEAD
    raise refused(
        "has no tables yet" if found is None else f"is at version {found}, and this relayd needs {HEAD}",
        "run once, before the replicas start: relayd db upgrade",
        "the database",
    )


def works_on(database: Database) -> bool:
    """Whether this relayd works on the tables as they are."""
    with database.reading() as connection:
        return suits(connection, _version(connection))


def _refuse_newer(found: str | None) -> None:
    if found is not None and found not in known():
        raise refused(
            f"is at version {found}, and no longer works with this relayd (up to {HEAD})",
            "it was upgraded by a newer relayd: run that one, or restore the database from before.",
            "the database",
        )


def check_secret(database: Database, secrets: Sequence[bytes], *, remember: bool = False) -> None:
    """Refuse a database that belongs to other secrets, so that a deployment cannot take up a foreign directory.

    The database keeps the fingerprints of the secrets that it was last run with. One in common is enough, so that a
    rotation can go on, or back. `remember` keeps these from now on, and is for the daemon alone: an operator's
    machine may lag behind.
    """
    prints = [fingerprint(secret) for secret in secrets]
    with database.writing() if remember else database.reading() as connection:
        if remember:
            # First, so that of two daemons at once the second one is checked against the first.
            ours = database.insert(meta).values(name="secret", value=" ".join(prints))
            connection.execute(ours.on_conflict_do_nothing())
        stored = connection.execute(sa.select(meta.c.value).where(meta.c.name == "secret")).scalar_one_or_none()
        if stored is not None and not set(stored.split()) & set(prints):
            raise refused(
                "is not the secret that this database was used with",
                "set the old secret, or put the new one in front of it: RELAYD_SECRET=new,old",
                "RELAYD_SECRET",
            )
        if remember and stored != " ".join(prints):
            connection.execute(sa.update(meta).where(meta.c.name == "secret").values(value=" ".join(prints)))
