"""A PostgreSQL server that is killed while the daemon works, and started again."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil  # type: ignore[import-untyped] # comes with the server
import pytest

from tests.contract.databases import open_database, postgres_server
from tests.process.cloud import Cloud, DaemonProcess, eventually

pytestmark = pytest.mark.process

MAILS = 80


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    """A server of this module's own, since it is killed here."""
    servers = postgres_server()
    try:
        started = servers.__enter__()
    except Exception as error:
        pytest.skip(f"PostgreSQL does not start here: {type(error).__name__}: {error}")
    yield started
    servers.__exit__(None, None, None)


@pytest.fixture
def on_postgres(cloud: Cloud, server: Any) -> Cloud:
    """The cloud, with an empty database on the server."""
    cloud.database_url = server.get_uri()
    open_database(cloud.database_url).close()
    cloud.add_mask()
    return cloud


def kill(server: Any) -> None:
    """End every process of the server as a machine that fails does: nothing is written any more, nobody is told."""
    postmaster = psutil.Process(server.get_pid())
    # The postmaster first, or it would start its children again.
    processes = [postmaster, *postmaster.children(recursive=True)]
    for process in processes:
        if process.is_running():
            process.kill()
    _, alive = psutil.wait_procs(processes, timeout=5)
    assert not alive


@contextmanager
def probed(daemon: DaemonProcess) -> Iterator[list[tuple[int, float]]]:
    """Ask /livez all the time: statuses and seconds."""
    answers: list[tuple[int, float]] = []
    ended = threading.Event()

    def probe() -> None:
        while not ended.wait(0.02):
            began = time.perf_counter()
            status, _ = daemon.get("/livez")
            answers.append((status, time.perf_counter() - began))

    thread = threading.Thread(target=probe, daemon=True)
    thread.start()
    try:
        yield answers
    finally:
        ended.set()
        thread.join(10)


def test_a_database_that_is_killed_under_load_costs_no_mail(on_postgres: Cloud, server: Any) -> None:
    """Without its ledger nothing is fetched or sent, the probes answer all the while, and once the database is back all
    the mail goes out, each once: what had been sent when it died was recorded later.
    """
    cloud = on_postgres
    cloud.fault("ses:SendEmail", "latency", distribution="uniform", low=0.02, seconds=0.2)
    daemon = cloud.daemon()
    feeder = threading.Thread(target=cloud.mails, args=(MAILS,), daemon=True)
    with probed(daemon) as answers:
        feeder.start()
        assert eventually(lambda: len(cloud.sent()) >= 15, 20)
        kill(server)
        assert eventually(lambda: bool(daemon.events("breaker_opened")), 10), daemon.output()
        # Sends that were under way when it died end within their latency.
        time.sleep(0.3)
        fetched, sent = cloud.s3.passed, len(cloud.sent())
        assert sent < MAILS
        time.sleep(1.0)
        assert (cloud.s3.passed, len(cloud.sent())) == (fetched, sent), "mail was worked on without its ledger"
        status, body = daemon.get("/readyz")
        assert (status, "database_unavailable" in body) == (503, True)
        assert json.loads(daemon.get("/status")[1])["held"] == {"database": "database_unavailable"}
        server.start()
        feeder.join(20)
        assert eventually(lambda: cloud.queued() == (0, 0), 40), daemon.output()
    assert eventually(lambda: daemon.get("/readyz")[0] == 200, 5)
    assert len(answers) > 50
    assert {status for status, _ in answers} == {200}
    assert daemon.stop() == 0
    assert {line["dependency"] for line in daemon.events("breaker_opened")} == {"database"}
    assert {line["dependency"] for line in daemon.events("breaker_closed")} == {"database"}
    sends = cloud.sends_of_each_mail()
    assert len(sends) == MAILS
    assert {mail: count - 1 for mail, count in sends.items() if count > 1} == cloud.resends()
    assert {row.state for row in cloud.deliveries()} == {"sent"}
    assert max(line["receive_count"] for line in daemon.events("message_settled")) <= 1 + 2
    assert cloud.dead_letters() == []


def test_a_database_that_dies_between_a_send_and_its_record_doubles_nothing(on_postgres: Cloud, server: Any) -> None:
    """SES has the mail and the ledger does not know: the daemon knows, and writes it down as soon as it can."""
    cloud = on_postgres
    # SES accepts at once and its answer takes a while: the database dies in between.
    cloud.ses.delay_answer = 1.5
    daemon = cloud.daemon()
    cloud.mail()
    assert eventually(lambda: len(cloud.sent()) == 1, 10)
    kill(server)
    assert eventually(lambda: cloud.ses.open == 0, 5)
    # The first tries to record it fail.
    time.sleep(0.5)
    assert daemon.events("message_settled") == [], "it is held until it is recorded"
    server.start()
    assert eventually(lambda: cloud.queued() == (0, 0), 30), daemon.output()
    assert daemon.stop() == 0
    (settled,) = daemon.events("message_settled")
    assert (settled["outcome"], settled["reason"], settled["receive_count"]) == ("accepted", "forwarded", 1)
    (row,) = cloud.deliveries()
    assert (row.state, row.resends) == ("sent", 0)
    assert len(cloud.sent()) == 1
