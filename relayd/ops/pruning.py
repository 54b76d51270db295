"""Forgetting what is older than the ledger remembers: what every daemon does once a day, at somebody's bidding."""

from collections.abc import Callable
from dataclasses import dataclass

from relayd.adapters.database import Database
from relayd.adapters.ledger import SqlLedger
from relayd.adapters.orders import SqlOrders


@dataclass
class Pruned:
    """How much is gone: for good, however the rest ends."""

    deliveries: int = 0
    orders: int = 0
    """Orders to trace a mask whose time is over."""
    finished: bool = False


def prune(database: Database, days: int, told: Callable[[int, int], object], pruned: Pruned) -> None:
    """Forget deliveries that nothing happened to for `days`, and with them what else is as old. `told`: how many of how
    many deliveries, after each transaction. `pruned` is kept up to date, so that an interrupted run can be told of.
    """
    ledger = SqlLedger(database, days=days)
    total = ledger.prunable()

    def count(gone: int) -> None:
        pruned.deliveries = gone
        told(gone, max(total, gone))

    ledger.prune(count)
    pruned.orders = SqlOrders(database).prune()
    pruned.finished = True
