"""How the mail flows, in one sentence; and what a sentence is."""

from dataclasses import dataclass
from enum import StrEnum

from relayd.ops.status.snapshot import Rates, Snapshot
from relayd.ops.status.spoken import count, lasting, rate

BEHIND_SECONDS = 60.0
"""Older than that, waiting mail for which nothing is done is trouble."""
GROWING = 0.1
"""Messages a second by which a queue has to grow before anybody is told."""
MOMENT = 5.0
"""Seconds that nobody counts."""


class Level(StrEnum):
    """How it stands, worst first."""

    TROUBLE = "trouble"
    """Mail does not flow, or soon will not."""
    LOOK = "look"
    """Somebody should look, and need not hurry."""
    UNKNOWN = "unknown"
    WELL = "well"


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence, and the thing to do next; empty where there is nothing to do."""

    level: Level
    text: str
    todo: str = ""


def flow(snapshot: Snapshot) -> Finding:
    """How the mail flows."""
    minute, waiting = snapshot.minute, snapshot.waiting
    return _unknown_speed(waiting) if minute is None else _known_speed(snapshot, minute, waiting)


def _unknown_speed(waiting: int | None) -> Finding:
    if waiting is None:
        return Finding(Level.UNKNOWN, "How the mail flows cannot be told: neither the queue nor a replica answers.")
    return finding(Level.UNKNOWN, f"{wait(waiting)}; how fast they are worked on is not known")


def _known_speed(snapshot: Snapshot, minute: Rates, waiting: int | None) -> Finding:
    speed = _speed(minute, snapshot.quarter_hour)
    if waiting is None:
        return finding(Level.UNKNOWN, f"{speed}; how much waits is not known")
    if waiting == 0:
        return finding(Level.WELL, f"{speed}; nothing waits")
    if minute.finished == 0:
        text = f"{wait(waiting)}, and nothing was finished in the last {lasting(minute.seconds)}"
        if (snapshot.oldest.seconds or 0.0) <= BEHIND_SECONDS:
            return finding(Level.LOOK, text)
        return finding(Level.TROUBLE, text, "Look at a replica's log, and run: relayd doctor")
    if snapshot.growth is not None and snapshot.growth > GROWING:
        text = f"{speed}; {wait(waiting)}, and {rate(snapshot.growth)} more come than are finished"
        return finding(Level.LOOK, text, "More replicas, or a higher RELAYD_CONCURRENCY, work it off.")
    left = snapshot.drained_in
    until = "" if left is None else f", empty in {lasting(left) if left >= MOMENT else 'a moment'}"
    return finding(Level.WELL, f"{speed}; {count(waiting)} waiting{until}")


def _speed(minute: Rates, quarter: Rates | None) -> str:
    if minute.sent:
        return f"forwarding {rate(minute.sent)}"
    if minute.finished:
        return f"finishing {rate(minute.finished)}, with nothing to forward"
    if quarter is not None and quarter.finished:
        return f"quiet: {rate(quarter.finished)} in the last {lasting(quarter.seconds)}, nothing in the last one"
    return f"quiet: no mail in the last {lasting(quarter.seconds)}" if quarter is not None else "quiet"


def wait(waiting: int) -> str:
    """How many wait, as the beginning of a sentence or its end."""
    return "1 message waits" if waiting == 1 else f"{count(waiting)} messages wait"


def finding(level: Level, text: str, todo: str = "") -> Finding:
    """A sentence of this text."""
    return Finding(level, f"{text[:1].upper()}{text[1:]}.", todo)
