"""A rolling update: the version before and this one work on one queue and one ledger, whose tables grow meanwhile."""

import json
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, Self

import pytest

from relayd.adapters.database import connect
from relayd.adapters.schema import HEAD
from relayd.model.address import Address
from relayd.ops.masks import add_mask
from relayd.sandbox.receiving import Receiving
from relayd.sandbox.world import Store
from tests.contract.databases import postgres_server
from tests.contract.stepping import step
from tests.process.cloud import MAIL, Cloud, DaemonProcess, eventually

pytestmark = pytest.mark.process

BEFORE = "508bdd3"
"""The last commit whose tables are of version 0002."""
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What makes this interpreter run the version before: its code, and not the one in the current folder."""
    git = shutil.which("git")
    if git is None:
        pytest.skip("git is not installed, and it has the version before")
    done = subprocess.run(
        [git, "-C", str(ROOT), "archive", BEFORE, "relayd"], capture_output=True, check=False, timeout=60
    )
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        pytest.skip(f"git does not have the version before ({said}); a shallow clone: git fetch --unshallow")
    folder = tmp_path_factory.mktemp("before")
    with tarfile.open(fileobj=BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return {"PYTHONPATH": str(folder), "PYTHONSAFEPATH": "1"}


@pytest.fixture(scope="module")
def database_url() -> Iterator[str]:
    """An empty PostgreSQL."""
    servers = postgres_server()
    try:
        server: Any = servers.__enter__()
    except Exception as error:
        pytest.skip(f"PostgreSQL does not start here: {type(error).__name__}: {error}")
    yield server.get_uri()
    servers.__exit__(None, None, None)


class Twins:
    """A store whose topic may tell each mail twice, as SNS does: both versions meet the same deliveries."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.bucket, self.topic_arn, self.put = store.bucket, store.topic_arn, store.put
        self.times = 1

    def publish(self, text: str, traceparent: str) -> None:
        for _ in range(self.times):
            self._store.publish(text, traceparent)


class Feed:
    """New mail all the time while the context lasts."""

    def __init__(self, cloud: Cloud) -> None:
        self.came = 0
        self.twins = Twins(Store(cloud.world, cloud.clients))
        self._receiving = Receiving(self.twins)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._feed, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(10)

    def _feed(self) -> None:
        while not self._ended.wait(0.06):
            data = MAIL.replace(b"{}", b"mail-%d" % self.came)
            self._receiving.accept("bounce@stranger.example", ("shop@mask.example",), data, "127.0.0.1")
            self.came += 1


def forwarded(daemon: DaemonProcess) -> int:
    """How many messages a daemon was done with because it sent their mail."""
    return sum(line["reason"] == "forwarded" for line in daemon.events("message_settled"))


def waited(daemon: DaemonProcess) -> bool:
    """Whether a daemon met a live claim."""
    return any(line["reason"] == "claimed_elsewhere" for line in daemon.events("message_settled"))


def test_two_versions_send_each_mail_once(cloud: Cloud, before: dict[str, str], database_url: str) -> None:
    """Under load, the tables are upgraded below the old daemon, a new one begins beside it, and the old one is stopped:
    no mail is lost, doubled or charged for it.
    """
    cloud.database_url = database_url
    database = connect(database_url, pool_size=1)
    step(database, "0002")
    add_mask(database, Address.parse("shop@mask.example"), [Address.parse("me@owner.example")])
    database.close()
    cloud.fault("ses:SendEmail", "latency", distribution="uniform", low=0.05, seconds=0.3)
    # That it begins on these tables shows that it is the version before.
    leaving = cloud.daemon(**before)
    with Feed(cloud) as feed:
        # Enough for every statement to be a prepared one, which is what a changed table can hurt.
        assert eventually(lambda: forwarded(leaving) >= 10, 20), leaving.output()
        upgraded = cloud.relayd("db", "upgrade", "--json")
        assert json.loads(upgraded.stdout) == {"before": "0002", "after": HEAD}, upgraded.stderr
        coming = cloud.daemon()
        feed.twins.times = 2
        assert eventually(lambda: waited(leaving) and waited(coming), 20), "neither met a claim of the other's"
        # What waited is back after 10 s; one that was handed back before, only after 20 s.
        feed.twins.times = 1
        met = forwarded(leaving), forwarded(coming)
        assert eventually(lambda: forwarded(leaving) > met[0] + 5 and forwarded(coming) > met[1] + 5, 20)
        assert leaving.stop() == 0
    assert eventually(lambda: cloud.queued() == (0, 0), 30), coming.output()
    assert coming.stop() == 0
    sends = cloud.sends_of_each_mail()
    assert (len(sends), set(sends.values())) == (feed.came, {1})
    rows = cloud.deliveries()
    assert (len(rows), {row.state for row in rows}) == (feed.came, {"sent"})
    assert not [row for row in rows if row.resends or row.doubts or row.kills]
    assert cloud.dead_letters() == []
    for daemon in (leaving, coming):
        # Deferred: a twin whose mail the other one had in hand.
        assert {line["outcome"] for line in daemon.events("message_settled")} <= {"accepted", "deferred", "released"}
        assert '"level": "error"' not in daemon.output()
