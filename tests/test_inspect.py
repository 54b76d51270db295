"""`relayd inspect`: every file looked at, none that stops the others, nothing but reports of what would happen."""

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from relayd.commands.inspect import command
from relayd.model.address import Address
from relayd.ops.inspect import Assumed, Source, inspect_all, sources

GOOD = b"From: Bob <bob@example.org>\r\nSubject: hello\r\n\r\nbody\r\n"
EIGHT = b"From: Bob <bob@example.org>\n\ncaf\xc3\xa9\n"
LOOP = b"Received: x\r\n" * 30 + GOOD
KEYS = ["path", "decision", "reason", "error", "bytes_in", "bytes_out", "repaired_parts", "seconds"]
ASSUMED = Assumed(Address.parse("shop@mask.example"), Address.parse("owner@example.org"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Mails with and without a usual name, at two levels, and an empty file."""
    root = tmp_path / "mails"
    (root / "deep" / "deeper").mkdir(parents=True)
    (root / "good.eml").write_bytes(GOOD)
    (root / ".hidden").write_bytes(LOOP)
    (root / "deep" / "no suffix").write_bytes(EIGHT)
    (root / "deep" / "deeper" / "empty").write_bytes(b"")
    return root


def _run(*arguments: str, data: bytes | None = None) -> Result:
    return CliRunner().invoke(command, arguments, input=data)


def _lines(result: Result, exit_code: int = 0) -> dict[str, dict[str, object]]:
    assert result.exit_code == exit_code, result.output
    return {line["path"]: line for line in map(json.loads, result.stdout.splitlines())}


def test_json_has_one_line_a_mail(folder: Path) -> None:
    """Every regular file whatever its name, with the keys of the contract in their order."""
    lines = _lines(_run(str(folder), "--json"))
    assert sorted(lines) == sorted(str(path) for path in folder.rglob("*") if path.is_file())
    assert all(list(line) == KEYS for line in lines.values())
    good, loop = lines[str(folder / "good.eml")], lines[str(folder / ".hidden")]
    assert (good["decision"], good["reason"], good["error"]) == ("forward", "forwarded", None)
    assert good["bytes_in"] == len(GOOD)
    assert (loop["decision"], loop["reason"], loop["bytes_out"]) == ("discard", "loop", 0)
    assert lines[str(folder / "deep" / "no suffix")]["repaired_parts"] == 1


def test_write_keeps_the_relative_path(folder: Path, tmp_path: Path) -> None:
    """What is forwarded is written where it was found; what is discarded is not."""
    out = tmp_path / "out"
    assert _run(str(folder), "--write", str(out)).exit_code == 0
    assert (out / "deep" / "no suffix").read_bytes().endswith(b"\r\n\r\ncaf=C3=A9\r\n")
    assert (out / "good.eml").read_bytes().endswith(b"\r\n\r\nbody\r\n")
    assert not (out / ".hidden").exists()


def test_bytes_out_is_what_was_written(folder: Path, tmp_path: Path) -> None:
    """The report's size is the size of the mail that SES would get."""
    lines = _lines(_run(str(folder), "--json", "--write", str(tmp_path / "out")))
    assert lines[str(folder / "good.eml")]["bytes_out"] == (tmp_path / "out" / "good.eml").stat().st_size


def test_two_folders_do_not_overwrite_each_other(folder: Path, tmp_path: Path) -> None:
    """The same relative path twice: both mails are kept."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "good.eml").write_bytes(GOOD.replace(b"hello", b"second"))
    _run(str(folder), str(other), "--write", str(tmp_path / "out"))
    written = [path.read_bytes() for path in (tmp_path / "out").rglob("good.eml")]
    assert sorted(b"second" in data for data in written) == [False, True]


def test_mask_and_owner_can_be_named() -> None:
    """The assumed mask stands in the mail; a mask called noreply is discarded as the rules say."""
    result = _run("-", "--mask", "news+tag@m.example", data=GOOD)
    assert "X-Relayd-Mask: news+tag@m.example" in result.stdout
    assert "@m.example>" in result.stdout
    line = json.loads(_run("-", "--json", "--mask", "noreply@m.example", data=GOOD).stdout)
    assert (line["path"], line["decision"], line["reason"]) == ("-", "discard", "noreply")


def test_one_mail_is_explained(folder: Path) -> None:
    """For a single mail: the decision, what was assumed, and the header before and after."""
    text = _run(str(folder / "good.eml")).stdout
    assert "forward, forwarded" in text
    assert "shop@mask.example" in text
    assert text.index("header before:") < text.index("  Subject: hello") < text.index("header after:")
    assert '  From: "Bob (bob at example.org)" <' in text


def test_a_terminal_is_safe_from_what_a_mail_says(tmp_path: Path) -> None:
    """Escape sequences in a header are shown, not sent."""
    (tmp_path / "mail").write_bytes(b"Subject: \x1b[2Jgone\r\n\r\n")
    assert "\x1b" not in _run(str(tmp_path / "mail")).stdout


def test_many_mails_are_summed_up(folder: Path) -> None:
    """One line a mail, then what became of them."""
    text = _run(str(folder)).stdout
    assert len(text.splitlines()) == 6
    assert "4 mails: 3 forward, 1 discard (loop); 1 parts repaired" in text


def test_a_path_that_is_not_there_is_a_usage_error(folder: Path) -> None:
    """Exit code 2 with a hint, before anything is looked at."""
    result = _run(str(folder), str(folder / "missing"), "--json")
    assert result.exit_code == 2
    assert "does not exist" in result.stderr
    assert result.stdout == ""
    assert _run(str(folder), "--mask", "no mask").exit_code == 2
    assert _run().exit_code == 2


def test_what_cannot_be_read_is_a_line_like_any_other(folder: Path) -> None:
    """A file that vanished, or a folder where a file was: an error in its line, and on to the next."""
    mails = [Source(str(folder / "gone"), "gone"), Source(str(folder), "x"), Source(str(folder / "good.eml"), "g")]
    gone, directory, good = inspect_all(mails, ASSUMED, 1)
    assert (gone.decision, gone.reason, gone.error) == ("error", "unreadable", "No such file or directory")
    assert directory.reason == "unreadable"
    assert good.decision == "forward"


def test_what_cannot_be_written_is_a_line_like_any_other(folder: Path, tmp_path: Path) -> None:
    """A file stands where the output's folder should be: the mails are still looked at."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "deep").write_bytes(b"in the way")
    lines = _lines(_run(str(folder), "--json", "--write", str(tmp_path / "out")), exit_code=1)
    assert lines[str(folder / "deep" / "no suffix")]["reason"] == "unwritable"
    assert lines[str(folder / "good.eml")]["decision"] == "forward"


def test_the_exit_code_tells_that_something_is_missing(folder: Path, tmp_path: Path) -> None:
    """1 in every form of output; a mail that is refused or discarded is an answer, and no failure."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "good.eml").mkdir()
    write = ("--write", str(tmp_path / "out"))
    assert _run(str(folder), *write).exit_code == 1
    assert _run(str(folder / "good.eml"), *write).exit_code == 1
    assert _run(str(folder / ".hidden"), *write).exit_code == 0


def test_an_empty_folder_is_no_error(tmp_path: Path) -> None:
    """Nothing to look at is said so."""
    result = _run(str(tmp_path))
    assert result.exit_code == 0
    assert "0 mails" in result.stdout


def test_several_processes_report_in_order(tmp_path: Path) -> None:
    """Enough mails for several processes: one report each, in the order of the files."""
    for number in range(200):
        (tmp_path / f"{number:03d}").write_bytes(GOOD)
    found = list(sources(str(tmp_path)))
    reports = list(inspect_all(found, ASSUMED, 2))
    assert [os.path.basename(report.path) for report in reports] == [f"{number:03d}" for number in range(200)]
    assert {report.decision for report in reports} == {"forward"}


def test_only_regular_files_are_looked_at(tmp_path: Path) -> None:
    """A pipe in a folder would wait for ever; a link to a mail is a mail."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "mail").write_bytes(GOOD)
    (tmp_path / "link").symlink_to(tmp_path / "mail")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    lines = _lines(_run(str(tmp_path), "--json"), exit_code=1)
    assert {os.path.basename(path): line["decision"] for path, line in lines.items()} == {
        "mail": "forward",
        "link": "forward",
        "dangling": "error",
    }
