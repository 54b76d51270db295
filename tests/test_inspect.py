"""`relayd inspect`: every file looked at, none that stops the others, nothing but reports of what would happen."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from relayd.commands.inspect import command
from relayd.mail.hops import sign
from relayd.mail.letter import parse
from relayd.model.address import Address
from relayd.ops.explaining import explanation
from relayd.ops.inspect import Source, inspect, inspect_all, sources
from relayd.ops.judging import Assumed, judge
from relayd.ops.watching import looked_at
from relayd.rules.evidence import Case
from relayd.rules.inbound import TABLE
from relayd.wire.own import seal
from tests.wire.samples import envelope, received_text

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


def _told(folder: Path, name: str = "ses.json", *, enveloped: bool = False, **changes: Any) -> str:
    text = received_text(**changes)
    path = folder / name
    path.write_text(json.dumps(envelope(text)) if enveloped else text)
    return str(path)


def _rules(text: str) -> dict[str, str]:
    """What each rule said, by its reasons."""
    block = text.partition("rules, in their order:\n")[2].partition("\n\n")[0]
    return {line[13:49].strip(): f"{line[2:11].strip()}: {line[49:].strip()}" for line in block.splitlines()}


def test_every_rule_of_the_table_speaks(folder: Path) -> None:
    """In the table's order, each with what it looked at; a row that is new there needs nothing here."""
    rules = _rules(_run(str(folder / "good.eml")).stdout)
    assert list(rules) == [", ".join(rule.reasons) for rule in TABLE]
    assert rules["spam"] == "passed: verdicts.spam PASS"
    assert rules["mask_disabled"] == "passed: mask.enabled yes"
    assert "0 Received" in rules["loop"]


def test_the_rule_that_decides_is_named_with_what_it_saw(folder: Path) -> None:
    """And what else would have been against the mail."""
    verdicts = {"spamVerdict": {"status": "FAIL"}, "dmarcVerdict": {"status": "FAIL"}, "dmarcPolicy": "REJECT"}
    result = _run(str(folder / ".hidden"), "--notification", _told(folder, receipt=verdicts, mail={"headers": None}))
    assert "quarantine, spam" in result.stdout
    assert "dmarc FAIL (policy reject)" in result.stdout
    rules = _rules(result.stdout)
    assert rules["virus"] == "passed: verdicts.virus PASS"
    assert rules["spam"].startswith("decides: quarantine spam; verdicts.spam FAIL")
    assert "spam_handling quarantine" in rules["spam"]
    assert rules["dmarc_reject, dmarc_quarantine"] == "not asked: would have said: discard dmarc_reject"
    assert rules["loop"] == "not asked: would have said: discard loop"


def test_a_notification_tells_headers_and_recipients(folder: Path) -> None:
    """SES's header decides while it is complete, the mail's own where SES cut it off; the mask is the recipient."""
    loop = [{"name": "Received", "value": "x"}] * 30
    whole = _told(folder, mail={"headers": loop}, receipt={"recipients": ["News+tag@mask.example"]}, enveloped=True)
    assert "discard, loop" in _run(str(folder / "good.eml"), "--notification", whole).stdout
    cut = _told(folder, mail={"headers": loop, "headersTruncated": True}, receipt={"recipients": ["news@m.example"]})
    text = _run(str(folder / "good.eml"), "--notification", cut).stdout
    assert "forward, forwarded" in text
    assert "X-Relayd-Mask: news@m.example" in text
    assert "envelope sender: stranger@sender.example" in text


def test_a_mail_may_come_with_its_notification(folder: Path) -> None:
    """Then no PATH is needed; without the mail, it is said where it lies."""
    inline = {"action": {"type": "SNS", "topicArn": "arn", "encoding": "UTF-8"}}
    path = _told(folder, receipt=inline, content=GOOD.decode())
    assert "forward, forwarded" in _run("--notification", path).stdout
    line = json.loads(_run("--notification", path, "--json").stdout)
    assert (line["path"], line["decision"], line["bytes_in"]) == (path, "forward", len(GOOD))
    result = _run("--notification", _told(folder))
    assert result.exit_code == 2
    assert "aws s3 cp s3://incoming-mail/in/" in result.stderr


def test_a_released_mail_passes_the_rule_that_held_it_back(folder: Path) -> None:
    """The notification is one that `relayd quarantine release` put into the queue."""
    text = received_text(receipt={"spamVerdict": {"status": "FAIL"}})
    path = folder / "own.json"
    path.write_text(seal(text, released=["spam"], secrets=[b"secret"], now=0.0))
    told = _run(str(folder / "good.eml"), "--notification", str(path)).stdout
    assert "forward, forwarded" in told
    assert "released from quarantine: spam" in told


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "no JSON"),
        (b"From: somebody\n\nno json", "no JSON"),
        (b"\xff\xfe{", "no UTF-8"),
        (b"[]", "no notification"),
        (b'{"Messages": []}', "no notification"),
        (b'{"notificationType": "Received"}', "notification_incomplete: mail"),
        (b'{"notificationType": "AmazonSnsSubscriptionSucceeded"}', "no mail that was received"),
        (b" " * 5_000_000, "more than"),
    ],
)
def test_what_is_no_notification_is_refused_with_a_hint(folder: Path, content: bytes, problem: str) -> None:
    """Exit code 2, what is wrong, and what to give instead."""
    path = folder / "odd.json"
    path.write_bytes(content)
    result = _run(str(folder / "good.eml"), "--notification", str(path))
    assert (result.exit_code, result.stdout) == (2, "")
    assert problem in result.stderr
    assert "hint: give" in result.stderr


