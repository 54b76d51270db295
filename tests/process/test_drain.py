"""`relayd drain` as a real process: stopped, killed, run to the end; refused; and out of time."""

import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.process.cloud import Cloud, clean_environment, eventually
from tests.process.test_paused import BRIEF

pytestmark = pytest.mark.process

MAILS = 120


@contextmanager
def drain(cloud: Cloud, **settings: str) -> Iterator[subprocess.Popen[str]]:
    """`relayd drain --json`, begun."""
    process = subprocess.Popen(
        [sys.executable, "-m", "relayd", "drain", "--json"],
        env=clean_environment() | cloud.environment | settings,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def ended(process: subprocess.Popen[str], within: float = 60.0) -> tuple[int, dict[str, Any], str]:
    """Exit code, what it printed, and what it said meanwhile."""
    printed, said = process.communicate(timeout=within)
    return process.returncode, json.loads(printed) if printed else {}, said


def sums(told: dict[str, Any]) -> int:
    """What all of its numbers but the first come to."""
    parts = ("discarded", "dead_lettered", "deferred")
    counts: int = sum(told[part]["count"] for part in parts)
    return counts + int(told["forwarded"]) + int(told["done_before"]) + int(told["in_hand"])


def test_a_queue_is_drained_in_three_goes(cloud: Cloud) -> None:
    """Ctrl-C in the first one: an orderly stop, with numbers that are those of the queue. SIGKILL in the second one,
    while mails are on their way to SES and nobody knows which of them got there. The third one waits for the leases and
    claims of the dead, and for SES's word on what was in doubt. Each mail goes out once, and nobody is named.
    """
    cloud.add_mask()
    cloud.mails(MAILS)
    for number in range(3):
        cloud.mail(MAILS + number, ("nobody@mask.example",))
    cloud.ses.delay = 0.2
    settings = {**BRIEF, **cloud.with_events, "RELAYD_IN_DOUBT_SECONDS": "5"}

    with drain(cloud, **settings) as process:
        assert eventually(lambda: len(cloud.sent()) > MAILS / 4, 30)
        process.send_signal(signal.SIGINT)
        code, stopped, said = ended(process)
    assert (code, stopped["ended"], stopped["clean"]) == (130, "interrupted", True), said
    assert MAILS / 4 < stopped["forwarded"] == len(cloud.sent()) < MAILS
    assert stopped["received"] == sums(stopped)
    left = MAILS + 3 - stopped["forwarded"] - stopped["discarded"]["count"]
    assert stopped["queue"] == {"visible": left, "delayed": 0, "in_flight": 0}

    with drain(cloud, **settings) as process:
        assert eventually(lambda: len(cloud.sent()) > MAILS / 2, 30)
        process.kill()
        process.wait()
    assert any(row.state == "sending" for row in cloud.deliveries()), "some are in doubt"
    left = sum(cloud.queued())
    cloud.ses.delay = 0.0

    with drain(cloud, **settings) as process:
        code, told, also_said = ended(process)
    assert (code, told["ended"]) == (0, "empty"), also_said
    assert told["forwarded"] + told["done_before"] + told["discarded"]["count"] == told["received"] == left
    assert cloud.queued() == (0, 0)
    assert Counter(row.state for row in cloud.deliveries()) == {"sent": MAILS, "discarded": 3}
    sends = cloud.sends_of_each_mail()
    assert (len(sends), set(sends.values())) == (MAILS, {1})
    assert cloud.dead_letters() == []
    assert "@" not in said + also_said
    assert "\x1b" not in said + also_said, "no bar where there is no terminal"


def test_a_drain_of_paused_mail_is_refused(cloud: Cloud) -> None:
    """At once, with what to do about it, and without taking anything."""
    cloud.add_mask()
    cloud.mail()
    paused = cloud.relayd("pause", "--all", "--reason", "a test")
    assert paused.returncode == 0, paused.stderr
    refused = cloud.relayd("drain")
    assert refused.returncode == 1
    assert refused.stdout == ""
    assert "relayd resume" in refused.stderr
    assert cloud.queued() == (1, 0)


def test_so_long_and_no_longer(cloud: Cloud) -> None:
    """S3 is down: the drain says so, and ends when its time is over, with the mail where it was and a script told."""
    cloud.add_mask()
    cloud.mails(20)
    cloud.s3.status = 503
    told = cloud.relayd("drain", "--timeout", "3s", "--json")
    cloud.s3.status = None
    assert told.returncode == 3, told.stderr
    document = json.loads(told.stdout)
    assert document["ended"] == "timeout"
    assert document["forwarded"] == 0
    assert document["received"] == sums(document)
    assert sum(cloud.queued()) == 20
    assert "s3 is down (s3_unavailable)" in told.stderr
