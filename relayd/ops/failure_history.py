"""What the ledger knows of a dead letter's failures, for its record: a courtesy, for which nothing waits or fails."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from relayd.adapters.database import Database, connect, version, works_on
from relayd.adapters.schema import HEAD, attempts, retries
from relayd.adapters.schema import deliveries as d
from relayd.adapters.storable import storable
from relayd.errors import ConfigurationError, HoldError, TransientError
from relayd.ops.letter_facts import trace_id

_DELIVERIES = sa.select(d.c.mail_id, d.c.delivery_id, d.c.previous_trace, d.c.trace).order_by(d.c.created_at)
_ATTEMPTS = sa.select(attempts.c.delivery_id, attempts.c.trace).order_by(attempts.c.ended_at)
_FIRST = sa.select(retries.c.message_id, retries.c.first_at)


@dataclass(frozen=True, slots=True)
class Past:
    """Of one message and its mail."""

    first_failed_at: float = 0.0
    """When it first failed and was tried again, in seconds since the epoch; 0 where it never was."""
    trace_ids: tuple[str, ...] = ()
    """Of all attempts at the mail's deliveries, as far as they are on record."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Which message."""

    message_id: str
    """In the mail queue."""
    mail_id: str | None


class LedgerHistory:
    """Asks the ledger, and writes nothing."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, asked: Sequence[Asked]) -> list[Past]:
        """In the order of what is asked: a handful, in three questions. Raises HoldError or TransientError."""
        mail_ids = [one.mail_id for one in asked if one.mail_id]
        with self._database.reading("history") as connection:
            deliveries = connection.execute(_DELIVERIES.where(d.c.mail_id.in_(mail_ids))).all() if mail_ids else []
            ids = [row.delivery_id for row in deliveries]
            tried = connection.execute(_ATTEMPTS.where(attempts.c.delivery_id.in_(ids))).all() if ids else []
            failed = _FIRST.where(retries.c.message_id.in_([storable(one.message_id) for one in asked]))
            first = {found.message_id: found.first_at for found in connection.execute(failed)}
        earlier: dict[str, list[str | None]] = defaultdict(list)
        for delivery_id, trace in tried:
            earlier[delivery_id].append(trace)
        traces: dict[str, list[str | None]] = defaultdict(list)
        for row in deliveries:
            traces[row.mail_id] += [*earlier[row.delivery_id], row.previous_trace, row.trace]
        return [
            Past(first.get(storable(one.message_id), 0.0), _ids(traces.get(one.mail_id or "", []))) for one in asked
        ]

    def close(self) -> None:
        """Let go of the database."""
        self._database.close()


def open_history(database_url: str | None) -> LedgerHistory | str:
    """The ledger behind the URL, or why it cannot be asked. It makes no database, and upgrades none."""
    if database_url is None:
        return "RELAYD_DATABASE_URL is not set"
    try:
        database = connect(database_url, pool_size=1)
        if not database.exists:
            return "there is no such file"
        found = version(database)
        fits = works_on(database)
    except ConfigurationError as error:
        return f"{error.problems[0].subject} {error.problems[0].problem}"
    except (HoldError, TransientError) as error:
        return str(error)
    if not fits:
        database.close()
        return f"the database is at version {found}, and this relayd needs {HEAD}"
    return LedgerHistory(database)


def _ids(traces: Sequence[str | None]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(found for one in traces if (found := trace_id(one))))
