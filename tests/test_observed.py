"""What an observer leaves behind: its report in a file, and its summary for whoever sits there."""

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from structlog.testing import capture_logs

from relayd.cli import root
from relayd.commands.observed import MOST_REASONS, print_summary, report_to
from relayd.errors import ConfigurationError
from relayd.model.message import Message
from relayd.runtime.sightings import MOST_WAITING, Sightings
from relayd.runtime.watching import Ended
from tests.fakes.clock import VirtualClock


class Terminal(io.StringIO):
    """Standard error as somebody sees it."""

    def isatty(self) -> bool:
        return True


def ended(message_id: str, outcome: str = "accepted", reason: str = "forwarded", **more: Any) -> Ended:
    facts = {"visible_in": None, "problem": None, "seconds": 0.1, "age": 1.0, "trace_id": None}
    return Ended(Message(message_id, "handle", "body"), outcome, reason, **facts | more)


def seen() -> dict[str, Any]:
    """A little of everything."""
    clock = VirtualClock()
    sightings = Sightings(clock)
    for number in range(1234):
        sightings.would("forward", "")
        sightings.ended(ended(f"m-{number}"))
    for number in range(MOST_REASONS + 3):
        sightings.would("discard", f"reason_{number}")
    sightings.ended(ended("odd", "rejected", "not_json"))
    sightings.ended(ended("later", "deferred", "s3_timeout", visible_in=30.0))
    sightings.stepped("s3.fetch", 0.25, "0af7651916cd43dd8448eb211c80319c")
    sightings.stepped("decode", 0.001, "")
    clock.sleep(3661)
    return {"observed": True, "queue": "mail-observed", **sightings.told()}


def test_the_summary_adds_up_and_fits_a_terminal() -> None:
    """80 columns, numbers a person can read, and every reason but the rarest ones."""
    out, err = io.StringIO(), Terminal()
    with redirect_stdout(out), redirect_stderr(err):
        print_summary(seen())
    text = err.getvalue()
    assert out.getvalue() == "", "standard output is the log's"
    assert "1,235 messages finished, 1 waiting" in text.replace("\n", " ")
    assert "would forward     1,234\n" in text
    assert f"would discard     {MOST_REASONS + 3}: reason_0 1, reason_1 1" in text
    assert "and 3 more reasons" in " ".join(text.split())
    assert "would fail        1: not_json 1\n" in text
    assert "not done yet      1: s3_timeout 1\n" in text
    assert text.index("s3.fetch") < text.index("decode")
    assert "0af7651916cd43dd8448eb211c80319c" in text
    assert [line for line in text.splitlines() if len(line) > 80] == []


def test_nothing_is_printed_where_nobody_sits() -> None:
    """Logs are JSON, a line each, and nothing else."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        print_summary(seen())
    assert (out.getvalue(), err.getvalue()) == ("", "")


def test_the_report_is_whole_or_not_there(tmp_path: Path) -> None:
    """It takes the place of the one before, and nothing is left beside it."""
    path = tmp_path / "observed.json"
    write = report_to(path)
    assert list(tmp_path.iterdir()) == [], "nothing is written before there is something to say"
    for number in (1, 2):
        write({"would": {"forward": number}})
        assert json.loads(path.read_text())["would"] == {"forward": number}
    assert list(tmp_path.iterdir()) == [path]


def test_a_report_that_cannot_be_written_ends_nothing(tmp_path: Path) -> None:
    """The disk may be full for an hour: that is said, and the next minute it is tried again."""
    folder = tmp_path / "folder"
    folder.mkdir()
    write = report_to(folder / "observed.json")
    folder.rmdir()
    with capture_logs() as logs:
        write({"would": {}})
    assert [(line["event"], line["log_level"]) for line in logs] == [("report_failed", "warning")]
    folder.mkdir()
    write({"would": {}})
    assert (folder / "observed.json").exists()


def test_a_report_that_never_can_be_written_is_refused_at_once(tmp_path: Path) -> None:
    """And not after an hour of looking."""
    with pytest.raises(ConfigurationError, match="cannot be written there"):
        report_to(tmp_path / "nowhere" / "observed.json")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--report", "file.json"], "--report is for --observe"),
        (["--observe", "--report", "."], "is a directory"),
    ],
)
def test_wrong_calls(arguments: list[str], words: str) -> None:
    """They are told before anything is read or opened."""
    result = CliRunner().invoke(root, ["run", *arguments])
    assert (result.exit_code, words in result.stderr) == (2, True), result.stderr


def test_a_message_counts_once() -> None:
    """However often it is put off, or comes again because SQS lost its delete."""
    sightings = Sightings(VirtualClock())
    sightings.ended(ended("one", "deferred", "s3_timeout", visible_in=5.0))
    sightings.ended(ended("one", "deferred", "s3_slow_down", visible_in=5.0))
    assert sightings.told()["messages"]["waiting_for"] == {"s3_slow_down": 1}
    sightings.ended(ended("one", problem="InternalError"))
    assert sightings.told()["messages"] == {
        "finished": 0,
        "waiting": 1,
        "finished_by": {},
        "waiting_for": {"forwarded": 1},
    }
    sightings.ended(ended("one", reason="finished_before"))
    sightings.ended(ended("one", reason="finished_before"))
    sightings.ended(ended("two"))
    sightings.ended(ended("two", reason="finished_before"))
    told = sightings.told()["messages"]
    assert (told["finished"], told["waiting"]) == (2, 0)
    sightings.ended(ended("three", "abandoned", "lease_lost"))
    assert sightings.told()["messages"]["waiting_for"] == {"lease_lost": 1}


def test_a_failed_delivery_is_not_counted_again_as_a_message() -> None:
    """Its delivery has been counted; only what nobody could read counts as a whole."""
    sightings = Sightings(VirtualClock())
    sightings.would("fail", "too_large")
    facts = {"deliveries": [{"state": "sent", "reason": "forwarded"}, {"state": "failed", "reason": "too_large"}]}
    sightings.ended(ended("one", "rejected", "too_large", facts=facts))
    sightings.ended(ended("two", "rejected", "not_json"))
    assert sightings.told()["would"]["fail"] == {"not_json": 1, "too_large": 1}


def test_what_is_remembered_of_waiting_messages_is_bounded() -> None:
    """An outage of a day makes no observer grow."""
    sightings = Sightings(VirtualClock())
    for number in range(MOST_WAITING + 5):
        sightings.ended(ended(f"m-{number}", "deferred", "s3_timeout", visible_in=5.0))
    assert sightings.told()["messages"]["waiting"] == MOST_WAITING
