"""What operators ask of a running relayd, as narrow Protocols: ports like those of `relayd.ports`."""

from collections.abc import Collection
from typing import Protocol

from relayd.model.orders import Orders


class OrderBook(Protocol):
    """Where operators put down what they ask of all replicas."""

    def read(self) -> Orders:
        """What is in force now, by the database's clock."""
        ...


class Pauses(Protocol):
    """What operators hold back, as far as this process knows. It answers from memory: it neither blocks nor raises."""

    def everything(self) -> bool:
        """Whether all mail is paused."""
        ...

    def held(self, domain: str, owner_id: str | None) -> bool:
        """Whether mail for an address of this domain is paused, which is this owner's (None: nobody's). So is all of it
        where everything is.
        """
        ...

    def owners(self) -> Collection[str]:
        """Ids of the owners whose mail is paused."""
        ...


class TracedMasks(Protocol):
    """Masks all of whose mail is traced for a while. It answers as `Pauses` does."""

    def traced(self, mask_id: str) -> bool:
        """Whether this is one of them."""
        ...
