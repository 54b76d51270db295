"""The replicas' heartbeats in the database: one row for each daemon that runs, or ran lately."""

from dataclasses import dataclass

import sqlalchemy as sa

from relayd.adapters.database import Database
from relayd.adapters.schema import replicas

FORGOTTEN_SECONDS = 86_400.0
"""A replica that was killed has left its row behind. Who looks on the next day need not hear of it any more."""
MOST_READ = 1000
"""Rows: more replicas than that a deployment does not have, and a screen cannot show."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What one replica wrote last. Seconds by the database's clock."""

    replica_id: str
    seconds_ago: float
    uptime: float
    """From its start to when it was seen."""
    status: str
    """JSON, as that replica's version writes it."""


class SqlReplicas:
    """`relayd.ports.Replicas` on SQLAlchemy Core."""

    def __init__(self, database: Database) -> None:
        self._database = database
        now = database.now
        insert = database.insert(replicas).values(started_at=now - sa.bindparam("uptime", type_=sa.Double), seen_at=now)
        written = {name: insert.excluded[name] for name in ("seen_at", "status")}
        self._beat = insert.on_conflict_do_update(index_elements=("replica_id",), set_=written)
        self._forget = sa.delete(replicas).where(replicas.c.seen_at < now - FORGOTTEN_SECONDS)
        self._leave = sa.delete(replicas).where(replicas.c.replica_id == sa.bindparam("id"))
        self._read = (
            sa.select(
                replicas.c.replica_id,
                (now - replicas.c.seen_at).label("seconds_ago"),
                (replicas.c.seen_at - replicas.c.started_at).label("uptime"),
                replicas.c.status,
            )
            .order_by(replicas.c.seen_at.desc(), replicas.c.replica_id)
            .limit(MOST_READ)
        )

    def beat(self, replica_id: str, uptime: float, status: str) -> None:
        """Write the row, and forget those that nobody has written for a day."""
        with self._database.writing("beat") as connection:
            connection.execute(self._beat, {"replica_id": replica_id, "uptime": uptime, "status": status})
            connection.execute(self._forget)

    def leave(self, replica_id: str) -> None:
        """Remove the row, if there is one."""
        with self._database.writing_once("leave") as connection:
            connection.execute(self._leave, {"id": replica_id})

    def read(self) -> list[Seen]:
        """All replicas, those first that were seen last."""
        with self._database.reading("replicas") as connection:
            rows = connection.execute(self._read).all()
        return [Seen(row.replica_id, max(0.0, row.seconds_ago), row.uptime, row.status) for row in rows]
