"""Programs side by side: each waits, warm, for its turn, and the turns go round, so that a change of the machine's mood
meets all of them.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from bench.mails.measuring import Case, Door, Measured, started
from bench.mails.programs import Program

FEWEST = 4
"""Mails of one round."""
CAREFUL = 0.5
"""Of the mails that its pace says: how many a program gets in its first round, because the machine may be busy."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Entry:
    """One that takes part."""

    name: str
    program: Program
    case: Case


@dataclass(frozen=True, slots=True)
class Turns:
    """How long it may take."""

    rounds: int
    seconds: float
    """Of one program's turn, about."""
    until: float | None = None
    """On the monotonic clock: no round begins that would end later. One round there is always."""


@dataclass(slots=True)
class Standing:
    """What one program did, round by round."""

    rounds: list[Measured] = field(default_factory=list)

    def median(self, name: str) -> float:
        return float(median(getattr(one, name) for one in self.rounds))

    def told(self) -> dict[str, Any]:
        """Medians over the rounds; of memory, the most."""
        per_cpu_second = [one.mails_per_cpu_second for one in self.rounds]
        return {
            "mails_per_second": round(self.median("mails_per_second"), 2),
            "mails_per_cpu_second": round(self.median("mails_per_cpu_second"), 2),
            "aws_calls_per_mail": round(self.median("aws_calls_per_mail"), 3),
            "rss_peak_mb": max(one.rss_peak_mb for one in self.rounds),
            "cpu_ms_per_mail": round(self.median("cpu_ms_per_mail"), 3),
            "mails_per_cpu_second_spread": [min(per_cpu_second), max(per_cpu_second)],
            "p50_seconds": round(self.median("p50"), 4),
            "p99_seconds": round(self.median("p99"), 4),
            "fake_cpu_ms_per_mail": round(self.median("fake_cpu_ms_per_mail"), 3),
            "mails": sum(one.mails for one in self.rounds),
            "rounds": len(self.rounds),
            "sent_again": sum(one.sent_again for one in self.rounds),
        }


def side_by_side(fake: Door, entries: Sequence[Entry], turns: Turns, say: Say) -> dict[str, Standing]:
    """Start all, warm all up, and let each have its turn in every round. Raises BenchError."""
    standings = {entry.name: Standing() for entry in entries}
    with ExitStack() as stack:
        courses = {entry.name: stack.enter_context(started(fake, entry.program, entry.case)) for entry in entries}
        say(f"warming up: {', '.join(courses)}")
        for entry in entries:
            courses[entry.name].put(entry.program.warm_up if entry.case.warm_up is None else entry.case.warm_up)
        for course in courses.values():
            course.wait()
        took = 0.0
        for number in range(turns.rounds):
            began = time.monotonic()
            if number and turns.until is not None and began + took > turns.until:
                break
            for entry in order(entries, number):
                standing = standings[entry.name]
                count = _count(entry, standing, turns.seconds)
                say(f"round {number + 1}: {entry.name}, {count} mails")
                standing.rounds.append(courses[entry.name].round(count))
            took = time.monotonic() - began
    return standings


def order(entries: Sequence[Entry], number: int) -> Sequence[Entry]:
    """Each is the first in its turn, and none always behind the same one."""
    first = number // 2 % len(entries)
    turned = [*entries[first:], *entries[:first]]
    return turned if number % 2 == 0 else turned[::-1]


def _count(entry: Entry, standing: Standing, seconds: float) -> int:
    if entry.case.mails:
        return entry.case.mails
    if entry.case.rate:
        return max(FEWEST, int(entry.case.rate * seconds))
    guess = CAREFUL * entry.program.pace_of(entry.case.size)
    rate = standing.median("mails_per_second") if standing.rounds else guess
    return max(FEWEST, int(rate * seconds))


def ratio(ours: float, theirs: float) -> float:
    """To as many digits as are worth telling."""
    return float(f"{ours / theirs:.4g}")


def ratios(ours: Standing, others: Mapping[str, Standing], name: str) -> dict[str, float]:
    """Of the medians of what `name` says."""
    return {other: ratio(ours.median(name), standing.median(name)) for other, standing in others.items()}


def spread(ours: Standing, others: Mapping[str, Standing], name: str) -> dict[str, list[float]]:
    """The least and the greatest ratio of one round."""
    found = {}
    for other, standing in others.items():
        pairs = zip(ours.rounds, standing.rounds, strict=True)
        each = [ratio(getattr(mine, name), getattr(its, name)) for mine, its in pairs]
        found[other] = [min(each), max(each)]
    return found
