"""`relayd status` as a command: on what there is, without what there is not, and changing nothing."""

import json
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from relayd.adapters.database import connect
from relayd.adapters.ledger import SqlLedger
from relayd.adapters.replicas import SqlReplicas
from relayd.cli import root
from relayd.commands.status import command
from relayd.ops.status.document import document
from relayd.ops.status.looking import Observer
from relayd.ops.status.sources import impatient, status_url
from relayd.runtime.clock import SystemClock
from tests.adapters.scripted_server import Answer, ScriptedServer
from tests.cloud.server import EmbeddedServer
from tests.contract.deliveries import send
from tests.contract.moto_server import REGION

PATIENCE = 30.0
"""Seconds for answers of this very machine."""
SAYS = {
    "replica": "pod-a",
    "queue": "mail",
    "slots": 16,
    "in_flight": 2,
    "recent": {"minute": {"seconds": 60.0, "finished": 120, "sent": 120, "messages": {"accepted": {"forwarded": 120}}}},
}


class World:
    """An operator with a queue, a database with a ledger, and SES."""

    def __init__(self, folder: Path, server: EmbeddedServer) -> None:
        self.server = server
        self.url, self.dead_url = server.new_queue()
        self.file = folder / "relayd.db"
        self.environ: dict[str, str | None] = {
            "RELAYD_QUEUE_URL": self.url,
            "RELAYD_DATABASE_URL": f"sqlite:///{self.file}",
            "AWS_ENDPOINT_URL": server.endpoint,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": REGION,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    def __call__(self, *args: str) -> Result:
        return CliRunner().invoke(root, ["status", *args], env=self.environ)

    def told(self, *urls: str) -> Any:
        """What the command tells, on a machine as busy as it may be: it has more patience here than it has itself."""
        with CliRunner().isolation(env=self.environ):
            observer = Observer(os.environ, [status_url(url) for url in urls], SystemClock())
            try:
                snapshot = observer.look(PATIENCE)
            finally:
                observer.close()
        return json.loads(json.dumps(document(snapshot)))

    def make_database(self) -> None:
        """With a delivery that was sent, and a replica that runs."""
        result = CliRunner().invoke(root, ["db", "upgrade"], env=self.environ | {"RELAYD_MAIL_DOMAINS": "mask.example"})
        assert result.exit_code == 0, result.output
        database = connect(f"sqlite:///{self.file}", pool_size=1)
        send(SqlLedger(database))
        name = self.url.rpartition("/")[2]
        SqlReplicas(database).beat("pod-a", 60.0, json.dumps(SAYS | {"queue": name}))
        database.close()


@pytest.fixture
def world(tmp_path: Path, embedded: EmbeddedServer) -> Iterator[World]:
    embedded.aws.clear_faults()
    yield World(tmp_path, embedded)
    embedded.aws.clear_faults()


def test_everything_that_answers_is_shown(world: World) -> None:
    """Queue, dead letters, replica, ledger and account; and the database has not been written to."""
    world.make_database()
    for _ in range(3):
        world.server.sqs.send_message(QueueUrl=world.url, MessageBody="m")
    world.server.sqs.send_message(QueueUrl=world.url, MessageBody="m", DelaySeconds=60)
    world.server.sqs.send_message(QueueUrl=world.dead_url, MessageBody="m")
    told = world.told()
    assert told["summary"] == "Forwarding 2.0/s; 4 waiting, empty in a moment."
    assert (told["queue"]["waiting"], told["queue"]["delayed"], told["queue"]["in_flight"]) == (3, 1, 0)
    assert told["dead_letters"]["waiting"] == 1
    assert [(one["replica"], one["silent"], one["slots"]) for one in told["replicas"]] == [("pod-a", False, 16)]
    assert told["deliveries"]["hour"]["sent"] == {"forward": 1}
    assert told["ses"]["enabled"] is True
    assert told["pauses"] == []
    assert told["events"] is None
    assert set(told["unknown"]) == {"oldest"}, "nobody emulates CloudWatch here"


def test_the_command_prints_it_for_people_and_for_programs(world: World) -> None:
    """One screen of text, or one document of JSON, and nothing else."""
    world.make_database()
    result = world()
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("relayd  mail-")
    result = world("--json")
    assert (result.exit_code, result.stderr) == (0, "")
    assert set(json.loads(result.stdout)) == set(world.told())


def test_without_any_setting_each_part_says_what_it_lacks() -> None:
    """And the exit code says that there was nothing at all."""
    bare: dict[str, str | None] = dict.fromkeys(name for name in os.environ if name.startswith(("RELAYD_", "AWS_")))
    nowhere = {"AWS_CONFIG_FILE": os.devnull, "AWS_EC2_METADATA_DISABLED": "true"}
    result = CliRunner().invoke(root, ["status"], env=bare | nowhere)
    assert result.exit_code == 1
    assert result.stdout.splitlines()[2].startswith("UNKNOWN  How the mail flows cannot be told")
    for variable in ("RELAYD_QUEUE_URL: it is required and not set", "RELAYD_DATABASE_URL: it is required and"):
        assert variable in result.stdout
    assert "Traceback" not in result.output


def test_a_wrong_setting_is_told_and_stops_nothing_else(world: World) -> None:
    """Even one that status does not need."""
    world.environ |= {"RELAYD_EVENTS_QUEUE_URL": "nonsense", "RELAYD_CONCURRENCY": "many", "RELAYD_TYPO": "x"}
    told = world.told()
    assert told["queue"]["waiting"] == 0
    assert told["unknown"]["events"].startswith("RELAYD_EVENTS_QUEUE_URL: ")


def test_a_database_that_is_not_there_is_not_made(world: World) -> None:
    """Whoever looks at the wrong folder shall not find an empty database there afterwards."""
    told = world.told()
    assert told["unknown"]["replicas"] == told["unknown"]["day"] == "the database file is not there"
    assert not world.file.exists()
    assert told["queue"] is not None


def test_a_database_of_the_version_before_is_read_as_far_as_it_goes(world: World) -> None:
    """And not upgraded: the daemons may still be of that version."""
    world.make_database()
    with sqlite3.connect(world.file) as connection:
        connection.execute("DROP TABLE replicas")
        connection.execute("UPDATE alembic_version SET version_num = '0002'")
    told = world.told()
    assert told["deliveries"]["hour"]["sent"] == {"forward": 1}
    assert told["unknown"]["replicas"].startswith("database not upgraded")
    with sqlite3.connect(world.file) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == ("0002",)


def test_a_file_that_is_no_database_is_told(world: World) -> None:
    """In words."""
    world.file.write_text("this is no database, but long enough to be looked at as if it were one" * 20)
    assert "the file is no database" in world.told()["unknown"]["replicas"]


def test_what_is_denied_is_told(world: World) -> None:
    """By SQS, and by SES; the rest is shown."""
    world.make_database()
    rules = [{"operation": name, "fault": "deny"} for name in ("sqs:GetQueueAttributes", "ses:GetAccount")]
    world.server.aws.faults(rules)
    told = world.told()
    assert told["unknown"]["queue"].startswith("access denied")
    assert told["unknown"]["account"] == "access denied: ses:GetAccount is not allowed"
    assert "AWS does not let relayd use the queue" in told["unknown"]["dead_letters"]
    assert told["summary"] == "Forwarding 2.0/s; how much waits is not known."


def test_what_hangs_is_not_waited_for(world: World) -> None:
    """Longer than the deadline; SQS's own time-out is shorter than that."""
    world.make_database()
    world.server.aws.faults([{"operation": "sqs:*", "fault": "hang"}])
    told = world.told()
    assert {told["unknown"]["queue"], told["unknown"]["dead_letters"]} <= {
        "queue timeout (ReadTimeoutError)",
        "no answer within 3 s",
        "SQS cannot be reached",
    }
    assert told["deliveries"]["hour"] is not None


def test_a_replica_is_asked_itself(world: World) -> None:
    """It knows better than its heartbeat; another one that does not answer is told."""
    world.make_database()
    name = world.url.rpartition("/")[2]
    says = json.dumps(SAYS | {"queue": name, "in_flight": 9}).encode()
    with ScriptedServer(Answer(body=says)) as server:
        source = server.endpoint.removeprefix("http://")
        told = world.told(server.endpoint, "http://127.0.0.1:1")
    (replica,) = told["replicas"]
    assert (replica["replica"], replica["in_flight"], replica["source"]) == ("pod-a", 9, source)
    assert told["unknown"]["replica 127.0.0.1:1"].startswith("replica unreachable")


@pytest.mark.parametrize("url", ["10.0.0.1:8080", "ftp://10.0.0.1", "http://", "http://h:port"])
def test_a_replica_s_address_is_looked_at_first(world: World, url: str) -> None:
    """A wrong call, which asks nobody."""
    result = world("--replica", url)
    assert result.exit_code == 2
    assert "--replica" in result.stderr


def test_watching_needs_a_terminal_and_json_none(world: World) -> None:
    """With a hint on what to do instead."""
    result = world("--watch")
    assert (result.exit_code, "needs a terminal" in result.stderr) == (2, True)
    result = world("--watch", "--json")
    assert (result.exit_code, "one document" in result.stderr) == (2, True)


def test_the_help_names_every_key_of_the_json(world: World) -> None:
    """They are a promise."""
    told = world.told()
    text = CliRunner().invoke(command, ["--help"]).stdout
    for key in told:
        assert f"{key}" in text, key
    for key in told["queue"]:
        assert key in text, key


def test_a_server_is_asked_for_little_time_and_no_changes() -> None:
    """Whatever the URL says itself stays; a SQLite URL has no parameters."""
    url = sa.make_url(impatient("postgresql://me:secret@host/relayd"))
    assert url.password == "secret"
    assert url.query["connect_timeout"] == "3"
    assert "statement_timeout=3000" in str(url.query["options"])
    assert "default_transaction_read_only=on" in str(url.query["options"])
    assert sa.make_url(impatient("postgresql://host/relayd?connect_timeout=9")).query["connect_timeout"] == "9"
    assert impatient("sqlite:////var/lib/relayd.db") == "sqlite:////var/lib/relayd.db"
