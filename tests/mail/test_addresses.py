"""Who a From field names: all that may be meant, and the one that nobody could read differently."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.mail.addresses import addresses_of, sole_address
from relayd.mail.fields import Field
from relayd.model.address import Address

OWNER = "owner@home.example"
EVIL = "thief@evil.example"


def sender_field(value: str | bytes) -> Field:
    raw = value if isinstance(value, bytes) else value.encode()
    return Field("From", b"From: " + raw + b"\r\n", "from")


def sole(value: str | bytes) -> str | None:
    found = sole_address(sender_field(value))
    return None if found is None else found.full


def named(value: str | bytes) -> list[str]:
    return [address.full for address in addresses_of(sender_field(value))]


@pytest.mark.parametrize(
    "value",
    [
        OWNER,
        f" {OWNER} ",
        f"<{OWNER}>",
        f"< {OWNER} >",
        f"Jane Doe <{OWNER}>",
        f"J. R. O'Hara-Doe <{OWNER}>",
        f'"Doe, Jane" <{OWNER}>',
        f'"Jane \\"JD\\" Doe" <{OWNER}>',
        f'"Doe (Sales); Jane: x" <{OWNER}>',
        f"Jane\tDoe <{OWNER}>",
        f"Jane Doe\r\n <{OWNER}>",
        f"Jane Doe\n\t<{OWNER}>",
        f"Jürgen Müller <{OWNER}>",
        f"=?utf-8?q?J=C3=BCrgen?= =?utf-8?b?TcO8bGxlcg==?= <{OWNER}>",
        f"=?utf-8?q?M=C3=BCller=2C_J=C3=BCrgen?= <{OWNER}>",
        b"J\xfcrgen <owner@home.example>",
        f'"{OWNER}" <{OWNER}>',
        f"\"'Owner@Home.Example'\" <{OWNER}>",
        f"=?utf-8?q?owner=40home.example?= <{OWNER}>",
        "Owner@HOME.Example",
    ],
)
def test_the_author_of_a_plain_field(value: str | bytes) -> None:
    """What mail programs write is understood: names, quotes, encoded words, folds, the address as its own name."""
    assert sole(value) == OWNER


def test_the_tag_of_an_author_is_kept() -> None:
    """It is for the rules to say that a tag does not matter."""
    assert sole("owner+shop@home.example") == "owner+shop@home.example"


DOUBTFUL = {
    "two angle brackets": f"<{EVIL}> <{OWNER}>",
    "two angle brackets, one in the other": f"<<{OWNER}>>",
    "two addresses": f"{EVIL}, {OWNER}",
    "two addresses without a comma": f"{EVIL} {OWNER}",
    "an address as a name": f"{EVIL} <{OWNER}>",
    "something after the bracket": f"<{OWNER}> {EVIL}",
    "a word after the bracket": f"<{OWNER}> x",
    "a word after the address": f"{OWNER} x",
    "a word before the address": f"x {OWNER}",
    "a quoted string after the address": f'{OWNER} "x"',
    "a comment": f"{OWNER} (Jane)",
    "a comment with an address": f"({EVIL}) <{OWNER}>",
    "a comment in a domain": "owner@home.example(.evil.example)",
    "a comment in a local part": "owner(x)@home.example",
    "a group": f"team: {OWNER};",
    "an empty group": "undisclosed-recipients:;",
    "a source route": f"<@evil.example:{OWNER}>",
    "mailto": f"mailto:{OWNER}",
    "a domain that goes on after white space": f"{OWNER} .evil.example",
    "the same in brackets": f"Jane <{OWNER} .evil.example>",
    "a domain that goes on after a fold": f"{OWNER}\r\n .evil.example",
    "a domain that goes on after a fold in brackets": f"Jane <{OWNER}\r\n\t.evil.example>",
    "a local part that goes on after white space": f"thief. {OWNER}",
    "a fold of nothing": f"Jane\r\n \r\n <{OWNER}>",
    "a line that is no fold": f"{EVIL}\nX: <{OWNER}>",
    "a lone CR": f"x\r<{OWNER}>",
    "a broken line in the address": "ow\nner@home.example",
    "a quoted name with an address": f'"{EVIL}" <{OWNER}>',
    "a quoted name with the beginning of another address": f'"{OWNER}.evil.example" <{OWNER}>',
    "a quoted name with brackets": f'"<{EVIL}>" <{OWNER}>',
    "a quote that ends at a backslash for some": f'"x\\" <{EVIL}>" <{OWNER}>',
    "a quote that does not end": f'"x <{OWNER}>',
    "a quote that does not end after it": f'<{OWNER}> "x',
    "an address in quotes alone": f'"{OWNER}"',
    "an address in quotes beside a name in brackets": f'"{OWNER}" <thief>',
    "a quoted local part": '"owner"@home.example',
    "a backslash": "own\\er@home.example",
    "an encoded word with an address": f"=?utf-8?q?thief=40evil.example?= <{OWNER}>",
    "an encoded word with brackets": f"=?utf-8?b?PHRoaWVmQGV2aWwuZXhhbXBsZT4=?= <{OWNER}>",
    "an encoded word in UTF-7 with an address": f"=?utf-7?q?thief+AEA-evil.example?= <{OWNER}>",
    "an encoded word in quotes with an address": f'"=?utf-8?q?thief=40evil.example?=" <{OWNER}>',
    "an encoded word as the address": "=?utf-8?q?owner=40home.example?=",
    "an encoded word in the address": "=?utf-8?q?x?=owner@home.example",
    "a NUL in the address": "owner@home.example\0.evil.example",
    "a NUL after the address": f"{OWNER}\0",
    "a NUL in the name": f"x\0 <{OWNER}>",
    "a control in the name": f"x\x0b <{OWNER}>",
    "a domain literal": "owner@[192.0.2.1]",
    "a domain that goes on in brackets": f"{OWNER}[.evil.example",
    "a domain that ends in a dot": f"{OWNER}.",
    "an invisible character in the domain": "owner@ho\u200bme.example",
    "a full width character in the domain": "owner@home．example",
    "an ideographic full stop after the domain": "owner@home.example。evil.example",
    "two signs": "owner@evil.example@home.example",
    "dots in a row": "owner..x@home.example",
    "no domain": "owner",
    "no address": "Jane Doe",
    "nothing in brackets": "Jane <>",
    "nothing": "",
    "an opening bracket alone": f"<{OWNER}",
    "a closing bracket alone": f"{OWNER}>",
    "a name of megabytes": "x" * 20_001 + f" <{OWNER}>",
}


@pytest.mark.parametrize("value", DOUBTFUL.values(), ids=DOUBTFUL.keys())
def test_a_field_that_two_readers_could_read_differently_proves_nobody(value: str) -> None:
    """What proved the sender was somebody else's reading: it must not be able to be another one."""
    assert sole(value) is None