def test_calls_that_contradict_themselves_are_usage_errors(folder: Path) -> None:
    """A notification belongs to one mail, and a line of JSON has no room for a diff."""
    told = _told(folder)
    for wrong in (
        (str(folder), "--notification", told),
        (str(folder), "--diff"),
        (str(folder / "good.eml"), "--json", "--full"),
        ("-", "--notification", "-"),
        (str(folder / "good.eml"), "--notification", str(folder / "missing")),
        ("--diff",),
    ):
        assert _run(*wrong).exit_code == 2, wrong


FIELDS = (
    b"From: Bob <bob@example.org>\r\nTo: shop@mask.example\r\nTo: two@mask.example\r\nDKIM-Signature: x\r\n"
    b"X-SES-CONFIGURATION-SET: x\r\nX-Relayd-Hops: x\r\nList-Unsubscribe: <mailto:a@b.example>\r\nX-Odd: x\r\n"
    b"Subject: hello\r\n\r\nbody\r\n"
)


def test_each_header_field_is_accounted_for(tmp_path: Path) -> None:
    """Kept, changed, dropped or added, and why; the second copy of a field never passes."""
    (tmp_path / "mail").write_bytes(FIELDS)
    text = _run(str(tmp_path / "mail")).stdout.partition("header fields:\n")[2].partition("\n\n")[0]
    told = [(line[2:9].strip(), line[11:39].strip(), line[41:]) for line in text.splitlines()]
    assert [(fate, name) for fate, name, _ in told[:9]] == [
        ("changed", "From"),
        ("kept", "To"),
        ("dropped", "To"),
        ("dropped", "DKIM-Signature"),
        ("dropped", "X-SES-CONFIGURATION-SET"),
        ("dropped", "X-Relayd-Hops"),
        ("dropped", "List-Unsubscribe"),
        ("dropped", "X-Odd"),
        ("kept", "Subject"),
    ]
    assert "first copy" in told[2][2]
    assert "steer" in told[4][2]
    assert "reveal the owner" in told[6][2]
    assert "not on the list" in told[7][2]
    assert ("added", "X-Relayd-Mask", "") in told[9:]


def test_each_part_is_accounted_for(tmp_path: Path) -> None:
    """Which were written anew, which only got other line ends, and which are as they were."""
    mail = (
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\ncaf\xc3\xa9\r\n--b\r\n"
        b"Content-Type: text/html\r\n\r\none\ntwo\r\n--b\r\nContent-Type: image/png\r\n"
        b"Content-Transfer-Encoding: base64\r\n\r\naGVsbG8=\r\n--b--\r\n"
    )
    (tmp_path / "mail").write_bytes(mail)
    text = _run(str(tmp_path / "mail")).stdout.partition("parts:\n")[2].partition("\n\n")[0]
    assert [(line[2:14].strip(), line[16:].partition(",")[0]) for line in text.splitlines()] == [
        ("written anew", "text/plain"),
        ("line ends", "text/html"),
        ("as it was", "image/png"),
    ]


def test_the_whole_mail_can_be_shown(tmp_path: Path) -> None:
    """Body included, before and after."""
    (tmp_path / "mail").write_bytes(EIGHT)
    text = _run(str(tmp_path / "mail"), "--full").stdout
    before, after = text.partition("mail before:")[2].split("mail after:")
    assert "  caf\u00e9" in before
    assert "  caf=C3=A9" in after


def test_a_diff_shows_what_differs_and_nothing_else(tmp_path: Path) -> None:
    """Line ends alone are no difference, and a long common tail is left out."""
    (tmp_path / "mail").write_bytes(GOOD.replace(b"\r\n", b"\n") + b"same\n" * 100_000)
    text = _run(str(tmp_path / "mail"), "--diff").stdout
    lines = text.partition("--- before\n+++ after\n")[2].splitlines()
    assert "-From: Bob <bob@example.org>" in lines
    assert " Subject: hello" in lines
    assert len([line for line in lines if line == " same"]) <= 3


def test_a_diff_of_too_much_is_refused(tmp_path: Path) -> None:
    """Its time grows with the square of the lines that differ."""
    lines = (b"%d caf\xc3\xa9\r\n" % number for number in range(20_001))
    (tmp_path / "mail").write_bytes(GOOD + b"".join(lines))
    assert "Too much differs" in _run(str(tmp_path / "mail"), "--diff").stdout


ANSWER = (
    b"From: Me <me@example.org>\r\nTo: abcdefghijklmnopqrst@mask.example\r\nSubject: Re: hello\r\n\r\n"
    b"Write to me@example.org\r\n"
)


