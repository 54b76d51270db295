"""Block and allow lists: what may name a sender, and which list's word counts."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from relayd.model.address import Address
from relayd.model.mask import Screening

SenderRule = Literal["block", "allow"]


@dataclass(frozen=True, slots=True)
class Named:
    """One entry of a list that names a sender (`hit`), or the word that there is such a list."""

    kind: SenderRule
    on_mask: bool
    """On the mask's own list; else on its owner's."""
    hit: bool


def patterns(sender: Address) -> Iterator[str]:
    """Every entry that would name this sender: the address, its domain (`@shop.example`), and the domains above it
    with all that is below them (`@.example`).
    """
    yield from dict.fromkeys((sender.full, sender.bare))
    yield f"@{sender.domain}"
    labels = sender.domain.split(".")
    for count in range(len(labels)):
        yield "@." + ".".join(labels[count:])


def screening(entries: Iterable[Named]) -> Screening:
    """The mask's word goes before its owner's, and on one list `block` before `allow`. An allow list refuses whom it
    does not name; the owner's is asked only where the mask has none of its own.
    """
    found = set(entries)
    for on_mask in (True, False):
        here = {(entry.kind, entry.hit) for entry in found if entry.on_mask == on_mask}
        if ("block", True) in here:
            return Screening(blocked=True)
        if ("allow", True) in here:
            return Screening()
        if ("allow", False) in here:
            return Screening(unlisted=True)
    return Screening()
