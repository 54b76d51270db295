"""`relayd drain --dead-letters`, as somebody at a terminal sees it: on the embedded AWS."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from relayd.adapters.database import connect, upgrade
from relayd.cli import root
from relayd.errors import ConfigurationError
from tests.cloud.server import EmbeddedServer
from tests.contract.moto_server import REGION
from tests.letters import TRACE, TRACEPARENT, mail_body, sent_attributes

SECRETS = ("news@stranger.example", "shop@mask.example", "hello there")


class Operator:
    """Somebody at a terminal, with a dead-letter queue in the embedded AWS."""

    def __init__(self, folder: Path, server: EmbeddedServer) -> None:
        self.server = server
        self.folder = folder
        self.url, self.dead_url = server.new_queue()
        self.bucket = server.new_bucket()
        self.environ: dict[str, str | None] = {
            "RELAYD_QUEUE_URL": self.url,
            "RELAYD_BUCKETS": self.bucket,
            "RELAYD_VISIBILITY_SECONDS": "5",
            "AWS_ENDPOINT_URL": server.endpoint,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": REGION,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    def dead_letter(self, number: int, reason: str = "not_json", *, mail: bytes | None = None) -> None:
        key = f"in/{number}"
        if mail is not None:
            self.server.s3.put_object(Bucket=self.bucket, Key=key, Body=mail)
        self.server.sqs.send_message(
            QueueUrl=self.dead_url,
            MessageBody=mail_body(key, f"mail{number}", self.bucket),
            MessageAttributes=sent_attributes(reason, f"m{number}", {"traceparent": TRACEPARENT}),
        )

    def __call__(self, *args: str) -> Result:
        return CliRunner().invoke(root, ["drain", "--dead-letters", *args], env=self.environ)

    def json(self, *args: str, code: int = 0) -> Any:
        result = self(*args, "--json")
        assert result.exit_code == code, result.output
        return json.loads(result.stdout)

    @property
    def left(self) -> tuple[int, int]:
        found = self.server.attributes(self.dead_url)
        return int(found["ApproximateNumberOfMessages"]), int(found["ApproximateNumberOfMessagesNotVisible"])


@pytest.fixture
def operator(tmp_path: Path, embedded: EmbeddedServer) -> Iterator[Operator]:
    yield Operator(tmp_path, embedded)
    embedded.aws.clear_faults()


class TestCommand:
    """`relayd drain --dead-letters`, on the embedded AWS."""

    def test_into_a_folder(self, operator: Operator) -> None:
        """A table by reason that adds up, the place, and what the ledger could not say."""
        for number in range(12):
            operator.dead_letter(number, "bug" if number % 3 else "forged_signature")
        place = operator.folder / "dead letters"
        result = operator("--to", str(place))
        assert result.exit_code == 0, result.output
        table = [line.split() for line in result.stdout.splitlines()[:4]]
        assert table[0] == ["REASON", "READ", "ARCHIVED", "ALREADY", "THERE", "FAILED"]
        assert table[1:] == [
            ["bug", "8", "8", "0", "0"],
            ["forged_signature", "4", "4", "0", "0"],
            ["all", "12", "12", "0", "0"],
        ]
        assert str(place) in result.stdout
        assert "The dead-letter queue is empty." in result.stdout
        assert "Note: the ledger was not asked (RELAYD_DATABASE_URL is not set)" in result.stderr
        assert operator.left == (0, 0)
        document = json.loads(next(place.glob("m3.*.json")).read_text())
        assert document["reason"] == "forged_signature"
        assert (document["mail_id"], document["trace_ids"]) == ("mail3", [TRACE])
        assert document["attributes"]["traceparent"] == {"type": "String", "value": TRACEPARENT}
        assert document["attributes"]["relayd-receive-count"] == {"type": "Number", "value": "1"}
        assert document["sqs"]["queue"] == operator.dead_url.rpartition("/")[2]
        assert document["first_received_at"] == "2023-11-14T22:13:20.000Z"
        assert document["last_failed_at"] == document["first_failed_at"] == document["sqs"]["sent_at"]
        assert document["mail"] is None

    def test_into_a_bucket_with_the_mails(self, operator: Operator) -> None:
        """JSON for programs; the ledger is asked where there is one."""
        database = connect(f"sqlite:///{operator.folder}/relayd.db", pool_size=1)
        upgrade(database)
        database.close()
        operator.environ["RELAYD_DATABASE_URL"] = f"sqlite:///{operator.folder}/relayd.db"
        operator.environ["RELAYD_DEAD_LETTER_URL"], operator.environ["RELAYD_QUEUE_URL"] = operator.dead_url, None
        for number in range(5):
            operator.dead_letter(number, mail=b"mail %d" % number if number else None)
        place = f"s3://{operator.server.new_bucket()}/kept/dead"
        first = operator.json("--to", place, "--with-mail", "--max-messages", "3")
        told = operator.json("--to", place, "--with-mail")
        assert (first["ended"], first["read"], first["queue"]["visible"]) == ("enough", 3, 2)
        assert (told["ended"], told["read"], told["archived"], told["already_there"]) == ("empty", 2, 2, 0)
        assert (told["to"], told["failed"], told["notes"]) == (f"{place}/", 0, [])
        assert told["queue"] == {"visible": 0, "delayed": 0, "in_flight": 0}
        assert first["reasons"]["not_json"] == {"read": 3, "archived": 3, "already_there": 0, "failed": 0}
        states = {name: first["mails"].get(name, 0) + told["mails"].get(name, 0) for name in ("archived", "gone")}
        assert states == {"archived": 4, "gone": 1}
        assert operator.left == (0, 0)
        listed = operator.server.s3.list_objects_v2(Bucket=place.split("/")[2], Prefix="kept/dead/")["Contents"]
        assert sorted(one["Key"].rpartition(".")[2] for one in listed) == ["eml"] * 4 + ["json"] * 5

    def test_an_empty_queue(self, operator: Operator) -> None:
        """Done, and nothing but the folder was made."""
        result = operator("--to", str(operator.folder / "a"))
        assert (result.exit_code, "The dead-letter queue is empty. 0 read" in result.stdout) == (0, True)
        assert list((operator.folder / "a").iterdir()) == []

    def test_time_that_is_over(self, operator: Operator) -> None:
        """Exit code 3, and what is in hand is back in the queue; the next run does the rest."""
        for number in range(30):
            operator.dead_letter(number)
        operator.server.aws.faults([{"operation": "s3:PutObject", "fault": "latency", "seconds": 0.6}])
        place = f"s3://{operator.server.new_bucket()}"
        told = operator.json("--to", place, "--timeout", "1s", code=3)
        operator.server.aws.clear_faults()
        assert (told["ended"], told["failed"]) == ("timeout", 0)
        assert 0 < told["read"] < 30
        assert operator.left == (30 - told["read"], 0)
        rest = operator.json("--to", place, "--max-messages", str(30 - told["read"]))
        assert told["archived"] + rest["archived"] + rest["already_there"] == 30
        assert operator.left == (0, 0)

    def test_storage_that_says_no(self, operator: Operator) -> None:
        """Exit code 2 with the permissions that are missing; nothing left the queue, and the summary says so."""
        for number in range(3):
            operator.dead_letter(number)
        bucket = operator.server.new_bucket()
        operator.server.aws.faults([{"operation": "s3:PutObject", "fault": "deny"}])
        result = operator("--to", f"s3://{bucket}/x")
        operator.server.aws.clear_faults()
        assert isinstance(result.exception, ConfigurationError)
        assert "s3:PutObject" in str(result.exception)
        assert "3 failed: configuration" in result.stderr
        assert operator.left == (3, 0)

    def test_an_outage_of_storage(self, operator: Operator) -> None:
        """Exit code 4, with the reason; nothing left the queue."""
        operator.dead_letter(1, mail=b"x")
        operator.server.aws.faults([{"operation": "s3:GetObject", "fault": "deny", "resource": f"{operator.bucket}/*"}])
        result = operator("--to", str(operator.folder / "a"), "--with-mail", "--max-messages", "1")
        operator.server.aws.clear_faults()
        assert result.exit_code == 4, result.output
        assert "1 failed: access_denied (allow s3:GetObject" in result.stderr
        assert operator.left == (1, 0)

    def test_a_queue_that_says_no(self, operator: Operator) -> None:
        """Which permissions it takes."""
        operator.server.aws.faults([{"operation": "sqs:ReceiveMessage", "fault": "deny"}])
        result = operator("--to", str(operator.folder / "a"))
        operator.server.aws.clear_faults()
        assert "sqs:ReceiveMessage, DeleteMessage" in str(result.exception)

    @pytest.mark.parametrize(
        ("args", "told"),
        [
            ([], "--dead-letters needs --to"),
            (["--to", "x", "--rate", "5"], "--rate is not for --dead-letters"),
            (["--to", "x", "--timeout", "soon"], "like 90s"),
            (["--to", "x", "--max-messages", "0"], "--max-messages"),
        ],
    )
    def test_a_wrong_call(self, operator: Operator, args: list[str], told: str) -> None:
        """Exit code 2, and nothing was touched."""
        operator.dead_letter(1)
        result = operator(*args)
        assert (result.exit_code, told in result.output) == (2, True), result.output
        assert operator.left == (1, 0)

    def test_settings_that_are_missing(self, operator: Operator) -> None:
        """Only those that are needed, all at once."""
        operator.environ |= {"RELAYD_QUEUE_URL": None, "RELAYD_BUCKETS": None}
        result = operator("--to", "x", "--with-mail")
        assert isinstance(result.exception, ConfigurationError)
        assert {one.subject for one in result.exception.problems} == {"RELAYD_QUEUE_URL", "RELAYD_BUCKETS"}

    def test_nothing_personal_is_printed(self, operator: Operator) -> None:
        """Not on the terminal, and not in JSON, which may end up in a Job's log."""
        operator.dead_letter(1, mail=b"Subject: hello there\r\n\r\n")
        operator.dead_letter(2)
        for option in ([], ["--json"]):
            output = operator("--to", str(operator.folder / "a"), "--with-mail", "--max-messages", "1", *option).output
            assert not any(secret in output for secret in (*SECRETS, "stranger@sender.example"))
