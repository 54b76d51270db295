"""`relayd replay` as it is called: wrong calls are told apart before anything is touched, and its words add up."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from relayd.cli import root
from relayd.commands.replay import telling
from relayd.commands.replay.asked import Asked, location
from relayd.errors import ConfigurationError
from relayd.ops.replay.offers import Offer
from relayd.ops.replay.outcomes import Outcomes, What


def called(*arguments: str, folder: Path | None = None, **settings: str) -> Result:
    """A call without a terminal. With a folder, there is a database, and an AWS that nobody reaches."""
    environ: dict[str, str | None] = {}
    if folder is not None:
        environ = {
            "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "eu-west-1",
            "RELAYD_QUEUE_URL": "http://127.0.0.1:9/123456789012/mail",
            "RELAYD_DATABASE_URL": f"sqlite:///{folder}/relayd.db",
            "RELAYD_MAIL_DOMAINS": "mask.example",
            "RELAYD_TOPIC_ARNS": "arn:aws:sns:eu-west-1:123456789012:mail",
            "RELAYD_BUCKETS": "received-mail",
            "RELAYD_SECRET": "0123456789abcdef0123456789abcdef",
            **settings,
        }
    return CliRunner().invoke(root, ["replay", *arguments], env=environ)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "There is no source."),
        (("--dead-letters", "--from", "x"), "more than one source"),
        (("--dead-letters", "--bucket", "s3://b"), "more than one source"),
        (("--bucket", "received-mail"), "names no bucket"),
        (("--bucket", "s3:///in"), "names no bucket"),
        (("--dead-letters", "--state", "failed"), "--state is for --deliveries"),
        (("--deliveries", "--state", "sent", "--yes"), "--state sent needs --again"),
        (("--bucket", "s3://b", "--since", "1h", "--reason", "x"), "have no reason"),
        (("--dead-letters", "--timeout", "1m"), "--timeout is for --here"),
        (("--dead-letters", "--dry-run", "--here"), "--dry-run does nothing"),
        (("--dead-letters", "--dry-run", "--rate", "3"), "--dry-run does nothing"),
        (("--dead-letters", "--since", "2026-02-01", "--until", "2026-01-01"), "--since is not before --until"),
        (("--dead-letters", "--again"), "confirm with --yes"),
        (("--bucket", "s3://b"), "confirm with --yes"),
        (("--dead-letters", "--limit", "0"), "--limit"),
        (("--dead-letters", "--rate", "0"), "--rate"),
        (("--dead-letters", "--mask", "nobody"), "--mask"),
    ],
)
def test_wrong_calls(arguments: tuple[str, ...], told: str) -> None:
    """Said at once, without a single setting; each with what to do instead."""
    result = called(*arguments)
    assert result.exit_code == 2
    assert told in result.output


@pytest.mark.parametrize(
    ("arguments", "settings", "told"),
    [
        (("--bucket", "s3://somebody-elses", "--since", "1h"), {}, "somebody-elses is not in RELAYD_BUCKETS"),
        (("--deliveries", "--bucket", "s3://somebody-elses"), {}, "somebody-elses is not in RELAYD_BUCKETS"),
        (("--deliveries",), {"RELAYD_BUCKETS": "*"}, "Say where: --bucket"),
        (("--from", "/no/such/folder"), {}, "/no/such/folder"),
        (("--dead-letters", "--dry-run"), {"RELAYD_SECRET": ""}, "RELAYD_SECRET"),
    ],
)
def test_what_cannot_be(tmp_path: Path, arguments: tuple[str, ...], settings: dict[str, str], told: str) -> None:
    """What the daemon would refuse, or nobody can find, is told before anything is read."""
    result = called(*arguments, folder=tmp_path, **settings)
    assert isinstance(result.exception, ConfigurationError)
    assert told in str(result.exception)


@pytest.mark.parametrize(
    ("text", "bucket", "folder"),
    [
        ("s3://mail", "mail", ""),
        ("s3://mail/", "mail", ""),
        ("s3://mail/in", "mail", "in/"),
        ("s3://mail/in/2026/", "mail", "in/2026/"),
    ],
)
def test_places(text: str, bucket: str, folder: str) -> None:
    """A prefix is a folder, with or without its slash."""
    assert location(text) == (bucket, folder)


ASKED = Asked(
    dead_letters=True,
    archive=None,
    deliveries=False,
    bucket=None,
    reasons=(),
    since=None,
    until=None,
    mask=None,
    name=None,
    state=None,
    limit=None,
    dry_run=False,
    again=False,
    here=False,
    rate=None,
    timeout=None,
    yes=False,
    as_json=False,
)
ENDS: list[tuple[str, What, str, float]] = [
    ("ses_rejected", "sent", "", 1_700_000_000.0),
    ("ses_rejected", "sent", "", 1_700_000_060.0),
    ("ses_rejected", "skipped", "sent_before", 1_700_000_000.0),
    ("bug", "skipped", "forged_signature", 0.0),
    ("bug\x1b[2J", "failed", "InternalError", 0.0),
]


def outcomes(*ends: tuple[str, What, str, float]) -> Outcomes:
    made = Outcomes()
    for reason, what, why, at in ends:
        made.add(Offer(reason, at), what, why)
    return made


def test_the_table_and_the_sum(capsys: pytest.CaptureFixture[str]) -> None:
    """By reason and end, each row with its times; one line that adds up; hints apart from it."""
    made = outcomes(*ENDS)
    made.passed_over, made.removed = 7, 1
    telling.tell(ASKED, made, "finished", "r1", None)
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert lines[0].split() == ["REASON", "MAILS", "OLDEST", "(UTC)", "NEWEST", "(UTC)", "WHAT"]
    assert lines[3].endswith("2023-11-14 22:13  2023-11-14 22:14  sent to the queue")
    assert "not trusted (forged_signature)" in printed.out
    assert "5 chosen = 2 sent to the queue + 1 failed + 2 skipped (7 others passed over)" in lines
    assert "1 were sent already, and are no dead letters any more." in lines
    assert "RELAYD_SECRET=new,old" in printed.err
    assert "\x1b" not in printed.out


def test_a_document_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    """The same, exactly, on standard output alone."""
    import dataclasses

    telling.tell(dataclasses.replace(ASKED, as_json=True), outcomes(*ENDS), "error", "r1", "queue_timeout")
    printed = capsys.readouterr()
    told = json.loads(printed.out)
    assert printed.err == ""
    assert (told["ended"], told["error"], told["replay"]) == ("error", "queue_timeout", "r1")
    assert told["chosen"] == told["sent"] + sum(told["skipped"].values()) + sum(told["failed"].values()) == 5
    assert sum(group["count"] for group in told["groups"]) == 5
    assert told["groups"][-1] == {
        "reason": "ses_rejected",
        "what": "skipped",
        "why": "sent_before",
        "count": 1,
        "oldest": 1_700_000_000.0,
        "newest": 1_700_000_000.0,
    }


def test_nothing_at_all(capsys: pytest.CaptureFixture[str]) -> None:
    """An empty source is no failure."""
    telling.tell(ASKED, Outcomes(), "finished", "r1", None)
    assert capsys.readouterr().out == "Nothing chosen.\n"
    assert telling.exit_code(ASKED, Outcomes(), "finished") == 0


@pytest.mark.parametrize(
    ("ends", "ending", "code"),
    [
        ([("a", "sent", "")], "finished", 0),
        ([("a", "sent", "")], "limit", 0),
        (
            [("a", "skipped", "sent_before"), ("b", "skipped", "not_mail"), ("c", "skipped", "no_recipient")],
            "finished",
            0,
        ),
        ([("a", "skipped", "not_json")], "finished", 4),
        ([("a", "failed", "InternalError")], "finished", 4),
        ([("a", "left", "content_missing")], "finished", 4),
        ([("a", "discarded", "spam")], "finished", 0),
        ([("a", "left", "timeout")], "timeout", 3),
        ([("a", "left", "interrupted")], "interrupted", 130),
    ],
)
def test_exit_codes(ends: list[tuple[str, What, str]], ending: str, code: int) -> None:
    """Scripts go by them."""
    made = outcomes(*((reason, what, why, 0.0) for reason, what, why in ends))
    assert telling.exit_code(ASKED, made, ending) == code


def test_what_failed_again_meanwhile_is_a_failure() -> None:
    """It was sent; and it is known to be a dead letter again."""
    made = outcomes(("a", "sent", "", 0.0))
    made.came_back = 1
    assert telling.exit_code(ASKED, made, "finished") == 4
