"""Quarantine, end to end: the daemon holds a mail back, an operator lets it go, the daemon forwards it."""

import json

import pytest

from tests.process.cloud import MAIL, Cloud, eventually

pytestmark = pytest.mark.process


def listed(cloud: Cloud, *options: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads(cloud.relayd("quarantine", "list", "--json", *options).stdout)
    return found


def test_spam_is_held_back_and_let_go(cloud: Cloud) -> None:
    """Listed with sender and subject, forwarded with a warning once it is released, and once only."""
    cloud.add_mask()
    daemon = cloud.daemon()
    cloud.mail(1, data=b"X-Sandbox-Verdict: spam\r\n" + MAIL)
    assert eventually(lambda: bool(listed(cloud)), 20)
    (entry,) = listed(cloud)
    assert (entry["reason"], entry["subject"]) == ("spam", "hello")
    assert "news@stranger.example" in entry["sender"]
    assert cloud.sent() == []
    for again in ([], ["--again"]):
        done = cloud.relayd("quarantine", "release", entry["id"], *again)
        assert done.returncode == 0, done.stderr
    assert eventually(lambda: cloud.queued() == (0, 0), 20)
    (sent,) = cloud.sent()
    assert sent.recipients == ("me@owner.example",)
    assert b"X-Relayd-Warning: spam" in sent.data
    assert listed(cloud) == []
    assert daemon.stop() == 0
