"""The command: what it prints, for people and for programs, and what it does not know."""

import json
import os
from collections.abc import Sequence
from typing import Any

import pytest
from click.testing import CliRunner, Result

from relayd.cli import root
from relayd.ops.doctor.findings import Area
from relayd.sandbox.world import REGION
from tests.doctor.right import DOMAIN, Right


def doctor(right: Right | None, *arguments: str, columns: int = 100, unset: Sequence[str] = ()) -> Result:
    aws = {
        "AWS_ENDPOINT_URL": right.aws.endpoint if right is not None else "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": REGION,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "COLUMNS": str(columns),
    }
    environ: dict[str, str | None] = {**dict.fromkeys(unset), **aws, **(right.environ if right is not None else {})}
    return CliRunner().invoke(root, ["doctor", *arguments], env=environ)


@pytest.mark.parametrize("columns", [80, 120])
def test_the_screen_fits(right: Right, columns: int) -> None:
    """A line a check, none wider than the terminal but the commands; failures first of what is to do, then warnings."""
    right.queue(MaximumMessageSize="65536", DelaySeconds="5")
    right.deny("s3:GetBucketPolicy")
    result = doctor(right, columns=columns)
    assert result.exit_code == 4
    lines = result.stdout.splitlines()
    commands = [line for line in lines if line.startswith("         aws ")]
    assert len(commands) == 2
    assert max(len(line) for line in lines if line not in commands) <= columns
    ordered = ["  FAIL queues.size (relayd-sandbox)", "  WARN queues.delay (relayd-sandbox)", "could not be checked"]
    positions = [lines.index(line) for line in ordered]
    assert positions == sorted(positions)
    assert lines[-1] == f"1 failure, 1 warning, {_ok(lines)} ok, 1 could not be checked"
    assert "AWS does not allow s3:GetBucketPolicy" in result.stdout
    assert [line for line in lines if line.startswith("  FAIL size ")]
    areas = [area.value for area in Area]
    assert [line for line in lines if line in areas] == areas


def _ok(lines: list[str]) -> int:
    return int(lines[-1].split(", ")[2].split()[0])


def test_json_is_one_document(right: Right) -> None:
    """With counts that add up, and the commands as they are to be run."""
    right.queue(DelaySeconds="5")
    result = doctor(right, "--json", "--only", "queues")
    assert result.exit_code == 0
    document: dict[str, Any] = json.loads(result.stdout)
    assert list(document) == ["counts", "findings"]
    assert sum(document["counts"].values()) == len(document["findings"])
    assert document["counts"]["warning"] == 1
    [found] = [one for one in document["findings"] if one["result"] == "warning"]
    assert (found["check"], found["area"], found["subject"]) == ("queues.delay", "queues", "relayd-sandbox")
    assert found["evidence"] == {"DelaySeconds": "5"}
    [command] = found["commands"]
    assert command == (
        f'aws sqs set-queue-attributes --queue-url {right.world.queue_url} --attributes \'{{"DelaySeconds":"0"}}\''
    )


def test_areas_are_chosen(right: Right) -> None:
    """Those that are named, or all but those."""
    only = json.loads(doctor(right, "--json", "--only", "database", "--only", "settings").stdout)
    assert {one["area"] for one in only["findings"]} == {"database", "settings"}
    areas = ["settings", "identity", "queues", "topics", "buckets", "receipt", "ses", "permissions"]
    skipped = doctor(right, "--json", *[word for area in areas for word in ("--skip", area)])
    assert {one["area"] for one in json.loads(skipped.stdout)["findings"]} == {"database", "clock"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--only", "ses", "--skip", "ses"], "Nothing is left to check"),
        (["--only", "weather"], "'weather' is not one of"),
        (["--fix"], "No such option"),
        (["--timeout", "0"], "not in the range"),
        (["now"], "unexpected extra argument"),
    ],
)
def test_wrong_usage(arguments: list[str], says: str) -> None:
    """2, and what is wrong. There is no --fix, and there will be none."""
    result = doctor(None, *arguments)
    assert result.exit_code == 2
    assert says in result.stderr


def test_help_teaches() -> None:
    """Examples, areas and exit codes; every area is there."""
    result = doctor(None, "--help")
    assert result.exit_code == 0
    for text in ("relayd doctor --only ses", "changes nothing, ever", "Exit codes:", "permissions"):
        assert text in result.stdout


def test_nothing_is_set() -> None:
    """Every missing setting with its hint, and no traceback; AWS that cannot be reached is no failure by itself."""
    result = doctor(None, unset=[name for name in os.environ if name.startswith("RELAYD_")])
    assert result.exit_code == 4
    for name in ("QUEUE_URL", "DATABASE_URL", "MAIL_DOMAINS", "TOPIC_ARNS", "BUCKETS", "SECRET"):
        assert f"FAIL settings.readable (RELAYD_{name})" in result.stdout
    assert "AWS cannot be reached" in result.stdout
    assert result.exception is None or isinstance(result.exception, SystemExit)


def test_what_strangers_call_themselves_does_not_move_the_cursor(right: Right) -> None:
    """A subscription's endpoint, a rule's recipients: whoever may write them, they are only text here."""
    right.rule(Recipients=[f"x\x1b[2J@{DOMAIN}"])
    result = doctor(right, "--only", "receipt")
    assert "\x1b" not in result.stdout
