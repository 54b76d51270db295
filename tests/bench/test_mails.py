"""The benchmark against rivals: its fake AWS, its arithmetic, and that every rival does its work."""

import json
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import urllib3

from bench.mails.comparing import Entry, Standing, Turns, order, ratios, side_by_side, spread
from bench.mails.document import DOCUMENT, filled
from bench.mails.measuring import Case, Door, Measured, fake_aws, measure
from bench.mails.post import BUCKET, MARKER, body_of, head_of, key_of
from bench.mails.programs import PROGRAMS, BenchError, Program, Running
from bench.mails.sets import SETS
from bench.mails.table import lines
from bench.mails.usage import cpu_seconds, rss_mb
from tests.process.cloud import eventually

MAILS = 20
SMALL = Case(size=3_000, concurrency=4, mails=MAILS, warm_up=4)
HTTP = urllib3.PoolManager(timeout=20.0, retries=False)


@pytest.fixture(scope="module")
def fake() -> Iterator[Door]:
    with fake_aws() as door:
        yield door


@pytest.fixture
def door(fake: Door) -> Iterator[Door]:
    """An empty one."""
    door = fake.another()
    door.ask("fresh", size=3_000)
    yield door
    door.ask("close")


def sqs(door: Door, operation: str, **told: Any) -> dict[str, Any]:
    headers = {"X-Amz-Target": f"AmazonSQS.{operation}"}
    answer = HTTP.request("POST", door.url, body=json.dumps(told).encode(), headers=headers)
    found: dict[str, Any] = answer.json()
    return found


def send(door: Door, mail: bytes) -> None:
    body = json.dumps({"Content": {"Raw": {"Data": b64encode(mail).decode()}}}).encode()
    assert HTTP.request("POST", f"{door.url}/v2/email/outbound-emails", body=body).status == 200


def receive(door: Door, **told: Any) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = sqs(door, "ReceiveMessage", MaxNumberOfMessages=10, **told).get("Messages", [])
    return messages


def test_a_lease_hides_a_message_until_it_ends(door: Door) -> None:
    """And the next receive counts on, with a handle of its own."""
    door.ask("put", count=1, rate=0)
    [first] = receive(door, VisibilityTimeout=600)
    assert receive(door) == []
    sqs(door, "ChangeMessageVisibility", ReceiptHandle=first["ReceiptHandle"], VisibilityTimeout=0)
    [second] = receive(door)
    assert second["MessageId"] == first["MessageId"]
    assert second["ReceiptHandle"] != first["ReceiptHandle"]
    assert second["Attributes"]["ApproximateReceiveCount"] == "2"


def test_a_stale_handle_deletes_nothing(door: Door) -> None:
    """A rival that deletes what it holds no longer would look faster than it is."""
    door.ask("put", count=1, rate=0)
    [first] = receive(door, VisibilityTimeout=0)
    [second] = receive(door, VisibilityTimeout=600)
    stale, fresh = first["ReceiptHandle"], second["ReceiptHandle"]
    entries = [{"Id": "a", "ReceiptHandle": stale, "VisibilityTimeout": 60}]
    assert sqs(door, "ChangeMessageVisibilityBatch", Entries=entries)["Failed"][0]["Id"] == "a"
    sqs(door, "DeleteMessage", ReceiptHandle=stale)
    assert door.ask("run")["deleted"] == 0
    sqs(door, "DeleteMessageBatch", Entries=[{"Id": "a", "ReceiptHandle": fresh}])
    state = door.ask("run")
    assert state["deleted"] == 1
    assert state["depth"] == [0, 0]


def test_it_counts_calls_and_knows_each_mail(door: Door) -> None:
    """By its number: a second send of the same is told, and one of none as well."""
    door.ask("put", count=2, rate=0)
    mail = HTTP.request("GET", f"{door.url}/{BUCKET}/{key_of(1)}").data
    assert mail == head_of(1) + body_of(3_000)
    send(door, mail)
    send(door, mail)
    send(door, MARKER.sub(b"nothing@", mail))
    state = door.ask("result")
    assert (state["sent"], state["sent_again"], state["unknown"]) == (1, 1, 1)
    assert state["calls"] == {"S3.GetObject": 1, "SESv2.SendEmail": 3}
    assert state["p99"] > 0


def test_a_mark_forgets_what_came_before(door: Door) -> None:
    """Waits count from it; rewound, the numbers begin anew, so that messages need not be signed again."""
    door.ask("put", count=1, rate=0)
    [message] = receive(door)
    send(door, head_of(0))
    sqs(door, "DeleteMessage", ReceiptHandle=message["ReceiptHandle"])
    assert door.ask("mark", rewind=False)["sent"] == 1
    assert door.ask("result")["p50"] is None
    assert door.ask("mark", rewind=True)["sent"] == 0
    door.ask("put", count=1, rate=0)
    [again] = receive(door)
    assert again["MessageId"] == message["MessageId"]
    send(door, head_of(0))
    assert door.ask("result")["sent_again"] == 0


def test_doors_do_not_see_each_other(fake: Door, door: Door) -> None:
    """Programs wait side by side, each with a queue of its own."""
    other = fake.another()
    other.ask("fresh", size=3_000)
    door.ask("put", count=3, rate=0)
    assert receive(other) == []
    assert other.ask("run")["calls"] == {"SQS.ReceiveMessage": 1}
    other.ask("close")


def test_sizes_are_what_they_say() -> None:
    """A mail of 30 KB has 30 KB, and one of 3 MB 3 MB."""
    for size in (3_000, 30_000, 3_000_000):
        assert abs(len(head_of(1) + body_of(size)) - size) < 0.05 * size


