"""What operators ask for, as one replica knows it: which mail to hold back, which masks to trace.

The database is asked every two seconds, beside the mail. Whoever has mail in hand asks the memory of it, so that
neither a slow database nor one that is away stands in anybody's way: what was known last stays in force.
"""

from collections.abc import Callable

import structlog

from relayd.errors import RelaydError
from relayd.model.orders import Orders
from relayd.operating import OrderBook
from relayd.ports import Clock
from relayd.runtime.gates import UNLIMITED

log = structlog.get_logger(__name__)

LOOK_EVERY = 2.0
"""Seconds between looks: with a read that takes long, a replica still obeys within 5 s."""


class StandingOrders:
    """Implements `operating.Pauses` and `TracedMasks`, and the poller's gate: while everything is paused, nothing is
    received.

    A pause is wanted, and so it is no reason to be unready, let alone not alive: whoever took a paused replica out, or
    restarted it, would help nobody. `/status` tells of it. As long as the orders were never read, everything is held:
    a replica that has just started must not forward what others hold back.
    """

    def __init__(
        self, book: OrderBook, clock: Clock, record_unsampled: Callable[[bool], None] = lambda _: None
    ) -> None:
        """`record_unsampled` is told whether any mask is traced."""
        self._book = book
        self._clock = clock
        self._record_unsampled = record_unsampled
        self._known: Orders | None = None
        self._read_at = 0.0
        self._failing = False

    def refresh(self) -> None:
        """Ask the database. What is known stays where it does not answer."""
        try:
            orders = self._book.read()
        except RelaydError as error:
            if not self._failing:
                # Once, not every two seconds for as long as an outage lasts.
                log.warning("orders_unknown", reason=error.reason, known_before=self._known is not None)
            self._failing = True
            return
        before, self._known = self._known, orders
        self._failing, self._read_at = False, self._clock.monotonic()
        if orders != (before or Orders()):
            log.info("orders_changed", **_shown(orders))
        self._record_unsampled(bool(orders.traced))

    # What the route asks.

    def everything(self) -> bool:
        """Whether all mail is paused, or nobody knows yet."""
        return self._known is None or self._known.everything

    def held(self, domain: str, owner_id: str | None) -> bool:
        """Whether mail for an address of this domain, which is this owner's, is paused."""
        return self._known is None or self._known.hold(domain, owner_id)

    def owners(self) -> frozenset[str]:
        """Ids of owners whose mail is paused."""
        return frozenset() if self._known is None else self._known.owners

    def traced(self, mask_id: str) -> bool:
        """Whether all mail of this mask is traced."""
        return self._known is not None and mask_id in self._known.traced

    # What the poller asks.

    def allowance(self) -> int:
        """Nothing while everything is paused."""
        return 0 if self.everything() else UNLIMITED

    def took(self, count: int) -> None:
        """Of no matter here."""

    # What an operator asks.

    def status(self) -> dict[str, object]:
        """For `/status`: what this replica obeys, and how old that is."""
        known = self._known
        return {
            "known": known is not None,
            **_shown(known or Orders(everything=True)),
            "read_seconds_ago": None if known is None else round(self._clock.monotonic() - self._read_at, 1),
        }

    def gauge(self) -> dict[str, float]:
        """How many pauses are in force, by scope."""
        known = self._known or Orders(everything=True)
        return {"all": known.everything, "domain": len(known.domains), "owner": len(known.owners)}


def _shown(orders: Orders) -> dict[str, object]:
    return {
        "everything": orders.everything,
        "domains": sorted(orders.domains),
        "owners": sorted(orders.owners),
        "traced_masks": len(orders.traced),
    }
