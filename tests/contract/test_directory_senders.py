"""What every directory promises of block and allow lists, on a mask and for all masks of an owner."""

from dataclasses import replace

import pytest

from relayd.model.address import Address
from relayd.model.mask import Mask, Screening
from relayd.rules.senders import SenderRule
from tests.contract.operated import Directory

SHOP = "shop@mask.example"
SELLER = Address.parse("seller+order17@mail.shop.example")
STRANGER = Address.parse("stranger@else.example")
BLOCKED, UNLISTED, FINE = Screening(blocked=True), Screening(unlisted=True), Screening()


def listed(
    directory: Directory, on_mask: dict[str, SenderRule] | None = None, of_owner: dict[str, SenderRule] | None = None
) -> Mask:
    """A mask with these lists, as it is found."""
    owner_id = directory.add(SHOP).owner.owner_id
    for scope, entries in ((SHOP, on_mask), (owner_id, of_owner)):
        for pattern, kind in (entries or {}).items():
            directory.list_senders(scope, kind, pattern)
    found = directory.lookup(Address.parse(SHOP))
    assert isinstance(found, Mask)
    return found


@pytest.mark.parametrize("kind", ["block", "allow"])
@pytest.mark.parametrize("whose", ["mask", "owner"])
def test_a_mask_with_lists_says_so(directory: Directory, kind: SenderRule, whose: str) -> None:
    """Its own or its owner's, of either kind: only then is it worth to ask."""
    other = directory.add("other@mask.example", "other@example.org")
    entries: dict[str, SenderRule] = {"@spam.example": kind}
    mask = listed(directory, on_mask=entries) if whose == "mask" else listed(directory, of_owner=entries)
    assert mask.screens
    again = directory.lookup(other.address)
    assert isinstance(again, Mask)
    assert not again.screens


def test_an_owner_s_lists_are_for_all_of_their_masks(directory: Directory) -> None:
    """And for nobody else's; a mask's list is for that mask alone."""
    listed(directory, {"@on-mask.example": "block"}, {"@of-owner.example": "block"})
    second, other = directory.add("bank@mask.example"), directory.add("other@mask.example", "other@example.org")
    on_mask, of_owner = Address("a", "on-mask.example"), Address("a", "of-owner.example")
    assert [directory.screen(second, [one]) for one in (on_mask, of_owner)] == [FINE, BLOCKED]
    assert [directory.screen(other, [one]) for one in (on_mask, of_owner)] == [FINE, FINE]


@pytest.mark.parametrize(
    ("pattern", "hits"),
    [
        ("seller+order17@mail.shop.example", True),
        ("seller@mail.shop.example", True),
        ("seller+other@mail.shop.example", False),
        ("@mail.shop.example", True),
        ("@shop.example", False),
        ("@.shop.example", True),
        ("@.mail.shop.example", True),
        ("@.example", True),
        ("@.op.example", False),
        ("%", False),
        ("@%", False),
        ("_eller@mail.shop.example", False),
    ],
)
def test_what_names_a_sender(directory: Directory, pattern: str, hits: bool) -> None:
    """The address with its tag or without, its domain, and the domains above it where that is asked for."""
    mask = listed(directory, {pattern: "block"})
    assert directory.screen(mask, [SELLER]) == (BLOCKED if hits else FINE)


@pytest.mark.parametrize(
    ("on_mask", "of_owner", "answer"),
    [
        ({}, {}, FINE),
        ({"@.example": "block"}, {}, BLOCKED),
        ({}, {"@.example": "block"}, BLOCKED),
        ({SELLER.bare: "allow"}, {}, FINE),
        ({STRANGER.bare: "allow"}, {}, UNLISTED),
        ({}, {STRANGER.bare: "allow"}, UNLISTED),
        ({SELLER.bare: "allow"}, {"@.example": "block"}, FINE),
        ({SELLER.bare: "block"}, {"@.example": "allow"}, BLOCKED),
        ({"@.example": "block", SELLER.bare: "allow"}, {}, BLOCKED),
        ({SELLER.bare: "allow"}, {STRANGER.bare: "allow"}, FINE),
        ({STRANGER.bare: "allow"}, {SELLER.bare: "allow"}, UNLISTED),
        ({STRANGER.bare: "block"}, {STRANGER.bare: "allow"}, UNLISTED),
        ({STRANGER.bare: "block"}, {SELLER.bare: "allow"}, FINE),
    ],
)
def test_the_mask_s_word_goes_before_its_owner_s(
    directory: Directory, on_mask: dict[str, SenderRule], of_owner: dict[str, SenderRule], answer: Screening
) -> None:
    """And on one list `block` before `allow`."""
    assert directory.screen(listed(directory, on_mask, of_owner), [SELLER]) == answer


def test_several_senders_are_one_question(directory: Directory) -> None:
    """One that is blocked is enough to block, and one that is allowed to allow; nobody is on no list."""
    mask = listed(directory, {STRANGER.bare: "block"})
    assert directory.screen(mask, [SELLER, STRANGER]) == BLOCKED
    assert directory.screen(mask, []) == FINE
    directory.list_senders(SHOP, "allow", SELLER.bare)
    assert directory.screen(mask, [SELLER, Address.parse("x@y.example")]) == FINE
    assert directory.screen(mask, []) == UNLISTED


def test_odd_senders_are_no_errors(directory: Directory) -> None:
    """What strangers wrote is looked up, and means nothing to SQL."""
    mask = listed(directory, {"@.example": "block"})
    odd = [Address("lone\udc80", "x.example"), Address("nul\0", "'; --"), replace(SELLER, domain="x" * 250)]
    assert directory.screen(mask, odd) == BLOCKED
    assert directory.screen(mask, odd[1:]) == FINE


def test_thousands_of_senders_are_no_errors(directory: Directory) -> None:
    """A From field may name so many, below so many domains, that their patterns are more than SQL takes parameters."""
    mask = listed(directory, {"@.last.example": "block"})
    deep = "a." * 100
    many = [Address("a", f"{deep}n{number}.example") for number in range(800)]
    assert directory.screen(mask, many) == FINE
    assert directory.screen(mask, [*many, Address("a", f"{deep}last.example")]) == BLOCKED
