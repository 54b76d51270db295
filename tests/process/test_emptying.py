"""The dead-letter queue is emptied by a real process, which is killed on the way, and by the one after it."""

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from relayd.adapters.folder_shelf import FolderShelf
from relayd.adapters.s3_shelf import S3Shelf
from relayd.ops.archive import Archive, Damaged
from relayd.ops.archive_record import Record
from relayd.runtime.clock import SystemClock
from relayd.sandbox.world import Store
from tests.letters import mail_body, sent_attributes
from tests.process.cloud import MAIL, Cloud, clean_environment, eventually
from tests.wire.samples import MAIL_ID, received_text

pytestmark = pytest.mark.process

LETTERS = 60
LEASE = "2"
"""Seconds: so long the second run waits for what the first had in hand."""


def fill(cloud: Cloud, count: int = LETTERS) -> None:
    """Dead letters with their mails in the bucket; every tenth mail is gone, every tenth letter there twice."""
    for number in range(count):
        if number % 10:
            cloud.clients.s3.put_object(Bucket=cloud.world.bucket, Key=f"in/{number}", Body=b"mail %d" % number)
        for _ in range(1 + (number % 10 == 1)):
            cloud.clients.sqs.send_message(
                QueueUrl=cloud.world.dead_letter_url,
                MessageBody=mail_body(f"in/{number}", f"mail{number}", cloud.world.bucket),
                MessageAttributes=sent_attributes("mail_refused", f"m{number}"),  # type: ignore[arg-type]
            )


def dead(cloud: Cloud) -> tuple[int, int]:
    """Messages in the dead-letter queue: visible, and in flight."""
    answer = cloud.clients.sqs.get_queue_attributes(QueueUrl=cloud.world.dead_letter_url, AttributeNames=["All"])
    found = answer["Attributes"]
    return int(found["ApproximateNumberOfMessages"]), int(found["ApproximateNumberOfMessagesNotVisible"])


class Target:
    """An archive, as its files are."""

    def __init__(self, cloud: Cloud, kind: str, folder: Path) -> None:
        self._cloud = cloud
        self.folder = folder / "dead"
        self.place = str(self.folder) if kind == "folder" else f"s3://{cloud.world.bucket}/dead"
        self.archive = Archive(
            FolderShelf(self.folder)
            if kind == "folder"
            else S3Shelf(cloud.clients.s3, SystemClock(), cloud.world.bucket, "dead/"),
            SystemClock(),
        )

    def names(self) -> list[str]:
        if self.place == str(self.folder):
            return [path.name for path in self.folder.glob("[!.]*")] if self.folder.exists() else []
        listed = self._cloud.clients.s3.list_objects_v2(Bucket=self._cloud.world.bucket, Prefix="dead/")
        return [one["Key"] for one in listed.get("Contents", [])]

    def records(self) -> list[Record]:
        damaged: list[Damaged] = []
        found = list(self.archive.records(damaged.append))
        assert damaged == []
        return found


def begin(cloud: Cloud, target: Target, **settings: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "relayd", "drain", "--dead-letters", "--to", target.place, "--with-mail", "--json"]
    return subprocess.Popen(
        command,
        env=clean_environment() | cloud.environment | {"RELAYD_VISIBILITY_SECONDS": LEASE} | settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(cloud: Cloud, target: Target) -> dict[str, Any]:
    """Run it to its end."""
    with begin(cloud, target) as process:
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    told: dict[str, Any] = json.loads(output)
    return told


@pytest.mark.parametrize("kind", ["folder", "s3"])
def test_killed_half_way_nothing_is_lost(cloud: Cloud, tmp_path: Path, kind: str) -> None:
    """Each message is in the archive once, with its mail; the queue is empty; the second run says what it found."""
    fill(cloud)
    target = Target(cloud, kind, tmp_path)
    # Between the archive and the delete, where it hurts most, it takes its time.
    cloud.fault("sqs:DeleteMessageBatch", "latency", seconds=0.2)
    with begin(cloud, target) as first:
        assert eventually(lambda: len(target.names()) > LETTERS, 20)
        first.kill()
    cloud.clear_faults()
    before = target.records()
    assert 0 < len(before) < LETTERS
    assert sum(dead(cloud)) > 0
    told = finish(cloud, target)
    records = target.records()
    assert Counter(one.letter.original_message_id for one in records) == {f"m{number}": 1 for number in range(LETTERS)}
    assert (told["ended"], told["failed"], dead(cloud)) == ("empty", 0, (0, 0))
    assert told["read"] == told["archived"] + told["already_there"]
    # A put that was on its way to S3 may have arrived after the kill.
    assert LETTERS - len(before) - 10 <= told["archived"] <= LETTERS - len(before)
    for one in records:
        number = int(one.letter.original_message_id[1:])
        assert target.archive.mail(one) == (b"mail %d" % number if number % 10 else None)
        assert one.mail is not None
        assert one.mail.state == ("archived" if number % 10 else "gone")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_in_good_order(cloud: Cloud, tmp_path: Path, number: signal.Signals) -> None:
    """Exit code 130, a summary that adds up, and what is not archived visible in the queue at once."""
    fill(cloud, 40)
    target = Target(cloud, "folder", tmp_path)
    cloud.fault("sqs:DeleteMessageBatch", "latency", seconds=0.3)
    with begin(cloud, target) as process:
        assert eventually(lambda: len(target.names()) > 20, 20)
        process.send_signal(number)
        output, errors = process.communicate(timeout=20)
    assert process.returncode == 130, errors
    told = json.loads(output)
    assert told["ended"] == "interrupted"
    assert told["read"] == told["archived"] + told["already_there"] + told["failed"]
    assert dead(cloud) == (44 - told["read"], 0)
    assert told["queue"] == {"visible": 44 - told["read"], "delayed": 0, "in_flight": 0}
    assert len(target.records()) == told["archived"] < 40


def test_what_the_daemon_gave_up(cloud: Cloud, tmp_path: Path) -> None:
    """Real dead letters with the daemon's reasons: what came with them is there, and what the ledger knows."""
    cloud.add_mask()
    daemon = cloud.daemon()
    store = Store(cloud.world, cloud.clients)
    store.enqueue_odd("this is not JSON")
    store.put("in/7", MAIL)
    action = {"type": "S3", "bucketName": cloud.world.bucket, "objectKey": "in/7"}
    store.publish_odd(received_text(receipt={"action": action}), foreign=True)
    assert eventually(lambda: dead(cloud)[0] == 2, 20)
    assert daemon.stop() == 0
    target = Target(cloud, "folder", tmp_path)
    told = finish(cloud, target)
    found = {one.letter.reason: one for one in target.records()}
    assert set(told["reasons"]) == set(found)
    assert set(found) == {"not_json", "foreign_topic"}
    foreign = found["foreign_topic"]
    assert foreign.mail_id == MAIL_ID
    assert target.archive.mail(foreign) == MAIL
    assert time.time() - 60 < foreign.letter.first_received_at <= foreign.letter.failed_at <= time.time()
    assert foreign.first_failed_at == foreign.letter.failed_at
    assert foreign.letter.attributes["relayd-receive-count"].kind == "Number"
    assert json.loads(foreign.letter.message.body)["TopicArn"] == cloud.world.foreign_topic_arn
    assert found["not_json"].letter.message.body == "this is not JSON"
