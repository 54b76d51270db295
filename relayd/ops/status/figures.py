"""What the ledger says of the last hour or day, by the indexes that are there: a million deliveries do not make whoever
looks wait, nor the database sweat.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from relayd.adapters.database import Database
from relayd.adapters.schema import deliveries as d
from relayd.adapters.schema import mailboxes

HOUR, DAY = 3600.0, 86_400.0
ENDED = ("discarded", "failed")
"""States that have a reason, and an index on it."""


@dataclass(frozen=True, slots=True)
class Deliveries:
    """What became of deliveries in a stretch of time."""

    sent: Mapping[str, int] = field(default_factory=dict)
    """Of those that began in it, by kind: `forward`, `reply`, `notice`."""
    discarded: Mapping[str, int] = field(default_factory=dict)
    failed: Mapping[str, int] = field(default_factory=dict)
    """Of all that ended so in it, by reason, the most frequent first."""
    open: int = 0
    """Of those that began in it: claimed, being sent, or waiting to be tried again."""
    in_doubt: int = 0
    """Of those, sends whose end is not known, and that nobody works on."""
    resent: int = 0
    """Of those that began in it: sent once more because the first end was not known. Each is one possible duplicate."""


@dataclass(frozen=True, slots=True)
class MailboxPauses:
    """Mailboxes that nothing is sent to for now."""

    hard: int = 0
    """They bounced."""
    soft: int = 0
    """They are full."""


def deliveries(database: Database, seconds: float) -> Deliveries:
    """The last so many seconds, by the database's clock. Raises RelaydError."""
    with database.reading("status") as connection:
        # Asked for first: PostgreSQL looks nothing up in an index by a clock that moves on meanwhile.
        now: float = connection.execute(sa.select(database.now)).scalar_one()
        began = connection.execute(_began(now, seconds)).all()
        ended = {state: connection.execute(_ended(state, now - seconds)).all() for state in ENDED}
    by_reason = {state: {row.reason: row.number for row in rows if row.number} for state, rows in ended.items()}
    return Deliveries(
        sent={row.kind: row.number for row in began if row.state == "sent"},
        **{state: dict(sorted(found.items(), key=_most_first)) for state, found in by_reason.items()},
        open=sum(row.number for row in began if row.state in ("claimed", "sending")),
        in_doubt=sum(row.in_doubt for row in began),
        resent=sum(row.resent for row in began),
    )


def mailbox_pauses(database: Database) -> MailboxPauses:
    """Raises RelaydError."""
    query = (
        sa.select(mailboxes.c.pause, sa.func.count().label("number"))
        .where(mailboxes.c.pause.is_not(None), mailboxes.c.paused_until > database.now)
        .group_by(mailboxes.c.pause)
    )
    with database.reading("status") as connection:
        counts = {row.pause: row.number for row in connection.execute(query)}
    return MailboxPauses(hard=counts.get("hard", 0), soft=counts.get("soft", 0))


def _began(now: float, seconds: float) -> sa.Select[Any]:
    """What began since then, by the index on `created_at`."""

    def those(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
        return sa.func.sum(sa.case((condition, 1), else_=0))

    return (
        sa.select(
            d.c.state,
            d.c.kind,
            sa.func.count().label("number"),
            those(sa.and_(d.c.state == "sending", d.c.expires_at <= now)).label("in_doubt"),
            those(d.c.resends > 0).label("resent"),
        )
        .where(d.c.created_at > now - seconds)
        .group_by(d.c.state, d.c.kind)
        .order_by(d.c.kind)
    )


def _ended(state: str, since: float) -> sa.Select[Any]:
    """How many ended so since then, by reason. The index is on state, reason and time: from one reason it is a jump to
    the next, and of each only that time is read, however much lies before.
    """
    # Both as literals, and the first one as the index has it: else it is not known to hold every row that is meant.
    mine = sa.and_(d.c.state.in_([_literal(one) for one in ENDED]), d.c.state == _literal(state))
    first = sa.select(sa.func.min(d.c.reason).label("reason")).where(mine)
    reasons = first.cte("reasons", recursive=True)
    after = sa.select(sa.func.min(d.c.reason)).where(mine, d.c.reason > reasons.c.reason).scalar_subquery()
    reasons = reasons.union_all(sa.select(after).where(reasons.c.reason.is_not(None)))
    of_this = (mine, d.c.reason == reasons.c.reason, d.c.updated_at > since)
    count = sa.select(sa.func.count()).where(*of_this).correlate(reasons).scalar_subquery()
    return sa.select(reasons.c.reason, count.label("number")).where(reasons.c.reason.is_not(None))


def _literal(word: str) -> sa.ColumnElement[Any]:
    return sa.literal_column(f"'{word}'")


def _most_first(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]