def test_the_processor_time_of_children_counts() -> None:
    """Of one that lives, and of one that is gone: a process for each mail must not come for free."""
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    program = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {burn!r}])\nprint('done', flush=True)\n"
    code = program + "input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        eventually(lambda: cpu_seconds([process.pid]) > 0.1, 10)
        assert process.stdout is not None
        assert process.stdout.readline() == "done\n"
        assert 0.3 <= cpu_seconds([process.pid]) < 1.0
        assert rss_mb([process.pid]) > 3
        process.kill()


def measured(**changed: Any) -> Measured:
    plain = Measured(
        mails=10,
        mails_per_second=100.0,
        mails_per_cpu_second=100.0,
        cpu_ms_per_mail=10.0,
        aws_calls_per_mail=2.2,
        calls={},
        rss_peak_mb=50.0,
        rss_growth_mb=0.0,
        p50=0.1,
        p99=0.2,
        seconds=0.1,
        fake_cpu_ms_per_mail=0.1,
        sent_again=0,
    )
    return replace(plain, **changed)


def test_ratios_are_of_medians_and_their_spread_is_of_rounds() -> None:
    """One odd round moves the spread, not the ratio."""
    ours = Standing([measured(mails_per_cpu_second=speed) for speed in (100.0, 300.0, 110.0)])
    theirs = {"it": Standing([measured(mails_per_cpu_second=speed) for speed in (50.0, 60.0, 55.0)])}
    assert ratios(ours, theirs, "mails_per_cpu_second") == {"it": 2.0}
    assert spread(ours, theirs, "mails_per_cpu_second") == {"it": [2.0, 5.0]}
    told = ours.told()
    assert told["mails_per_cpu_second"] == 110.0
    assert told["mails_per_cpu_second_spread"] == [100.0, 300.0]


def test_a_table_tells_what_is_not_installed() -> None:
    """Rather than nothing at all."""
    ours = Standing([measured()]).told()
    found = {
        "machine": {
            "processor": "x",
            "cores": 2,
            "memory_mb": 1,
            "load": [0.0],
            "python": "3",
            "node": None,
            "packages": {"boto3": "1"},
        },
        "fake": {"requests_per_second": 1, "mails_per_second": 1, "cpu_us_per_request": 1},
        "relayd": ours,
        "rivals": {"floor": ours, "node_sqs_consumer": None},
        "ratios": {"floor": 0.5, "node_sqs_consumer": None},
        "ratios_spread": {"floor": [0.4, 0.6], "node_sqs_consumer": None},
        "ratios_of_mails_per_second": {"floor": 0.3, "node_sqs_consumer": None},
        "took_seconds": 1,
    }
    text = "\n".join(lines(found))
    assert "0.5 (0.4 to 0.6), 0.3" in text
    assert "node_sqs_consumer" in text
    assert "not installed" in text


def test_a_document_gets_its_tables_between_their_marks() -> None:
    """And nothing else of it changes; a table that has no place is told."""
    marked = "before\n<!-- figures: start -->\nold\n<!-- end -->\nafter <!-- end -->\n"
    text = filled(marked, {"start": "| new |"})
    assert text == marked.replace("old", "| new |")
    with pytest.raises(KeyError):
        filled(marked, {"rivals": ""})


def test_every_set_has_its_place_in_the_document() -> None:
    """docs/performance.md says what `--set` can be."""
    text = DOCUMENT.read_text()
    for name in SETS:
        assert f"<!-- figures: {name} -->" in text, name


def test_the_order_changes_and_each_takes_part_once() -> None:
    """Nobody is always behind the same one, whose leftovers it might pay for."""
    entries = [Entry(program.name, program, SMALL) for program in list(PROGRAMS.values())[:3]]
    orders = [tuple(entry.name for entry in order(entries, number)) for number in range(6)]
    assert len(set(orders)) == 6
    assert all(len(set(names)) == 3 for names in orders)
    assert {names[0] for names in orders} == {entry.name for entry in entries}


def test_a_program_that_ends_is_told_with_what_it_said(fake: Door) -> None:
    """No figure comes of it."""

    def start(place: Any, _concurrency: int, _number: int) -> Any:
        command = [sys.executable, "-c", "raise SystemExit('no luck')"]
        running = Running(command, place.environment, place.folder / "log")
        return running, running.said_ready

    with pytest.raises(BenchError, match="no luck"):
        measure(fake, Program("broken", start, 10), SMALL)


@pytest.mark.process
def test_all_programs_forward_each_mail_once(fake: Door) -> None:
    """relayd and every rival that is installed, in turns, and none sends a mail again."""
    programs = [program for program in PROGRAMS.values() if program.missing is None]
    # The one that takes a tenth of a second for each gets fewer.
    entries = [
        Entry(
            program.name, program, replace(SMALL, mails=min(MAILS, program.pace // 2), warm_up=min(4, program.warm_up))
        )
        for program in programs
    ]
    said: list[str] = []
    standings = side_by_side(fake, entries, Turns(1, 1.0), said.append)
    assert len(standings) >= 5
    for entry in entries:
        name, standing = entry.name, standings[entry.name]
        assert len(standing.rounds) == 1, name
        for one in standing.rounds:
            assert one.calls["SESv2.SendEmail"] == one.calls["S3.GetObject"] == one.mails == entry.case.mails, name
            assert one.sent_again == 0, name
            assert one.mails_per_cpu_second > 0
            assert one.rss_peak_mb > 10
