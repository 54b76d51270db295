"""The reader of raw mail: linear, total, and content with everything that relayd writes."""

import sysconfig
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relayd.sandbox.cloud import raw_mail
from relayd.sandbox.cloud.addresses import AddressError, check_address, parse_list
from tests.mail.judge import rewritten

CORPUS = Path(__file__).parents[3] / "shared" / "corpora" / "mikel-mail"
PYTHONS_OWN = Path(sysconfig.get_paths()["stdlib"]) / "test" / "test_email" / "data"


def mails(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix in (".eml", ".txt", ""))


@pytest.mark.parametrize("folder", [CORPUS, PYTHONS_OWN], ids=["mikel-mail", "cpython"])
def test_nothing_that_relayd_rewrites_is_refused(folder: Path) -> None:
    """Every mail of the corpora, once rewritten, is one that the strict SES takes."""
    if not folder.is_dir():
        pytest.skip(f"{folder.name} is not here")
    found = mails(folder)
    assert found
    refused: dict[str, str] = {}
    for path in found:
        try:
            raw_mail.read(rewritten(path.read_bytes()).data)
        except raw_mail.RawMailError as error:
            refused[path.name] = str(error)
    assert refused == {}


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400) | st.text(alphabet='From: a@b.\r\n"<>(),;:\\ \0ä', max_size=200).map(str.encode))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """Nothing but a refusal comes out, strict or not."""
    for strict in (True, False):
        try:
            mail = raw_mail.read(data, strict=strict)
        except raw_mail.RawMailError:
            continue
        assert mail.addresses["from"]


FROM = b"From: a@b.example\r\n"
LARGE = 2_000_000


@pytest.mark.parametrize(
    "make",
    [
        lambda n: FROM + b"\r\n" + b"\r\n" * (n // 2),
        lambda n: FROM + b"\r\n" + (b"name=" * 150 + b"\r\n") * (n // 752),
        lambda n: FROM + b"\r\n" + (b" name=x.exe\r\n") * (n // 12),
        lambda n: b"From: " + b"(" * (n // 10),
        lambda n: b"From: " + b"a@b.example,\r\n " * (n // 50) + b"a@b.example\r\n",
        lambda n: FROM + b"X: y\r\n" * (n // 30),
        lambda n: FROM + b"X:" + b"\r\n " * (n // 30),
    ],
    ids=["empty lines", "names", "folded names", "parentheses", "addresses", "fields", "folds"],
)
def test_time_is_linear(make: Callable[[int], bytes]) -> None:
    """Four times as much takes about four times as long, not sixteen times."""

    def seconds(data: bytes) -> float:
        best = 9.0
        for _ in range(2):
            began = time.process_time()
            with suppress(raw_mail.RawMailError):
                raw_mail.read(data)
            best = min(best, time.process_time() - began)
        return best

    small, large = seconds(make(LARGE // 8)), seconds(make(LARGE // 2))
    # What is quadratic takes many seconds; the half second is for a busy machine.
    assert large < small * 8 + 0.5


def test_addresses_are_found_in_lists() -> None:
    """Display names, comments, groups, routes and quotes are no part of an address."""
    text = (
        'A <a@x.example>, "B, b" <b@x.example> (c), g: d@x.example, <e@x.example>;, "f g"@x.example, <@r.example:h@x>'
    )
    assert parse_list(text) == ["a@x.example", "b@x.example", "d@x.example", "e@x.example", '"f g"@x.example', "h@x"]
    assert parse_list("") == []
    assert parse_list(" , ,") == []
    assert parse_list("undisclosed-recipients:;") == []


def test_domain_literals_and_quotes_are_addresses() -> None:
    """Rare forms that SES takes; and a quote that does not end is none."""
    check_address("a@[127.0.0.1]")
    check_address('"a b"@x.example')
    with pytest.raises(AddressError):
        check_address('"a b@x.example')
