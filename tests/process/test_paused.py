"""Two daemons and one mail: one is paused past its lease, or a notification comes twice. The mail goes out once."""

import signal
from collections import Counter
from typing import Any

import pytest

from relayd.sandbox.cloud.client import EmbeddedAws
from tests.process.cloud import Cloud, DaemonProcess, eventually

pytestmark = pytest.mark.process

BRIEF = {
    "RELAYD_S3_CONNECT_SECONDS": "1",
    "RELAYD_S3_READ_SECONDS": "3",
    "RELAYD_SES_CONNECT_SECONDS": "0.1",
    "RELAYD_SES_READ_SECONDS": "1.2",
    "RELAYD_VISIBILITY_SECONDS": "7",
    "RELAYD_DEADLINE_SECONDS": "7",
}
"""The shortest leases and claims that the settings allow."""


def struck(cloud: Cloud) -> list[int]:
    """How many calls each fault has met."""
    assert isinstance(cloud.aws, EmbeddedAws)
    return [rule["struck"] for rule in cloud.aws.rules()]


def queue_name(cloud: Cloud) -> str:
    return cloud.world.queue_url.rpartition("/")[2]


def settled(cloud: Cloud, daemon: DaemonProcess) -> list[dict[str, Any]]:
    """How messages of the mail queue ended; SES's events have their own."""
    return [line for line in daemon.events("message_settled") if line["queue"] == queue_name(cloud)]


def test_a_daemon_that_was_paused_past_its_lease_sends_nothing_again(cloud: Cloud) -> None:
    """Stopped with three mails on their way from S3 and three on their way to SES: another daemon does the former, and
    hears from SES of the latter. Woken up, the first one finds its leases and claims gone, and leaves the mail alone.
    """
    cloud.add_mask()
    cloud.fault("s3:GetObject", "hang", times=3)
    cloud.fault("ses:SendEmail", "latency", seconds=0.6)
    assert cloud.world.events is not None
    # Publishes events and does not read them: asleep, it would have them on its own open poll.
    first = cloud.daemon(**BRIEF, RELAYD_CONFIGURATION_SET=cloud.world.events.configuration_set)
    cloud.mails(6)
    assert eventually(lambda: struck(cloud) == [3, 3], 10)
    first.signal(signal.SIGSTOP)
    try:
        assert eventually(lambda: len(cloud.sent()) == 3, 5)
        cloud.clear_faults()
        second = cloud.daemon(**BRIEF, **cloud.with_events)
        assert eventually(lambda: cloud.queued() == (0, 0), 30), second.output()
    finally:
        first.signal(signal.SIGCONT)
    assert eventually(lambda: len(settled(cloud, first)) == 6, 10), first.output()
    assert first.stop() == 0
    assert second.stop() == 0
    assert set(cloud.sends_of_each_mail().values()) == {1}
    assert len(cloud.sent()) == 6
    assert cloud.resends() == {}
    assert Counter((line["outcome"], line["reason"]) for line in settled(cloud, second))["accepted", "forwarded"] == 6
    late = [line["reason"] for line in settled(cloud, first) if line["reason"] != "forwarded"]
    assert len(late) == 3, "it had the mail in hand again, and asked before it sent"
    # A claim lives as long as the work on a message may take, and so nobody can have had it before that was over.
    assert set(late) <= {"deadline_passed", "lease_lost"}
    assert cloud.dead_letters() == []


def test_a_notification_that_comes_twice_is_forwarded_once(cloud: Cloud) -> None:
    """Two daemons have the same mail in hand at the same time, again and again: the ledger lets one of them send."""
    assert isinstance(cloud.aws, EmbeddedAws)
    cloud.add_mask()
    # Long enough for the copies to come while the first is on its way.
    cloud.fault("ses:SendEmail", "latency", seconds=0.6)
    daemons = [cloud.daemon(**BRIEF) for _ in range(2)]
    cloud.mails(8)
    for message in cloud.aws.messages(queue_name(cloud)):
        cloud.clients.sqs.send_message(QueueUrl=cloud.world.queue_url, MessageBody=message["body"])
    assert eventually(lambda: len(cloud.sent()) == 8, 10)
    cloud.clear_faults()
    assert eventually(lambda: cloud.queued() == (0, 0), 30)
    assert [daemon.stop() for daemon in daemons] == [0, 0]
    assert set(cloud.sends_of_each_mail().values()) == {1}
    assert len(cloud.sent()) == 8
    assert cloud.resends() == {}
    lines = [line for daemon in daemons for line in settled(cloud, daemon)]
    assert len({line["message_id"] for line in lines if line["outcome"] == "accepted"}) == 16
    assert any(line["reason"] == "claimed_elsewhere" for line in lines), "no copy met a claim: nothing was tried"
    assert cloud.dead_letters() == []
