"""Statements that every mail needs: compiled once, and run on the driver's own connection.

SQLAlchemy still writes the SQL, names its parameters and pools the connections. What is spared is its way from a
statement to the driver and back, which costs several times what the database does: docs/adr/0014 has figures.
"""

from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import exc

from relayd.adapters.database_calls import DatabaseCall

Driver = Any
"""A connection of sqlite3 or psycopg: both have `execute`, and answer with a cursor."""
_Processor = Callable[[Any], Any]


class Answer(NamedTuple):
    """What a statement answered."""

    rows: Sequence[Any]
    """Named tuples."""
    changed: int
    """Rows that an UPDATE changed. Of an INSERT that left a row alone PostgreSQL's driver says nothing: let that
    return a row.
    """

    @property
    def first(self) -> Any:
        """The first row, or None."""
        return self.rows[0] if self.rows else None


class Prepared:
    """One statement for one dialect. Its parameters are always the same names. Lists cannot be parameters."""

    def __init__(self, statement: Any, dialect: sa.Dialect) -> None:
        self._statement = statement
        self._dialect = dialect
        self._sql: str | None = None
        self._order: Sequence[str] | None = None
        """Names in the order of their places, for a driver that knows no names."""
        self._fixed: dict[str, Any] = {}
        self._called: list[tuple[str, Callable[[], Any]]] = []
        """Parameters whose values a test's clock gives."""
        self._bound: list[tuple[str, _Processor]] = []
        columns = list(getattr(statement, "exported_columns", ()))
        row: Any = namedtuple("Row", [column.name for column in columns])  # type: ignore[misc]
        self._row = row._make
        found = [(at, self._reader(column)) for at, column in enumerate(columns)]
        self._read = [(at, processor) for at, processor in found if processor is not None]

    def run(self, driver: Driver, values: Mapping[str, Any]) -> Answer:
        """Raises what the driver raises."""
        if self._sql is None:
            # Which columns an INSERT has is told by the names of its parameters.
            self._compile(list(values))
        given = {**self._fixed, **values}
        for name, value in self._called:
            given[name] = value()
        for name, processor in self._bound:
            given[name] = processor(given[name])
        order = self._order
        cursor = driver.execute(self._sql, given if order is None else [given[name] for name in order])
        if cursor.description is None:
            return Answer((), cursor.rowcount)
        return Answer([self._named(row) for row in cursor.fetchall()], cursor.rowcount)

    def _named(self, row: Sequence[Any]) -> Any:
        if self._read:
            row = list(row)
            for at, processor in self._read:
                row[at] = processor(row[at])
        return self._row(row)

    def _compile(self, names: list[str]) -> None:
        compiled = self._statement.compile(dialect=self._dialect, column_keys=names)
        if any(bind.expanding and name in names for name, bind in compiled.binds.items()):
            raise TypeError("a list cannot be a parameter of a prepared statement")
        # Lists that stand in the statement are written out.
        written = compiled.construct_expanded_state(dict.fromkeys(names))
        self._called = [(name, bind.callable) for name, bind in compiled.binds.items() if bind.callable is not None]
        self._fixed = {name: value for name, value in written.parameters.items() if name not in names}
        self._bound = [(name, processor) for name, processor in written.processors.items() if name in names]
        self._order = written.positiontup
        # Last: another thread may look at it now.
        self._sql = written.statement

    def _reader(self, column: Any) -> _Processor | None:
        # Floats come as floats from both drivers; PostgreSQL's dialect would ask which of its types it was.
        if isinstance(column.type, sa.Float):
            return None
        processor: _Processor | None = self._implementation(column).result_processor(self._dialect, None)
        return processor

    def _implementation(self, element: Any) -> Any:
        return element.type.dialect_impl(self._dialect)


class Statements:
    """Runs prepared statements on one connection."""

    __slots__ = ("_driver",)

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def __call__(self, statement: Prepared, values: Mapping[str, Any]) -> Answer:
        return statement.run(self._driver, values)


class Borrowed:
    """A connection of the engine's pool, as a context: alone for each statement, or one transaction. A connection
    that broke does not go back, and those that were opened before it neither.
    """

    # A class, and not a generator for each of its parts: every mail passes here five times.
    __slots__ = ("_begin", "_call", "_driver", "_engine", "_pooled")

    def __init__(self, engine: sa.Engine, call: DatabaseCall, begin: str | None = None) -> None:
        """`begin`: what opens a transaction; None for none."""
        self._engine = engine
        self._call = call
        self._begin = begin
        self._pooled: Any = None

    def __enter__(self) -> Statements:
        self._call.__enter__()
        try:
            self._pooled = self._engine.raw_connection()
            self._driver: Driver = self._pooled.driver_connection
            if self._begin is not None:
                self._driver.execute(self._begin)
        except BaseException as error:
            self._leave(error)
            raise
        self._call.connected()
        return Statements(self._driver)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None and self._begin is not None:
            try:
                self._driver.execute("COMMIT")
            except BaseException as failure:
                self._leave(failure)
                raise
        self._leave(error)

    def _leave(self, error: BaseException | None) -> None:
        """Give the connection back. Raises our form of an error that is the driver's."""
        dialect = self._engine.dialect
        try:
            if self._pooled is not None:
                if isinstance(error, dialect.loaded_dbapi.Error) and dialect.is_disconnect(error, self._driver, None):
                    self._pooled.invalidate()
                    # What else is in the pool was opened to the same server, and is as dead.
                    self._engine.dispose()
                else:
                    # What is left of a transaction is rolled back by the pool.
                    self._pooled.close()
        finally:
            self._call.ended(None if error is None else wrapped(error, dialect))


def wrapped(error: BaseException, dialect: sa.Dialect) -> BaseException:
    """A driver's error as SQLAlchemy would have raised it; others as they are."""
    drivers = dialect.loaded_dbapi.Error
    if not isinstance(error, drivers):
        return error
    return exc.DBAPIError.instance(None, None, error, drivers, hide_parameters=True, dialect=dialect)
