"""What a call to the database tells of itself: what was asked, how long it waited, and nothing of any statement."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from relayd.adapters.census import SqlCensus
from relayd.adapters.database import Database, connect
from relayd.adapters.directory import SqlDirectory
from relayd.adapters.ledger import SqlLedger
from relayd.errors import HoldError, TransientError
from relayd.model.address import Address
from relayd.model.delivery import Claim, Concern, DeliveryKey
from relayd.model.message import Message
from relayd.model.notice import OwnerNotice
from relayd.runtime.gauges import watch_pool
from relayd.telemetry import spans
from relayd.telemetry.otel import Telemetry
from tests.contract.conftest import clock, database, database_url, postgres_url  # noqa: F401 -- pytest finds fixtures here
from tests.contract.databases import open_database, sqlite_url
from tests.contract.stores import SqlStores
from tests.fakes.clock import VirtualClock
from tests.telemetry.test_instruments import value

KEY = DeliveryKey("mail-1", "canary@mask.example", "canary@owner.example")


def calls(exported: InMemorySpanExporter) -> list[ReadableSpan]:
    return [span for span in exported.get_finished_spans() if span.name.startswith("db ")]


def test_each_operation_is_a_call_below_the_message(database: Database, exported: InMemorySpanExporter) -> None:  # noqa: F811
    """By the conventions, without SQL and without anything that was looked up; outside of a mail there is no span."""
    SqlStores(database).directory.add("canary@mask.example", "canary@owner.example")
    ledger = SqlLedger(database)
    assert calls(exported) == []
    with spans.process_span("incoming", Message("m-1", "h", "b")):
        SqlDirectory(database).lookup(Address.parse("canary@mask.example"))
        with spans.step("claim"):
            claim = ledger.claim(KEY, Concern("forward", None, None), message_id="m-1", ttl=60, trace=None)
    assert isinstance(claim, Claim)
    found = calls(exported)
    assert [span.name for span in found] == ["db lookup", "db claim"]
    for span in found:
        told = dict(span.attributes or {})
        assert span.kind is SpanKind.CLIENT
        assert span.parent is not None
        assert float(str(told.pop("relayd.database.waited", 0.0))) < 5
        assert told.pop("db.namespace", "postgres") == "postgres"
        assert told == {"db.system.name": database.dialect, "db.operation.name": span.name.removeprefix("db ")}
        assert "canary" not in span.to_json()


def test_a_call_that_fails_tells_our_word_for_it(exported: InMemorySpanExporter, telemetry: Telemetry) -> None:
    """As the breaker hears it: the span, the histogram and the error that the route meets agree."""
    away = connect("postgresql://relayd:hunter2@127.0.0.1:1/relayd", pool_size=1)
    counted = {"dependency": "database", "operation": "lookup", "error_type": "database_unavailable"}
    before = value(telemetry, "relayd_dependency_duration_seconds_count", **counted)
    with (
        pytest.raises(HoldError, match="database_unavailable") as caught,
        spans.process_span("incoming", Message("m-1", "h", "b")),
    ):
        SqlDirectory(away).lookup(Address.parse("canary@mask.example"))
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    (span,) = calls(exported)
    assert (span.attributes or {})["error.type"] == "database_unavailable"
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, None)
    assert value(telemetry, "relayd_dependency_duration_seconds_count", **counted) == before + 1
    assert away.waiting() == 0


@pytest.fixture
def narrow(tmp_path: Path) -> Iterator[Database]:
    """With room for one thread at a time."""
    made = connect(sqlite_url(tmp_path), pool_size=1)
    yield made
    made.close()


def test_a_wait_for_a_connection_is_seen(
    narrow: Database, exported: InMemorySpanExporter, telemetry: Telemetry
) -> None:
    """While it lasts, as a number of threads; afterwards in the span and in the histogram."""
    watch_pool(narrow.connections, narrow.most, narrow.waiting)
    began, done = threading.Event(), threading.Event()

    def work() -> None:
        with spans.process_span("incoming", Message("m-1", "h", "b")):
            began.set()
            narrow.ping()
        done.set()

    name, wait = "db_client_connection_", "db_client_connection_wait_time_seconds_sum"
    before = value(telemetry, wait)
    with narrow.reading():
        threading.Thread(target=work, daemon=True).start()
        assert began.wait(5)
        while not narrow.waiting():
            pass
        assert value(telemetry, f"{name}pending_requests") == 1
        assert value(telemetry, f"{name}count", db_client_connection_state="used") == 1
        assert value(telemetry, f"{name}max") == 1
        assert not done.wait(0.05)
    assert done.wait(5)
    (span,) = calls(exported)
    assert float(str((span.attributes or {})["relayd.database.waited"])) >= 0.05
    assert value(telemetry, wait) >= before + 0.05
    assert value(telemetry, f"{name}pending_requests") == 0
    assert value(telemetry, f"{name}count", db_client_connection_state="idle") == 1


def test_a_writer_that_waits_for_its_turn_is_seen(narrow: Database) -> None:
    """SQLite has one at a time: it waits for a lock and not for a connection, which is the same to whoever looks."""
    entered, leave = threading.Event(), threading.Event()

    def write() -> None:
        with narrow.writing():
            entered.set()
            leave.wait(5)

    holder = threading.Thread(target=write, daemon=True)
    holder.start()
    assert entered.wait(5)
    other = threading.Thread(target=write, daemon=True)
    other.start()
    while not narrow.waiting():
        pass
    leave.set()
    holder.join(5)
    other.join(5)
    assert narrow.waiting() == 0


def test_a_statement_that_fails_leaves_nobody_waiting(tmp_path: Path) -> None:
    """The error is ours, and the connection is back."""
    made = open_database(sqlite_url(tmp_path), VirtualClock())
    try:
        with pytest.raises(TransientError, match="database_conflict"), made.reading() as connection:
            connection.exec_driver_sql("INSERT INTO meta (name, value) VALUES ('a', 'b'), ('a', 'c')")
        assert (made.waiting(), made.connections()["used"]) == (0, 0)
    finally:
        made.close()


def test_a_census_counts_masks_and_waiting_notices(database: Database, clock: VirtualClock) -> None:  # noqa: F811
    """What an alert compares with an hour ago."""
    stores, census = SqlStores(database), SqlCensus(database)
    assert census.count() == {"enabled": 0, "disabled": 0, "notices": 0}
    mask = stores.directory.add("one@mask.example", "me@owner.example")
    stores.directory.add("two@mask.example", "me@owner.example", enabled=False)
    stores.directory.add("three@mask.example", "me@owner.example")
    stores.notices.tell(OwnerNotice(mask.owner.owner_id, "mail_refused", {}))
    stores.notices.tell(OwnerNotice(mask.owner.owner_id, "mail_too_large", {}))
    assert census.count() == {"enabled": 2, "disabled": 1, "notices": 2}
    stores.notices.ended(stores.notices.waiting(1)[0].notice_id, "sent")
    assert census.count()["notices"] == 1
    assert clock.time() > 0
