"""`relayd run --observe` as a real process: it says what a daemon would do, and leaves no trace anywhere."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from relayd.adapters.database import connect
from relayd.adapters.schema import metadata
from relayd.sandbox.cloud.client import EmbeddedAws
from tests.contract.databases import open_database, postgres_server
from tests.process.cloud import MAIL, Cloud, DaemonProcess, eventually

pytestmark = pytest.mark.process

SPAM = MAIL.replace(b"Subject:", b"X-Sandbox-Verdict: spam\r\nSubject:")


def observed_queue(cloud: Cloud) -> str:
    """A second queue of the same topic, as docs/migrate.md makes it; returns its URL."""
    url = cloud.clients.sqs.create_queue(QueueName=f"{queue_name(cloud.world.queue_url)}-observed")["QueueUrl"]
    arn = cloud.clients.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    cloud.clients.sns.subscribe(TopicArn=cloud.world.topic_arn, Protocol="sqs", Endpoint=arn)
    return url


def queue_name(url: str) -> str:
    return url.rpartition("/")[2]


def rows(url: str) -> dict[str, list[Any]]:
    """Every row of every table, but for heartbeats."""
    database = connect(url, pool_size=1)
    try:
        with database.reading() as connection:
            return {
                table.name: sorted(map(repr, connection.execute(sa.select(table)).all()))
                for table in metadata.sorted_tables
                if table.name != "replicas"
            }
    finally:
        database.close()


def calls(cloud: Cloud) -> dict[str, int]:
    assert isinstance(cloud.aws, EmbeddedAws)
    counted: dict[str, int] = cloud.aws.counts()["calls"]
    return counted


def changing(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    """The calls since then that could change anything but the queue that messages are taken from."""
    reading = (
        "Get",
        "Head",
        "List",
        "Describe",
        "ReceiveMessage",
        "DeleteMessageBatch",
        "ChangeMessageVisibilityBatch",
    )
    since = {name: count - before.get(name, 0) for name, count in after.items()}
    return {name: count for name, count in since.items() if count and not name.partition(":")[2].startswith(reading)}


def mixed(cloud: Cloud) -> None:
    """Twelve mails: eight to forward, one each unknown, spam and for two; and one whose object goes away."""
    for number in range(8):
        cloud.mail(number)
    cloud.mail(8, ("nobody@mask.example",))
    cloud.mail(9, data=SPAM)
    cloud.mail(10, ("shop@mask.example", "nobody@mask.example"))
    gone = cloud.accept("bounce@stranger.example", "shop@mask.example", MAIL.replace(b"{}", b"gone"))
    cloud.clients.s3.delete_object(Bucket=cloud.world.bucket, Key=gone)


def told(observer: DaemonProcess) -> dict[str, Any]:
    status: dict[str, Any] = json.loads(observer.get("/status")[1])
    return dict(status["observed"])


def test_an_observer_says_what_a_daemon_then_does(cloud: Cloud, tmp_path: Path) -> None:
    """On a second queue, before there is a daemon: the mail is fetched and rewritten, nothing is sent and nothing
    changed; and the daemon forwards what it said.
    """
    cloud.add_mask()
    url, report = observed_queue(cloud), tmp_path / "observed.json"
    mixed(cloud)
    before, calls_before = rows(cloud.database_url), calls(cloud)
    # The events queue of the settings is somebody else's, and not read.
    observer = cloud.daemon("--observe", "--report", str(report), **cloud.with_events, RELAYD_QUEUE_URL=url)
    assert eventually(lambda: told(observer)["messages"]["finished"] == 11, 30), observer.output()
    status = told(observer)
    assert status["would"]["forward"] == 9
    assert status["would"]["discard"] == {"unknown_mask": 2}
    assert status["would"]["quarantine"] == {"spam": 1}
    assert status["messages"]["waiting_for"] == {"content_missing": 1}
    figures = observer.get("/metrics")[1]
    assert 'relayd_observed_deliveries_total{reason="forwarded",state="sent"} 9.0' in figures
    assert "relayd_observed_dependency_duration_seconds_bucket" in figures
    assert "relayd_deliveries_total" not in figures
    assert "relayd_messages_total" not in figures
    assert observer.get("/")[0] == 200
    assert observer.stop() == 0
    assert changing(calls_before, calls(cloud)) == {}
    assert rows(cloud.database_url) == before
    assert cloud.sent() == []
    assert cloud.queued() == (12, 0)
    assert cloud.dead_letters() == []
    lines = [json.loads(line) for line in observer.output().splitlines()]
    assert all(line["observed"] is True for line in lines)
    assert len({line["mail_id"] for line in observer.events("message_settled")}) == 12
    (ended,) = observer.events("observation_ended")
    written = json.loads(report.read_text())
    assert (written["would"], written["observed"]) == (status["would"], True)
    assert ended["would"] == written["would"]
    assert {stage["stage"] for stage in written["stages"]} >= {"decode", "decide", "s3.fetch", "rewrite"}
    assert list(tmp_path.glob(".observed*")) == []
    _the_daemon_does_it(cloud, status["would"])


def _the_daemon_does_it(cloud: Cloud, would: dict[str, Any]) -> None:
    daemon = cloud.daemon()
    assert eventually(lambda: cloud.queued()[0] == 0 and len(cloud.sent()) == would["forward"], 30)
    states = [(row.state, row.reason) for row in cloud.deliveries() if row.state == "discarded"]
    assert sorted(reason for _, reason in states) == sorted(
        reason for fate in ("discard", "quarantine") for reason, count in would[fate].items() for _ in range(count)
    )
    # A queue that a daemon works on is not for looking at.
    refused = cloud.relayd("run", "--observe")
    assert refused.returncode == 2
    assert "a running relayd of this database receives from this queue" in refused.stderr
    assert daemon.stop() == 0


@pytest.fixture
def reader(cloud: Cloud) -> Iterator[str]:
    """The cloud's masks on a PostgreSQL server, and the URL of a login that may only read there."""
    servers = postgres_server()
    try:
        server = servers.__enter__()
    except Exception as error:
        pytest.skip(f"PostgreSQL does not start here: {type(error).__name__}: {error}")
    cloud.database_url = server.get_uri()
    database = open_database(cloud.database_url)
    cloud.add_mask()
    with database.writing() as connection:
        connection.exec_driver_sql("CREATE ROLE reader LOGIN")
        connection.exec_driver_sql("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
    database.close()
    yield sa.make_url(cloud.database_url).set(username="reader").render_as_string(hide_password=False)
    servers.__exit__(None, None, None)


def test_a_login_that_may_only_read_is_enough(cloud: Cloud, reader: str) -> None:
    """A server of several replicas, and an observer that could not write if it would."""
    url = observed_queue(cloud)
    mixed(cloud)
    observer = cloud.daemon("--observe", RELAYD_QUEUE_URL=url, RELAYD_DATABASE_URL=reader)
    assert eventually(lambda: told(observer)["messages"]["finished"] == 11, 30), observer.output()
    assert told(observer)["would"]["forward"] == 9
    assert observer.stop() == 0
    assert not observer.events("message_bug")
    assert not observer.events("chore_failed")


def test_what_cannot_work_is_said_at_once(cloud: Cloud, tmp_path: Path) -> None:
    """With a hint, and exit code 2; and a database that is not there is not made."""
    missing = cloud.relayd("run", "--observe")
    assert (missing.returncode, "RELAYD_DATABASE_URL" in missing.stderr) == (2, True), missing.stderr
    assert not (tmp_path / "relayd.sqlite").exists()
