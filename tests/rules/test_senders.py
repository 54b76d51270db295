"""Block and allow lists: what names a sender, and whose word counts."""

import pytest

from relayd.model.address import Address
from relayd.model.mask import Screening
from relayd.rules.senders import Named, patterns, screening

BLOCKED, UNLISTED, FREE = Screening(blocked=True), Screening(unlisted=True), Screening()


def entry(text: str) -> Named:
    """`mask+block`: it names the sender; `owner-allow`: there is such a list, and it does not."""
    sign = "+" if "+" in text else "-"
    scope, kind = text.split(sign)
    return Named("block" if kind == "block" else "allow", scope == "mask", sign == "+")


def test_what_names_a_sender() -> None:
    """The address with and without its tag, its domain, and every domain above it."""
    assert list(patterns(Address.parse("News+x@Mail.Shop.Example"))) == [
        "news+x@mail.shop.example",
        "news@mail.shop.example",
        "@mail.shop.example",
        "@.mail.shop.example",
        "@.shop.example",
        "@.example",
    ]


def test_an_address_without_a_tag_is_asked_for_once() -> None:
    """Each pattern costs a parameter of the query."""
    found = list(patterns(Address.parse("news@shop.example")))
    assert found == ["news@shop.example", "@shop.example", "@.shop.example", "@.example"]


def test_a_domain_does_not_name_those_that_only_end_like_it() -> None:
    """`@.shop.example` is shop.example and what is below it, not workshop.example."""
    assert "@.shop.example" not in patterns(Address.parse("x@workshop.example"))
    assert "@shop.example" not in patterns(Address.parse("x@mail.shop.example"))


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ("", FREE),
        ("mask+block", BLOCKED),
        ("owner+block", BLOCKED),
        ("mask+allow mask-allow", FREE),
        ("mask-allow", UNLISTED),
        ("owner-allow", UNLISTED),
        ("owner+allow owner-allow", FREE),
        # On one list, block before allow.
        ("mask+block mask+allow mask-allow", BLOCKED),
        ("owner+block owner+allow owner-allow", BLOCKED),
        # The mask's word before its owner's.
        ("mask+allow mask-allow owner+block", FREE),
        ("mask+block owner+allow owner-allow", BLOCKED),
        # The owner's allow list counts where the mask has none of its own.
        ("mask+allow mask-allow owner-allow", FREE),
        ("mask-allow owner+allow owner-allow", UNLISTED),
        ("mask-allow owner+block", UNLISTED),
    ],
)
def test_whose_word_counts(entries: str, expected: Screening) -> None:
    """In whatever order the database tells them."""
    found = [entry(text) for text in entries.split()]
    assert screening(found) == screening(reversed(found)) == expected
