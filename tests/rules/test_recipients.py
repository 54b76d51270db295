"""Which recipients are ours."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.model.address import Address
from relayd.rules.recipients import ours

DOMAINS = ("mask.example", "xn--mske-loa.example")


def found(*recipients: str) -> list[str]:
    return [address.full for address in ours(recipients, DOMAINS)]


def test_only_our_domains() -> None:
    """Other people's recipients in the same SMTP envelope are theirs; a domain below ours is not ours."""
    assert found("a@mask.example", "b@other.example", "c@sub.mask.example", "d@mask.example.evil") == ["a@mask.example"]


def test_every_recipient_of_the_envelope_counts() -> None:
    """A Bcc to one mask beside a To to another: two recipients, in the envelope's order."""
    assert found("b@mask.example", "a@mask.example") == ["b@mask.example", "a@mask.example"]


@pytest.mark.parametrize(
    "spelling", ["SHOP@mask.example", "shop@MASK.Example", "shop@mask.example.", " shop@mask.example "]
)
def test_spelling_makes_no_difference(spelling: str) -> None:
    """One mask written twice is one delivery."""
    assert found("shop@mask.example", spelling) == ["shop@mask.example"]


def test_tags_are_deliveries_of_their_own() -> None:
    """Two tags of one mask are two deliveries; the same tag in another case is the same."""
    both = found("shop+a@mask.example", "shop+b@mask.example", "SHOP+A@mask.example")
    assert both == ["shop+a@mask.example", "shop+b@mask.example"]


def test_internationalised_domains() -> None:
    """Unicode, upper-case and punycode spellings of a domain are one."""
    spellings = ("shop@mäske.example", "shop@MÄSKE.example", "shop@xn--mske-loa.example")
    assert found(*spellings) == ["shop@xn--mske-loa.example"]


@pytest.mark.parametrize("rubbish", ["", "@", "shop", "@mask.example", "shop@", "a b@mask.example", "<a@mask.example>"])
def test_what_is_no_address_is_not_ours(rubbish: str) -> None:
    """One unreadable recipient does not cost the others their mail."""
    assert found(rubbish, "shop@mask.example") == ["shop@mask.example"]


@given(st.lists(st.text(max_size=20) | st.text(max_size=12).map(lambda local: f"{local}@mask.example")).map(tuple))
def test_any_recipients(recipients: tuple[str, ...]) -> None:
    """Whatever SES says, the result is ours, without repetition, and reads back as itself."""
    addresses = ours(recipients, DOMAINS)
    assert len(set(addresses)) == len(addresses)
    assert all(address.domain in DOMAINS for address in addresses)
    assert ours(tuple(address.full for address in addresses), DOMAINS) == addresses
    assert all(isinstance(address, Address) for address in addresses)
