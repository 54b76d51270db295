"""The last wall: no address gets through it, and no input makes it slow."""

import time

from hypothesis import given
from hypothesis import strategies as st

from relayd.telemetry.redaction import ADDRESS, MAX_TEXT, redact, redact_value

LOCAL = st.from_regex(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}", fullmatch=True).map(lambda text: f"zq{text}zq")
DOMAIN = st.from_regex(r"[a-z0-9-]{1,20}\.(example|org)", fullmatch=True).map(lambda text: f"zd{text}")
AROUND = st.text(alphabet="ab <>,;:()\"'\n@\u00e4=", max_size=20)


@given(AROUND, LOCAL, st.sampled_from(["@", "%40", "\\u0040"]), DOMAIN, AROUND)
def test_no_address_survives_whatever_stands_around_it(
    before: str, local: str, at: str, domain: str, after: str
) -> None:
    """Neither the local part nor the domain, however the @ is written."""
    told = redact(f"{before}{local}{at}{domain}{after}")
    assert "zq" not in told
    assert "zd" not in told


def test_what_is_no_address_stays() -> None:
    """Ids, keys and texts are what logs are for."""
    for text in ("", "message_settled", "inbound/0a1b2c/x_y-z", "slow: read timed out after 30 s", "<[]>;,"):
        assert redact(text) == text


def test_what_stands_beside_an_address_stays() -> None:
    """The line must still say what happened."""
    assert redact("to <me@example.org>, refused") == f"to <{ADDRESS}>, refused"
    assert redact('a "john doe"@example.org b') == f"a {ADDRESS} b"
    assert redact("bounce+me=example.org@list.example x") == f"{ADDRESS} x"


def test_control_characters_cannot_forge_a_line() -> None:
    """A carriage return or an escape sequence in a value must not draw on a terminal."""
    assert redact("a\r\nlevel=error\x1b[2J\x00\ud800") == "a  level=error\\x1b[2J\\x00\\ud800"


def test_a_value_is_cut_and_still_redacted_at_the_cut() -> None:
    """An address that straddles the limit must not lose its @ and stay."""
    told = redact("x " * (MAX_TEXT // 2 - 4) + "secretlocalpart@example.org")
    assert len(told) <= MAX_TEXT
    assert "secret" not in told


def test_values_become_plain_data_of_bounded_depth() -> None:
    """Keys and nested values are redacted; objects turn into their type, because their repr may hold anything."""

    class Letter:
        def __repr__(self) -> str:
            return "me@example.org wrote"

    told = redact_value(
        {"me@example.org": ["you@example.org", 1, None, True, b"raw", Letter(), {"a": {"b": {"c": 1}}}]}
    )
    assert told == {ADDRESS: [ADDRESS, 1, None, True, "<bytes>", "<Letter>", {"a": {"b": "[...]"}}]}


def test_hostile_texts_take_linear_time() -> None:
    """A megabyte of @, of spaces or of letters is cut first and read once."""
    began = time.perf_counter()
    for text in ("@" * 1_000_000, "a" * 1_000_000 + "@", "a@ " * 300_000, '"' * 1_000_000 + "@", " " * 1_000_000):
        redact(text)
    assert time.perf_counter() - began < 1
