"""Strangers' mail made fit to be shown, whatever its bytes are."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.sandbox import letters
from relayd.sandbox.letters import Pen
from relayd.sandbox.page.reading import READ_BYTES, SHOWN_CHARACTERS, compare, harmless, read, source


def test_text_and_html_and_what_else_there_is() -> None:
    """The first text, the first HTML, and the names of the rest."""
    pen = Pen(1, 1)
    reading = read(letters.html(pen))
    assert "<p>" in reading.html
    assert reading.text
    assert [part.name for part in read(letters.attachment(pen)).others] == ["report.bin"]


@pytest.mark.parametrize("charset", ["utf-8", "iso-8859-1", "no-such", "rot13", "idna", "base64", "\x00", "utf-7"])
def test_any_charset_reads(charset: str) -> None:
    """Unknown ones, and codecs of Python's that are no charsets, cost nothing but some letters."""
    data = f'Content-Type: text/plain; charset="{charset}"\r\n\r\nGr\xfc\xdfe, words'.encode("latin-1")
    assert "words" in read(data).text.replace("jbeqf", "words")


@given(
    st.binary(max_size=400)
    | st.binary(max_size=200).map(lambda some: b"Content-Type: multipart/mixed; boundary=" + some)
)
def test_any_bytes_are_shown_somehow(data: bytes) -> None:
    """Never an exception: it would be an error page for the one mail that is worth looking at."""
    read(data)
    source(data)
    compare(data, data[::-1])


def test_deep_nesting_and_size_are_bounded() -> None:
    """A mail made to hurt takes less than a blink or two."""
    nested = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(3000))
    begun = time.perf_counter()
    read(nested)
    reading = read(b"\r\n" + b"x\n" * READ_BYTES)
    compare(b"A: 1\r\n" * 50_000, b"B: 1\r\n" * 50_000)
    assert time.perf_counter() - begun < 5
    assert len(reading.text) == SHOWN_CHARACTERS
    assert reading.cut


@pytest.mark.parametrize(
    "tag", ["link", "LINK", "meta", "base", "iframe", "object", "embed", "form", "/form", "lInK\t", "a", "area"]
)
def test_tags_that_lead_elsewhere_are_none(tag: str) -> None:
    """A browser knows no <x-link>."""
    assert f"<{tag}" not in harmless(f"<p><{tag} rel=preconnect href=//evil.example>")


def test_other_tags_stay() -> None:
    """Only whole names count: a mail looks as it is meant to."""
    html = "<!doctype html><p><abbr>x</abbr><basefont><formula><metadata><b>1 < 2</b>"
    assert harmless(html).startswith(html)


def test_fields_are_compared_by_name_and_value() -> None:
    """Kept, rewritten, removed, added; a second copy is a field of its own."""
    before = b"From: a@x\r\nSubject: s\r\nX-Id: 1\r\nX-Id: 2\r\n\r\nFrom: no\r\n"
    after = b"from: b@y\r\nSubject: s\r\nX-Id: 2\r\nX-New: n\r\n\r\n"
    assert [(row.change, row.name, row.before, row.after) for row in compare(before, after)] == [
        ("rewritten", "From", "a@x", "b@y"),
        ("added", "X-New", "", "n"),
        ("removed", "X-Id", "1", ""),
        ("kept", "Subject", "s", "s"),
        ("kept", "X-Id", "2", "2"),
    ]


NAMES = st.sampled_from(["From", "To", "X-A"])
HEADERS = st.lists(st.tuples(NAMES, st.sampled_from(["1", "2", "3"])), max_size=6)


@given(HEADERS, HEADERS)
def test_no_field_is_lost_or_made_up(before: list[tuple[str, str]], after: list[tuple[str, str]]) -> None:
    """Each field of either mail stands in exactly one row."""
    rows = compare(*("".join(f"{name}: {value}\r\n" for name, value in fields).encode() for fields in (before, after)))
    assert sorted((row.name, row.before) for row in rows if row.change != "added") == sorted(before)
    assert sorted((row.name, row.after) for row in rows if row.change != "removed") == sorted(after)
    assert all((row.before == row.after) == (row.change == "kept") for row in rows)
