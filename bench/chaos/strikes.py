"""Which daemon is struck how, and when: by the progress of the work, so that a slow machine has the same run."""

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Literal

Blow = Literal["kill", "term", "stop"]

FIRST, LAST = 0.02, 0.95
"""Share of the mail that is settled when strikes begin, and when they are over."""


@dataclass(frozen=True, slots=True, order=True)
class Strike:
    """What happens to a daemon once this share of all messages is settled."""

    at: float
    blow: Blow
    daemon: int


def plan(seed: int, daemons: int, *, kills: int, terms: int, stops: int) -> list[Strike]:
    """All strikes of a run, in order."""
    chance = Random(f"{seed}/strikes")
    wanted: Mapping[Blow, int] = {"kill": kills, "term": terms, "stop": stops}
    blows = [blow for blow, times in wanted.items() for _ in range(times)]
    return sorted(Strike(chance.uniform(FIRST, LAST), blow, chance.randrange(daemons)) for blow in blows)
