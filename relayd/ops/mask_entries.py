"""What an operator says about a mask: its mailboxes, its owner, whether it is on, and what it does to mail."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

from relayd.model.address import Address
from relayd.ops.refusals import RefusedError, WrongEntryError
from relayd.ops.typed import display_name, foreign_problem, loop_problems, mailbox_address, mask_address, owner_name

__all__ = ["Entry", "Line", "MaskTraits", "RefusedError", "WrongEntryError", "domain_problems", "entry"]


@dataclass(frozen=True, slots=True)
class MaskTraits:
    """What a mask does to mail. None: as it is, or as a new mask is made. The names are the table's columns."""

    display_name: str | None = None
    block_lists: bool | None = None
    banner: bool | None = None
    remove_trackers: bool | None = None

    def said(self) -> dict[str, Any]:
        """Those that are not None."""
        return {one.name: value for one in fields(self) if (value := getattr(self, one.name)) is not None}


AS_IT_IS = MaskTraits()


@dataclass(frozen=True, slots=True)
class Entry:
    """One mask as it should be."""

    address: Address
    mailboxes: tuple[Address, ...]
    """Empty: as they are, of a mask that is there."""
    owner: str | None = None
    """The owner's name. None: whoever has the mailboxes, or a new one named like the first of them."""
    enabled: bool | None = None
    """None: as it is, and on when it is new."""
    traits: MaskTraits = AS_IT_IS


@dataclass(frozen=True, slots=True)
class Line:
    """An entry, and where in a file it stands."""

    number: int
    entry: Entry


def entry(
    mask: str,
    mailboxes: Sequence[str],
    owner: str | None = None,
    enabled: bool | None = None,
    traits: MaskTraits = AS_IT_IS,
    *,
    any_start: bool = False,
) -> Entry:
    """An entry from what somebody typed. Raises WrongEntryError. `any_start`: of a mask that a domain rule may have
    made of whatever a stranger wrote to.
    """
    address = mask_address(mask, any_start=any_start)
    boxes = tuple(dict.fromkeys(mailbox_address(text) for text in mailboxes))
    if not boxes:
        raise WrongEntryError(f"{address}: has no mailbox to forward to", "name one at least, like me@example.org.")
    return Entry(address, boxes, None if owner is None else owner_name(owner), enabled, checked(traits))


def checked(traits: MaskTraits) -> MaskTraits:
    """The traits, their display name in its normal form. Raises WrongEntryError."""
    if traits.display_name is None:
        return traits
    name = display_name(traits.display_name)
    return MaskTraits(name, traits.block_lists, traits.banner, traits.remove_trackers)


def domain_problems(entry: Entry, mail_domains: Collection[str]) -> Iterator[tuple[str, str]]:
    """What is wrong, and what to do, where a mask or its mailboxes are on the wrong side of our domains."""
    yield from foreign_problem(entry.address.domain, str(entry.address), mail_domains)
    yield from loop_problems(entry.mailboxes, mail_domains)
