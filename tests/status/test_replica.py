"""What replicas say of themselves is read leniently: another version may have written it, or no relayd at all."""

import json
import math
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relayd.model.message import Message
from relayd.ops.status.replica import CallFigures, Governed, Replica, read_heartbeat, read_status
from relayd.ops.status.sources import shown, status_url
from relayd.runtime.governor import Governor
from relayd.runtime.health import HealthState
from relayd.runtime.recent import Recent
from relayd.runtime.standing import Standing
from relayd.runtime.watching import Ended
from tests.fakes.clock import VirtualClock
from tests.status.documents import JSON, KEYS


def told(clock: VirtualClock, governor: Governor) -> dict[str, Any]:
    """What a real one says."""
    recent, health = Recent(clock), HealthState(turn_limit=60)
    supervised = {"slots": 16, "in_flight": 2, "wedged": 1, "stopping": False}
    standing = Standing(
        clock,
        health,
        recent,
        name={"replica": "pod-a", "version": "1", "queue": "mail"},
        parts=lambda: {**supervised, "held": governor.held(), "dependencies": governor.states()},
    )
    recent(Ended(Message("m", "r", "b"), "deferred", "s3_timeout", 5.0, None, 30.0, 12.0, "t", {"mail_id": "mail"}))
    recent.called("s3", "s3.fetch", 0.5, True)
    clock.sleep(20)
    written: dict[str, Any] = json.loads(json.dumps(standing.whole()))
    return written


def test_what_a_real_one_says_is_read_whole() -> None:
    """The writer and the reader are held together: whoever renames a key finds out here."""
    clock = VirtualClock()
    read = read_status(told(clock, Governor(clock, 16)), source="10.0.0.1:8080")
    assert (read.replica_id, read.version, read.queue, read.source) == ("pod-a", "1", "mail", "10.0.0.1:8080")
    assert (read.slots, read.in_flight, read.wedged, read.stopping) == (16, 2, 1, False)
    assert (read.ready, read.against, set(read.since)) == (False, {"poller": "starting"}, {"poller"})
    assert (read.uptime, read.oldest, read.seen_ago, read.silent) == (20.0, 32.0, 0.0, False)
    assert read.dependencies["s3"] == Governed(16, "closed", "", 0.0, None)
    assert read.minute is not None
    assert read.minute.messages == {"deferred": {"s3_timeout": 1}}
    assert (read.minute.seconds, read.minute.failed, read.minute.finished) == (20.0, 1, 0)
    assert read.minute.calls == {"s3": CallFigures(1, 1, 0.5, 0.5)}
    (failed,) = read.failed
    assert (failed.reason, failed.mail_id, failed.trace_id, failed.seconds) == ("s3_timeout", "mail", "t", 30.0)
    assert read.slowest == read.failed


def test_a_heartbeat_is_known_by_its_row() -> None:
    """Its text may be cut off or foreign: the row alone says that somebody runs, and since when."""
    for text in ("{}", "", "[1]", '{"replica": "other"', "\0", "[" * 100_000):
        read = read_heartbeat("pod-a", 3.0, 60.0, text)
        assert read == Replica("pod-a", 3.0, "heartbeat", uptime=60.0)
    assert read_heartbeat("pod-a", 15.1, 60.0, "{}").silent


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(KEYS), JSON))
def test_whatever_answers_is_no_error(document: dict[str, Any]) -> None:
    """At any depth: what is no number is none, and nothing raises."""
    read = read_status({**document, "recent": document, "dependencies": {"s3": document}}, source="x")
    for number in (read.slots, read.in_flight, read.oldest, read.uptime, read.wedged):
        assert number is None or math.isfinite(number)
    for window in (read.minute, read.quarter_hour):
        assert window is None or window.seconds > 0


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://10.0.0.1:8080", "http://10.0.0.1:8080/status"),
        ("http://10.0.0.1:8080/", "http://10.0.0.1:8080/status"),
        ("https://relayd.example/replica/a/status", "https://relayd.example/replica/a/status"),
        ("http://[::1]:8080", "http://[::1]:8080/status"),
        ("http://pod-a", "http://pod-a/status"),
    ],
)
def test_a_replica_s_address_may_leave_the_path_out(text: str, url: str) -> None:
    """It is /status then."""
    assert status_url(text) == url


@pytest.mark.parametrize(
    "text",
    ["", "10.0.0.1:8080", "ftp://host", "http://", "http:///status", "file:///etc/passwd", "http://h:99999",
     "http://h:port", "http://h/#x", "http://h/\x1b[2J", "http://[::1", "javascript:alert(1)"],
)  # fmt: skip
def test_what_is_no_address_is_refused(text: str) -> None:
    """Before anything is asked."""
    with pytest.raises(ValueError, match=r"\w"):
        status_url(text)


def test_a_password_in_an_address_is_not_shown() -> None:
    """Somebody may have put a proxy in front."""
    assert shown("https://me:secret@relayd.example:8443/status") == "relayd.example:8443"
    assert shown("http://relayd.example/status") == "relayd.example"
    assert shown("http://[::1]/status") == "[::1]"
    assert shown("http://[::1]:8080/status") == "[::1]:8080"
