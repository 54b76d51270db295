"""A dependency that refuses everything: the daemon takes no more mail, says so, and comes back by itself."""

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from relayd.sandbox.cloud.client import EmbeddedAws
from tests.process.cloud import Cloud, DaemonProcess, eventually

pytestmark = pytest.mark.process

MAILS = 40
"""More than the eight slots could take in hand twice."""


@dataclass(frozen=True)
class Outage:
    """How a dependency is made to fail for everybody, and what relayd calls that."""

    dependency: str
    reason: str
    turn: Callable[[Cloud, bool], None]
    """Begin it (True), or end it."""


def _s3(cloud: Cloud, on: bool) -> None:
    cloud.s3.status = 500 if on else None


def _ses(cloud: Cloud, on: bool) -> None:
    cloud.clients.ses.put_account_sending_attributes(SendingEnabled=not on)


S3_FAILS = Outage("s3", "s3_unavailable", _s3)
SES_IS_PAUSED = Outage("ses", "ses_sending_paused", _ses)


def gauge(daemon: DaemonProcess, name: str, dependency: str) -> float | None:
    """What /metrics says of one dependency."""
    found = re.search(rf'^{name}\{{[^}}]*dependency="{dependency}"[^}}]*\}} (\S+)$', daemon.get("/metrics")[1], re.M)
    return float(found[1]) if found else None


def receives(cloud: Cloud) -> int:
    """Calls so far. Nobody but the daemon makes them while a test looks."""
    assert isinstance(cloud.aws, EmbeddedAws)
    count: int = cloud.aws.counts()["calls"].get("sqs:ReceiveMessage", 0)
    return count


@pytest.mark.parametrize("outage", [S3_FAILS, SES_IS_PAUSED], ids=lambda outage: outage.dependency)
def test_an_outage_leaves_the_mail_in_the_queue_and_ends_by_itself(cloud: Cloud, outage: Outage) -> None:
    """Nothing is received while the breaker is open, the probes answer, each message has had two receives more at most,
    and afterwards each mail goes out once, without anybody's help.
    """
    cloud.add_mask()
    daemon = cloud.daemon()
    outage.turn(cloud, True)
    try:
        cloud.mails(MAILS)
        assert eventually(lambda: bool(daemon.events("breaker_opened")), 10), daemon.output()
        assert_held(cloud, daemon, outage)
    finally:
        outage.turn(cloud, False)
    assert eventually(lambda: cloud.queued() == (0, 0), 40), daemon.output()
    assert eventually(lambda: daemon.get("/readyz")[0] == 200, 5)
    assert eventually(lambda: gauge(daemon, "relayd_breaker", outage.dependency) == 0, 5)
    assert gauge(daemon, "relayd_limit", outage.dependency) == 8
    assert daemon.stop() == 0
    assert [line["dependency"] for line in daemon.events("breaker_closed")] == [outage.dependency]
    sends = cloud.sends_of_each_mail()
    assert len(sends) == MAILS
    assert set(sends.values()) == {1}
    assert max(line["receive_count"] for line in daemon.events("message_settled")) <= 1 + 2
    assert cloud.dead_letters() == []


def assert_held(cloud: Cloud, daemon: DaemonProcess, outage: Outage) -> None:
    """The breaker has just opened: everybody can see it, and the queue is left alone until the first probe."""
    opened = daemon.events("breaker_opened")[0]
    assert (opened["dependency"], opened["reason"]) == (outage.dependency, outage.reason)
    # A poll that was open at that moment still ends, and what it brought goes back.
    assert eventually(lambda: json.loads(daemon.get("/status")[1])["in_flight"] == 0, 5)
    before, began = receives(cloud), time.monotonic()
    while time.monotonic() - began < 1.5:
        assert daemon.get("/livez")[0] == 200
        time.sleep(0.1)
    assert receives(cloud) == before
    assert sum(cloud.queued()) == MAILS
    assert cloud.sent() == []
    status, body = daemon.get("/readyz")
    assert status == 503
    assert outage.reason in body
    told = json.loads(daemon.get("/status")[1])
    assert told["held"] == {outage.dependency: outage.reason}
    assert told["dependencies"][outage.dependency]["breaker"] == "open"
    assert gauge(daemon, "relayd_breaker", outage.dependency) == 2
    assert gauge(daemon, "relayd_limit", outage.dependency) == 0