@given(st.text(alphabet="<>\"'\\(),:;@.[]=?utf8qbx \t\r\n\0é", max_size=40))
def test_beside_a_stranger_s_address_nobody_is_the_sole_author(noise: str) -> None:
    """Whatever stands before, between or after, a field that names a stranger never proves the owner."""
    for named_so in (EVIL, f"<{EVIL}>"):
        for value in (noise + named_so + OWNER, OWNER + noise + named_so, f"{named_so}{noise}<{OWNER}>"):
            assert sole(value) != OWNER


@given(st.binary(max_size=200))
def test_any_bytes_have_an_answer(value: bytes) -> None:
    """Never an exception, and a sole author is one of those that the field names."""
    found = sole_address(sender_field(value))
    assert found is None or found in addresses_of(sender_field(value))


@pytest.mark.parametrize(
    ("value", "addresses"),
    [
        (f"{EVIL}, Jane <{OWNER}>", [EVIL, OWNER]),
        (f'"Doe, Jane" <{OWNER}>, {OWNER}', [OWNER]),
        (f"team: {EVIL}, {OWNER};", [EVIL, OWNER]),
        (f"nobody, <{OWNER}>", [OWNER]),
        (f"x (a comment (in it)) <{OWNER}>", [OWNER]),
        ("Jane Doe", []),
        ("", []),
    ],
)
def test_every_address_of_a_field(value: str, addresses: list[str]) -> None:
    """In order, each once, groups and comments understood: block and allow lists go by them."""
    assert named(value) == addresses


def test_a_field_of_brackets_takes_no_time() -> None:
    """A stranger may write anything into From; nothing in it may take more than linear time."""
    for piece in ("<", '"', "\\", "(", "=?", "a@b.c,", '"\\', "a@", "\r\n "):
        began = time.perf_counter()
        for size in (20_000, 200_000):
            value = piece * (size // len(piece))
            sole(value)
            named(value)
        assert time.perf_counter() - began < 1.0, piece


def test_addresses_do_not_differ_in_case() -> None:
    """What is compared later is in normal form."""
    assert sole_address(sender_field("JANE <Owner+X@Home.Example>")) == Address("owner", "home.example", "x")
