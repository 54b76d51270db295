"""How many masks there are, and what waits: counts that are worth an alert when they change."""

import sqlalchemy as sa

from relayd.adapters.database import Database
from relayd.adapters.schema import masks, notices


class SqlCensus:
    """Counts. On a directory of a million masks one takes a fraction of a second."""

    def __init__(self, database: Database) -> None:
        self._database = database
        waiting = sa.select(sa.func.count()).select_from(notices).where(notices.c.ended_at.is_(None))
        self._count = sa.select(
            sa.func.count().label("masks"),
            sa.func.count(sa.case((masks.c.enabled, 1))).label("enabled"),
            waiting.scalar_subquery().label("notices"),
        ).select_from(masks)

    def count(self) -> dict[str, float]:
        """Masks that are `enabled` and `disabled`, and `notices` that wait to be sent."""
        with self._database.reading("census") as connection:
            row = connection.execute(self._count).one()
        return {"enabled": row.enabled, "disabled": row.masks - row.enabled, "notices": row.notices}
