"""What is shown on a terminal that strangers' mail must not steer."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from relayd.sandbox.outcomes import DeadLetter, Ended
from relayd.sandbox.receiving import Accepted
from relayd.sandbox.screen import MAX_SHOWN, Screen, decoded, shown
from relayd.sandbox.traces import Span

MAIL = Accepted(
    "mail-1", "t", "you@example.net", ("shop@mask.example",), "=?utf-8?q?h=C3=A9=1B[2J?= [bold]", 1234, 10.0,
    Span("t", "s", "", "x", 0.0, 1.0),
)  # fmt: skip


def end(state: str, reason: str = "") -> Ended:
    return Ended("d", "mail-1", "shop@mask.example", "me@home.example", state, reason, "", 0, 10.25)


def screen(*, quiet: bool = False) -> tuple[Screen, io.StringIO]:
    out = io.StringIO()
    return Screen(Console(file=out, width=200, highlight=False), quiet=quiet), out


def test_a_mail_and_its_ends() -> None:
    """What came, where it went and how long that took, what was refused and why."""
    one, out = screen()
    one.arrived(MAIL)
    one.ended(end("sent"))
    one.ended(end("discarded", "spam"))
    one.ended(end("failed", "ses_refused"))
    one.dead(DeadLetter("sqs-1", "not_json", "body"))
    lines = [line.partition(" ")[2].strip() for line in out.getvalue().splitlines()]
    assert lines == [
        "in   you@example.net → shop@mask.example  hé\N{REPLACEMENT CHARACTER}[2J [bold]  1.2 kB",
        "sent shop@mask.example → me@home.example  250 ms",
        "no   shop@mask.example discarded: spam",
        "FAIL shop@mask.example failed: ses_refused",
        "DEAD dead-lettered: not_json  message sqs-1",
    ]


def test_quiet_shows_no_single_mails() -> None:
    """While a run of samples has its progress bar."""
    one, out = screen(quiet=True)
    one.arrived(MAIL)
    one.ended(end("sent"))
    assert out.getvalue() == ""


@given(st.text())
def test_nothing_shown_can_steer_a_terminal(text: str) -> None:
    """No control characters, no line ends, no more than fits."""
    assert shown(text).isprintable()
    assert len(shown(text)) <= MAX_SHOWN


@pytest.mark.parametrize("subject", ["=?x-unknown?q?a?=", "=?utf-8?b?!!?=", "=?utf-8?q?=FF?="])
def test_a_subject_that_cannot_be_decoded_is_shown_as_it_is(subject: str) -> None:
    """A broken encoded word is no reason to stop showing mail."""
    assert isinstance(decoded(subject), str)


@given(st.text() | st.builds("=?{}?{}?{}?=".format, st.text(max_size=5), st.sampled_from("qbQBx"), st.text()))
def test_any_subject_is_decoded_or_kept(subject: str) -> None:
    """Never an exception: the door's thread runs through here."""
    assert isinstance(decoded(subject), str)
