"""What the replicas' book promises, the fake, SQLite and PostgreSQL alike."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Protocol

import pytest

from relayd import ports
from relayd.adapters.database import Database
from relayd.adapters.replicas import FORGOTTEN_SECONDS, Seen, SqlReplicas
from tests.contract.databases import open_database, sqlite_url
from tests.contract.races import race
from tests.fakes.clock import VirtualClock
from tests.fakes.replicas import FakeReplicas


class Replicas(ports.Replicas, Protocol):
    """The port, and an operator's look at it."""

    def read(self) -> list[Seen]: ...


@pytest.fixture(params=["fake", "sqlite", "postgres"])
def replicas(request: pytest.FixtureRequest, clock: VirtualClock, tmp_path: Path) -> Iterator[Replicas]:
    if request.param == "fake":
        yield FakeReplicas(clock)
        return
    url = sqlite_url(tmp_path) if request.param == "sqlite" else str(request.getfixturevalue("postgres_url"))
    opened = open_database(url, clock)
    yield SqlReplicas(opened)
    opened.close()


def test_a_beat_is_seen_with_its_age(replicas: Replicas, clock: VirtualClock) -> None:
    """By the database's clock; what it said is what it said last."""
    replicas.beat("pod-a", 3.0, '{"n":1}')
    clock.sleep(5)
    replicas.beat("pod-a", 8.0, '{"n":2}')
    clock.sleep(20)
    (seen,) = replicas.read()
    assert (seen.replica_id, json.loads(seen.status)) == ("pod-a", {"n": 2})
    assert seen.seconds_ago == pytest.approx(20, abs=1e-3)
    assert seen.uptime == pytest.approx(8, abs=1e-3)


def test_nobody_is_there_at_first(replicas: Replicas) -> None:
    """And leaving without having been there is no error."""
    replicas.leave("pod-a")
    assert replicas.read() == []


def test_each_replica_has_its_own(replicas: Replicas, clock: VirtualClock) -> None:
    """Who was seen last comes first; who leaves takes its own row and no other one's."""
    for name in ("pod-a", "pod-b", "pod-c"):
        replicas.beat(name, 0.0, "{}")
        clock.sleep(1)
    replicas.beat("pod-a", 3.0, "{}")
    assert [one.replica_id for one in replicas.read()] == ["pod-a", "pod-c", "pod-b"]
    replicas.leave("pod-c")
    assert [one.replica_id for one in replicas.read()] == ["pod-a", "pod-b"]


def test_a_day_of_silence_is_forgotten_by_whoever_beats(replicas: Replicas, clock: VirtualClock) -> None:
    """A replica that was killed left its row; a second less than a day is kept."""
    replicas.beat("killed", 0.0, "{}")
    clock.sleep(2)
    replicas.beat("younger", 0.0, "{}")
    clock.sleep(FORGOTTEN_SECONDS - 1)
    assert len(replicas.read()) == 2
    replicas.beat("alive", 0.0, "{}")
    assert [one.replica_id for one in replicas.read()] == ["alive", "younger"]


def test_any_text_is_kept(replicas: Replicas) -> None:
    """As long as a heartbeat may be, and with what JSON has to escape."""
    status = json.dumps({"text": "\u2713\0\udc80" + "x" * 16_000})
    replicas.beat("r" * 64, 0.0, status)
    assert replicas.read()[0].status == status


def test_beats_at_once_make_one_row_each(database: Database) -> None:
    """Eight replicas that start together, two beats each."""
    book = SqlReplicas(database)
    answers = race([partial(book.beat, f"pod-{number % 4}", 1.0, "{}") for number in range(8)])
    assert answers == [None] * 8
    assert sorted(one.replica_id for one in book.read()) == [f"pod-{number}" for number in range(4)]
