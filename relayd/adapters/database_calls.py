"""One call to the database, seen from outside: how long it took, what of that was waiting, and what went wrong."""

from collections.abc import Mapping
from time import perf_counter
from types import TracebackType

from opentelemetry.trace import Span
from sqlalchemy import exc

from relayd.adapters.database_errors import translated
from relayd.telemetry import instruments, names
from relayd.telemetry.calls import TracedCall, client_span

WORTH_TELLING = 0.001
"""Seconds of waiting from which it is told: most calls wait for nothing, and five of them belong to each mail."""


class DatabaseCall(TracedCall):
    """A context around a connection. SQLAlchemy's errors leave it as ours, translated once, and so are measured."""

    __slots__ = ("_about", "_waiting")

    def __init__(self, operation: str, about: Mapping[str, str], waiting: set[object]) -> None:
        """`about`: what its span tells of the database. `waiting`: who waits for a connection now; a set's own
        operations are atomic.
        """
        super().__init__("database", operation, names.DATABASE)
        self._about = about
        self._waiting = waiting

    def _begin(self) -> Span:
        attributes = {**self._about, names.DB_OPERATION: self._operation}
        return client_span(f"{names.DATABASE} {self._operation}", attributes)

    def __enter__(self) -> "DatabaseCall":
        self._waiting.add(self)
        super().__enter__()
        return self

    def connected(self, at: float | None = None) -> None:
        """The connection is there, or was at that time by `perf_counter`."""
        self._waiting.discard(self)
        seconds = (perf_counter() if at is None else at) - self.began
        if seconds >= WORTH_TELLING:
            instruments.connection_waited(seconds)
            self.tell(names.DB_WAITED, round(seconds, 6))

    def ended(self, error: BaseException | None) -> None:
        """Leave by hand. Raises our form of an error that is SQLAlchemy's."""
        self.__exit__(None if error is None else type(error), error, None)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._waiting.discard(self)
        ours = translated(error) if isinstance(error, exc.SQLAlchemyError) else error
        super().__exit__(kind, ours, traceback)
        if ours is not error and ours is not None:
            # Neither cause nor context: the driver's text may quote a row.
            raise ours from None
