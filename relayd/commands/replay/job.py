"""What every part of one replay needs."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from relayd.ops.replay.outcomes import Outcomes

if TYPE_CHECKING:
    from relayd.adapters.database import Database
    from relayd.commands.progress import Bar
    from relayd.commands.replay.asked import Asked
    from relayd.ports import Clock
    from relayd.runtime.signals import StopSignals
    from relayd.settings import Settings


@dataclass(frozen=True, slots=True)
class Job:
    """One replay, or a look at what it would do."""

    asked: "Asked"
    settings: "Settings"
    database: "Database"
    clock: "Clock"
    signals: "StopSignals"
    replay_id: str
    outcomes: Outcomes = field(default_factory=Outcomes)


class Watch:
    """Implements `relayd.ops.replay.reading.Watch` on a terminal."""

    def __init__(self, bar: "Bar", signals: "StopSignals", outcomes: Outcomes) -> None:
        self._bar = bar
        self._signals = signals
        self._outcomes = outcomes

    def pause(self, seconds: float) -> bool:
        """See `Watch`."""
        return self._signals.wait(seconds)

    def shown(self, done: int, total: int | None, note: str) -> None:
        """See `Watch`."""
        counts = ((self._outcomes.count(what), what) for what in ("forwarded", "discarded", "skipped", "failed"))
        told = [*(f"{count} {what}" for count, what in counts if count), *([note] if note else [])]
        self._bar.at(done, None if total is None else max(total, done), ", ".join(told))
