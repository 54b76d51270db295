"""What masks' mail came to, day by day, in memory: the ledger counts it and the directory tells of it."""

from dataclasses import dataclass

from relayd.model.mask import Usage
from relayd.ports import Clock


@dataclass
class Counts:
    """What the table `usage` keeps of a mask's day."""

    owner_id: str
    mails: int = 0
    bytes: int = 0
    replies: int = 0
    discards: int = 0
    trackers: int = 0


class FakeUsage:
    """By mask and day, UTC."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.days: dict[tuple[str, int], Counts] = {}

    def of(self, mask_id: str, owner_id: str) -> Counts:
        """The mask's counts of today, to be added to."""
        return self.days.setdefault((mask_id, self._today()), Counts(owner_id))

    def today(self, owner_id: str) -> Usage:
        """Of all masks of the owner."""
        theirs = [one for (_, day), one in self.days.items() if day == self._today() and one.owner_id == owner_id]
        return Usage(
            sum(one.mails for one in theirs), sum(one.bytes for one in theirs), sum(one.replies for one in theirs)
        )

    def _today(self) -> int:
        return int(self._clock.time() // 86_400)
