"""`relayd status` on real daemons: their heartbeats, an outage in words, and the screen in a terminal."""

import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import time
from typing import Any

import pytest
import sqlalchemy as sa

from relayd.adapters.database import connect
from relayd.adapters.schema import replicas
from tests.process.cloud import Cloud, clean_environment, eventually

pytestmark = pytest.mark.process


def rows(cloud: Cloud) -> dict[str, Any]:
    """What the replicas have written, by their names."""
    database = connect(cloud.database_url, pool_size=1)
    try:
        with database.reading() as connection:
            return {row.replica_id: json.loads(row.status) for row in connection.execute(sa.select(replicas))}
    finally:
        database.close()


def status(cloud: Cloud, *arguments: str) -> Any:
    """What the command tells. On a machine that is so busy that nobody answered in time, it is asked again."""
    told: list[Any] = []

    def answered() -> bool:
        result = cloud.relayd("status", "--json", *arguments)
        assert result.returncode == 0, result.stderr
        told.append(json.loads(result.stdout))
        return set(told[-1]["unknown"]) <= {"oldest"}

    assert eventually(answered, 30), told[-1]["unknown"]
    return told[-1]


def test_an_outage_is_seen_by_heartbeat_and_the_end_of_a_replica_by_its_absence(cloud: Cloud) -> None:
    """Two replicas forward; S3 fails, and the headline says so; one is stopped and leaves, the other is killed and is
    remembered; and nothing that was written down names anybody.
    """
    cloud.add_mask()
    daemons = [cloud.daemon() for _ in range(2)]
    cloud.mails(6)
    assert eventually(lambda: len(cloud.sent()) == 6, 20)
    ports = [part for one in daemons for part in ("--replica", f"http://127.0.0.1:{one.port}")]
    assert eventually(lambda: status(cloud, *ports)["level"] == "well", 20), status(cloud, *ports)
    told = status(cloud, *ports)
    assert told["queue"]["waiting"] == 0
    assert sum(one["minute"]["sent"] for one in told["replicas"]) == 6
    assert {one["source"] for one in told["replicas"]} == {f"127.0.0.1:{one.port}" for one in daemons}
    assert told["calls"]["ses"]["count"] == told["calls"]["s3"]["count"] == 6
    assert told["deliveries"]["hour"]["sent"] == {"forward": 6}
    assert {one["replica"] for one in told["replicas"]} == set(rows(cloud)), "the same names in the rows"

    cloud.s3.status = 500
    cloud.mails(30)
    assert eventually(lambda: all(one["held"] for one in rows(cloud).values()), 25), rows(cloud)
    assert eventually(lambda: status(cloud)["level"] == "trouble", 20), status(cloud)
    told = status(cloud)
    assert told["summary"].startswith("S3 does not work (s3_unavailable), since ")
    assert told["queue"]["waiting"] + told["queue"]["in_flight"] == 30
    text = json.dumps([rows(cloud), told, [one.get("/status")[1] for one in daemons]])
    assert "@" not in text
    for private in ("example", "hello", "Shop"):
        assert private not in text.replace(cloud.world.queue_url, "")

    (kept,) = set(rows(cloud)) - {json.loads(daemons[0].get("/status")[1])["replica"]}
    daemons[1].kill()
    assert daemons[0].stop() == 0
    assert set(rows(cloud)) == {kept}


def test_the_screen_comes_up_and_gives_the_terminal_back(cloud: Cloud) -> None:
    """On a page of its own, in the terminal's size; q ends it, and so does a kill, with the echo on again."""
    cloud.add_mask()
    for end in (b"q", signal.SIGTERM):
        keyboard, screen = pty.openpty()
        fcntl.ioctl(screen, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        before = termios.tcgetattr(screen)
        watched = subprocess.Popen(
            [sys.executable, "-m", "relayd", "status", "--watch"],
            env=clean_environment() | cloud.environment | {"TERM": "xterm-256color"},
            stdin=screen,
            stdout=screen,
            stderr=screen,
        )
        text = read_until(keyboard, b"q ends")
        assert b"\x1b[?1049h" in text, "a page of its own"
        assert b"No replica runs" in text
        assert not termios.tcgetattr(screen)[3] & termios.ECHO
        if isinstance(end, bytes):
            os.write(keyboard, end)
        else:
            watched.send_signal(end)
        text = read_until(keyboard, b"\x1b[?1049l")
        assert watched.wait(10) == (0 if isinstance(end, bytes) else 128 + end)
        assert b"Traceback" not in text
        assert termios.tcgetattr(screen) == before
        os.close(keyboard)
        os.close(screen)


def read_until(terminal: int, wanted: bytes, within: float = 20.0) -> bytes:
    """What the program wrote, up to that."""
    text, deadline = b"", time.monotonic() + within
    while wanted not in text:
        assert time.monotonic() < deadline, text
        text += os.read(terminal, 65536)
    return text