def test_an_answer_of_the_owners_goes_to_the_contact(tmp_path: Path) -> None:
    """From the mask, to the contact, and without the owner's address."""
    (tmp_path / "mail").write_bytes(ANSWER)
    options = ("--as-reply", "--owner", "me@example.org", "--contact", "bob@shop.example")
    text = _run(str(tmp_path / "mail"), *options).stdout
    assert "reply, replied" in text
    assert _rules(text)["reply_not_allowed"].startswith("decides: an answer of the owner's: goes to the contact")
    after = text.partition("header after:")[2]
    assert "To: bob@shop.example" in after
    assert "From: shop@mask.example" in after
    line = json.loads(_run(str(tmp_path / "mail"), "--json", "--write", str(tmp_path / "out"), *options).stdout)
    assert (line["decision"], line["reason"]) == ("reply", "replied")
    assert b"me@example.org" not in (tmp_path / "out" / "mail").read_bytes()


def test_an_answer_that_is_not_the_owners_is_discarded(tmp_path: Path) -> None:
    """Somebody else wrote it, or SES could not tell who did."""
    (tmp_path / "mail").write_bytes(ANSWER)
    stranger = _run(str(tmp_path / "mail"), "--as-reply", "--owner", "other@example.org").stdout
    assert "discard, reply_not_allowed" in stranger
    assert "sole_author me@example.org" in _rules(stranger)["reply_not_allowed"]
    verdicts = {"dmarcVerdict": {"status": "FAIL"}, "spfVerdict": {"status": "FAIL"}}
    told = _told(tmp_path, receipt=verdicts, mail={"headersTruncated": True})
    options = ("--as-reply", "--owner", "me@example.org", "--mask", "shop@mask.example", "--notification", told)
    assert "discard, reply_not_allowed" in _run(str(tmp_path / "mail"), *options).stdout


def test_an_answer_that_would_leak_is_refused(tmp_path: Path) -> None:
    """It was also written to somebody who is no contact."""
    (tmp_path / "mail").write_bytes(ANSWER.replace(b"Subject", b"Cc: friend@example.net\r\nSubject"))
    options = (str(tmp_path / "mail"), "--as-reply", "--owner", "me@example.org")
    assert "reply_leak" in _run(*options).stdout.splitlines()[0]
    assert "also written to somebody else" in _run(*options).stdout
    assert json.loads(_run(*options, "--json").stdout)["decision"] == "discard"


@pytest.mark.parametrize(
    ("secret", "told"), [("new,our-secret", "discard, loop"), ("another", "forward, "), ("", "forward, ")]
)
def test_a_hop_header_is_verified_with_the_secret_at_hand(tmp_path: Path, secret: str, told: str) -> None:
    """Without relayd's secret, or with another one, it counts for nothing."""
    (tmp_path / "mail").write_bytes(f"X-Relayd-Hops: {sign(2, [b'our-secret'])}\r\n".encode() + GOOD)
    result = CliRunner().invoke(command, [str(tmp_path / "mail")], env={"RELAYD_SECRET": secret})
    assert told in result.stdout


@given(st.binary(max_size=400))
@settings(max_examples=60, deadline=None)
def test_any_bytes_can_be_explained(data: bytes) -> None:
    """Fields, parts and differences of whatever it is."""
    source = Source("-", "stdin.eml")
    for assumed in (ASSUMED, replace(ASSUMED, contact=Address.parse("c@example.com"))):
        outcome = inspect(data, source, assumed)
        assert outcome.letter is not None
        assert outcome.judged is not None
        for view in ("headers", "full", "diff"):
            assert list(explanation(data, outcome.letter, outcome.judged, assumed, view))


def test_a_rule_that_cannot_be_watched_still_speaks() -> None:
    """A rule may do with a noun what only the noun can; the others go on explaining themselves."""

    def odd(case: Case) -> None:
        replace(case.evidence, hops=3)

    letter = parse(GOOD)
    case = judge(GOOD, letter, ASSUMED).case
    assert looked_at(odd, case) == ()
    assert looked_at(lambda found: found.evidence.hops, case) == ("hops 0",)


def test_what_ses_would_refuse_is_shown_rebuilt(tmp_path: Path) -> None:
    """A signed part in 8 bits cannot be sent and must not be changed: what is written is what would be sent instead."""
    signed = (
        b"From: a@stranger.example\r\nMIME-Version: 1.0\r\n"
        b'Content-Type: multipart/signed; protocol="application/pgp-signature"; boundary="s"\r\n\r\n'
        b"--s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
        b"gr\xc3\xbc\xc3\x9fe\r\n"
        b"--s\r\nContent-Type: application/pgp-signature\r\n\r\nsig\r\n--s--\r\n"
    )
    judged = judge(signed, parse(signed), ASSUMED)
    assert judged.rebuilt
    assert judged.rewritten is not None
    assert judged.rewritten.data.isascii()
    assert not judge(GOOD, parse(GOOD), ASSUMED).rebuilt
