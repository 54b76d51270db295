"""What a replay needs of either design."""

from collections.abc import Sequence
from typing import Protocol

from bench.incident.ground import Ground
from bench.incident.pod import Pod


class Side(Protocol):
    """One design on a ground of its own."""

    @property
    def ground(self) -> Ground: ...
    @property
    def pods(self) -> Sequence[Pod]: ...
    @property
    def live_path(self) -> str:
        """What the prober asks."""
        ...

    def warm_up(self, mails: int) -> float:
        """Start the pods and forward so many mails as fast as they can be; returns mails a second."""
        ...

    def accept(self, name: str) -> None:
        """Receive one mail, as SES does."""
        ...

    def backlog(self) -> int:
        """Mails that SNS or the queue still has."""
        ...

    def dead_letters(self) -> int:
        """Take out what was put aside, and count it."""
        ...

    def most_handed_out(self) -> int:
        """How often the mail that was handed out most often was: receives, or pushes."""
        ...

    def left(self, unsent: frozenset[str]) -> int:
        """How many of these mails are not lost, because they will be handed out again."""
        ...

    def facts(self) -> dict[str, object]:
        """What else is worth knowing."""
        ...

    def close(self) -> None: ...


def rate_of(sends: Sequence[float]) -> float:
    """Mails a second from when each was sent. The first tenth is not counted: connections are being made."""
    ordered = sorted(sends)
    skipped = len(ordered) // 10
    return (len(ordered) - 1 - skipped) / max(ordered[-1] - ordered[skipped], 1e-6)
