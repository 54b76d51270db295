"""Operators' orders in the database, where every replica looks for them."""

import sqlalchemy as sa

from relayd.adapters.database import Database
from relayd.adapters.schema import pauses, traced_masks
from relayd.model.orders import Orders


class SqlOrders:
    """`relayd.operating.OrderBook` on SQLAlchemy Core."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._pauses = sa.select(pauses.c.scope, pauses.c.subject)
        self._traced = sa.select(traced_masks.c.mask_id).where(traced_masks.c.until > database.now)
        self._expired = sa.delete(traced_masks).where(traced_masks.c.until <= database.now)

    def read(self) -> Orders:
        """What is in force."""
        with self._database.reading("orders") as connection:
            paused = connection.execute(self._pauses).all()
            traced = frozenset(connection.execute(self._traced).scalars())
        subjects = {scope: frozenset(row.subject for row in paused if row.scope == scope) for scope in _SCOPES}
        return Orders(bool(subjects["all"]), subjects["domain"], subjects["owner"], traced)

    def prune(self) -> int:
        """Remove what has come to its end by itself, and tell how many rows that were."""
        with self._database.writing_once("prune_orders") as connection:
            return int(connection.execute(self._expired).rowcount)


_SCOPES = ("all", "domain", "owner")
