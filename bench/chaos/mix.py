"""What is published: mail of every kind that the sandbox knows, some of it twice, and messages that are no mail."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle
from random import Random

from relayd.sandbox.receiving import new_mail_id
from relayd.sandbox.samples import FORGED, KINDS, ODD, Expected, Kind, Sample
from relayd.sandbox.world import World

COMMON = ("plain", "html", "attachment", "two_mailboxes", "two_masks")
COMMON_SHARE = 0.6
"""Of all mail; the other kinds share the rest, in turn."""
TWIN_SHARE = 0.05
"""Of all mail, what SNS delivers twice: two SQS messages for one mail."""
ODD_EVERY = 25
"""One message in so many is no mail, and belongs into the dead-letter queue."""
BIG_EVERY = 400
"""One mail in so many has 2 MB."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """One thing to publish, and how often its notification comes."""

    sample: Sample
    copies: int = 1


def parcels(count: int, seed: int, world: World, *, token: str) -> Iterator[Parcel]:
    """The same for the same seed, but for ids. `token`: the address that the pen friend is written to."""
    chance = Random(f"{seed}/mix")
    by_name = {kind.name: kind for kind in KINDS if usable(kind)}
    rare = cycle([kind for name, kind in by_name.items() if name not in (*COMMON, "big")])
    odd = cycle(ODD + FORGED)
    for number in range(1, count + 1):
        if number % ODD_EVERY == 0:
            name, make, reason = next(odd)
            marker = new_mail_id()
            route, text = make(world, marker)
            yield Parcel(Sample(number, name, Expected(dead_letter=reason), text.encode(), route, marker=marker))
            continue
        kind = by_name[chance.choice(COMMON)] if chance.random() < COMMON_SHARE else next(rare)
        if number % BIG_EVERY == 1:
            kind = by_name["big"]
        yield Parcel(kind.sample(seed, number, token), 2 if chance.random() < TWIN_SHARE else 1)


def usable(kind: Kind) -> bool:
    """Not the kinds whose end hangs on when an event about another mail is heard of."""
    return not kind.once and not kind.events
