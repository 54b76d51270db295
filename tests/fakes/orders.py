"""Operators' orders in memory. They keep the promises of `tests/contract/test_orders.py`."""

from relayd.model.orders import Orders
from relayd.ports import Clock


class FakeOrders:
    """`relayd.operating.OrderBook` without a database. `fail_with` is raised by every read, while it is set."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.fail_with: Exception | None = None
        self.reads = 0
        self._everything = False
        self._domains: set[str] = set()
        self._owners: set[str] = set()
        self._traced: dict[str, float] = {}

    # What an operator does.

    def pause(self, *, everything: bool = False, domain: str | None = None, owner: str | None = None) -> None:
        self._everything = self._everything or everything
        self._domains |= {domain} if domain else set()
        self._owners |= {owner} if owner else set()

    def resume(self, *, everything: bool = False, domain: str | None = None, owner: str | None = None) -> None:
        self._everything = self._everything and not everything
        self._domains -= {domain}
        self._owners -= {owner}

    def trace(self, mask_id: str, seconds: float) -> None:
        self._traced[mask_id] = self._clock.time() + seconds

    def untrace(self, mask_id: str) -> None:
        self._traced.pop(mask_id, None)

    # The port.

    def read(self) -> Orders:
        self.reads += 1
        if self.fail_with is not None:
            raise self.fail_with
        now = self._clock.time()
        traced = frozenset(mask_id for mask_id, until in self._traced.items() if until > now)
        return Orders(self._everything, frozenset(self._domains), frozenset(self._owners), traced)

    def prune(self) -> int:
        """Forget what has come to its end, and tell how much that was."""
        gone = [mask_id for mask_id, until in self._traced.items() if until <= self._clock.time()]
        for mask_id in gone:
            del self._traced[mask_id]
        return len(gone)
