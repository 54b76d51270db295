"""A replica's heartbeat, and what it says: it costs nobody anything, least of all while the database is away."""

import json
from typing import Any

import pytest
from structlog.testing import capture_logs

from relayd.errors import HoldError
from relayd.model.message import Message
from relayd.runtime.health import HealthState
from relayd.runtime.heartbeat import BEAT_EVERY, MOST_CHARACTERS, Heartbeat, fitting
from relayd.runtime.recent import Recent
from relayd.runtime.standing import Standing
from relayd.runtime.watching import Ended
from tests.fakes.clock import VirtualClock
from tests.fakes.replicas import FakeReplicas

AWAY = HoldError("database", "database_unavailable")


class World:
    """One replica with its heartbeat."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.replicas = FakeReplicas(self.clock)
        self.health = HealthState(turn_limit=60)
        self.health.poll_turned(0.0)
        self.recent = Recent(self.clock)
        self.held: dict[str, str] = {}
        self.standing = Standing(
            self.clock,
            self.health,
            self.recent,
            name={"replica": "pod-a", "version": "1", "queue": "mail"},
            parts=lambda: {"held": self.held, "stopping": False},
        )
        self.heartbeat = Heartbeat(self.replicas, self.clock, "pod-a", self.standing.brief)

    def said(self) -> Any:
        """What the row says."""
        (seen,) = self.replicas.read()
        return json.loads(seen.status)


@pytest.fixture
def world() -> World:
    return World()


def test_a_beat_says_how_the_replica_is(world: World) -> None:
    """Who it is, how it feels, and what it has done lately."""
    world.clock.sleep(12)
    world.recent(Ended(Message("m", "r", "b"), "accepted", "forwarded", None, None, 0.1, 1.0, None, {}))
    world.heartbeat.beat()
    said = world.said()
    assert (said["replica"], said["queue"], said["uptime_seconds"]) == ("pod-a", "mail", 12.0)
    assert (said["live"], said["ready"], said["against"], said["since"]) == (True, True, {}, {})
    assert said["recent"]["minute"]["messages"] == {"accepted": {"forwarded": 1}}
    assert "series" not in said["recent"], "that is for /status, and too much for a row"
    assert world.replicas.read()[0].uptime == 12


def test_the_whole_has_the_series_too(world: World) -> None:
    """`/status` has everything that the row has, and the sparklines."""
    brief, whole = world.standing.brief(), world.standing.whole()
    series = whole["recent"].pop("series")
    assert whole == brief
    assert series["every_seconds"] == 10


def test_since_when_something_is_wrong_is_told(world: World) -> None:
    """From the first look that saw it, through changes of its state, until one that does not."""
    world.heartbeat.beat()
    world.held = {"ses": "ses_sending_paused"}
    began = world.clock.time()
    for _ in range(3):
        world.heartbeat.beat()
        world.clock.sleep(BEAT_EVERY)
    world.health.condition("queue", "queue_missing")
    world.held = {"ses": "ses_daily_quota"}
    world.heartbeat.beat()
    assert world.said()["since"] == {"queue": world.clock.time(), "ses": began}
    world.held = {}
    world.heartbeat.beat()
    assert set(world.said()["since"]) == {"queue"}


def test_a_database_that_is_away_is_told_of_once_a_minute(world: World) -> None:
    """Not each five seconds, and no error leaves the beat; when it is back, the beats are, too."""
    world.replicas.fail_with = AWAY
    with capture_logs() as lines:
        for _ in range(25):
            world.heartbeat.beat()
            world.clock.sleep(BEAT_EVERY)
    assert [line["event"] for line in lines] == ["heartbeat_failed"] * 3
    assert {line["log_level"] for line in lines} == {"warning"}
    assert world.replicas.calls == 25
    world.replicas.fail_with = None
    world.heartbeat.beat()
    assert world.said()["replica"] == "pod-a"


def test_leaving_takes_the_row_away_for_good(world: World) -> None:
    """A beat that comes too late does not bring it back."""
    world.heartbeat.beat()
    world.heartbeat.stopping()
    world.heartbeat.leave()
    world.heartbeat.beat()
    assert world.replicas.read() == []


def test_a_stop_is_said_at_once(world: World) -> None:
    """Not by the chore, which has ended by then."""
    world.heartbeat.beat()
    world.health.condition("stopping", "stopping")
    world.heartbeat.stopping()
    world.clock.sleep(0.1)
    assert world.said()["against"] == {"stopping": "stopping"}


def test_leaving_without_a_database_ends(world: World) -> None:
    """Nobody waits for a row."""
    world.replicas.fail_with = AWAY
    with capture_logs() as lines:
        world.heartbeat.leave()
    assert [line["event"] for line in lines] == ["heartbeat_failed"]


def test_what_is_written_is_bounded() -> None:
    """By leaving parts out, the figures first; who it is stays as long as anything does."""
    long = ["x" * 100] * 200
    told = {"replica": "pod-a", "held": {}, "recent": long, "orders": {"domains": long}, "dependencies": {"s3": 1}}
    assert json.loads(fitting(told)) == {"replica": "pod-a", "held": {}, "dependencies": {"s3": 1}}
    assert json.loads(fitting(told | {"recent": 1, "orders": 2})) == told | {"recent": 1, "orders": 2}
    assert fitting({"replica": "x" * MOST_CHARACTERS}) == "{}"
