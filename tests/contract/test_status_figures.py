"""What the ledger says of the last hour and day, on both databases, told as the ledger itself wrote it."""

from typing import Any

import pytest
import sqlalchemy as sa

from relayd.adapters.database import Database
from relayd.adapters.ledger import SqlLedger
from relayd.model.delivery import Concern, DeliveryKey
from relayd.ops.status.figures import DAY, HOUR, Deliveries, MailboxPauses, deliveries, mailbox_pauses
from relayd.ops.status.figures import _began as began
from relayd.ops.status.figures import _ended as ended
from tests.contract.deliveries import CONCERN, DRAFT, TTL, doubt, send, take
from tests.contract.operated import Operated
from tests.fakes.clock import VirtualClock

REPLY = Concern("reply", "mask1", "owner1")


def key(number: int) -> DeliveryKey:
    return DeliveryKey(f"mail-{number}", "shop@mask.example", "me@example.org")


def test_an_empty_ledger_has_no_figures(database: Database) -> None:
    """Zeros, and no error."""
    assert deliveries(database, HOUR) == Deliveries()
    assert mailbox_pauses(database) == MailboxPauses()


def test_every_end_is_counted_by_its_reason(database: Database, clock: VirtualClock) -> None:
    """Sent by kind, discarded and failed by reason, the most frequent first; what is open, and what of
    that is in doubt: a send that is under way is not.
    """
    ledger = SqlLedger(database)
    for number in range(3):
        send(ledger, key(number))
    send(ledger, key(3), REPLY)
    for number, reason in enumerate(("spam", "unknown_mask", "spam", "a_disabled"), start=10):
        ledger.discarded(key(number), reason, message_id="m", concern=CONCERN)
    for number, reason in enumerate(("ses_rejected", "not_json", "ses_rejected"), start=20):
        ledger.failed(take(ledger, key(number)), reason, message_id="m")
    take(ledger, key(30))
    ledger.give_back(take(ledger, key(31)), "s3_timeout")
    doubt(ledger, clock, key(32))
    ledger.begin_send(take(ledger, key(33)), DRAFT, ttl=TTL)
    assert deliveries(database, HOUR) == Deliveries(
        sent={"forward": 3, "reply": 1},
        discarded={"spam": 2, "a_disabled": 1, "unknown_mask": 1},
        failed={"ses_rejected": 2, "not_json": 1},
        open=4,
        in_doubt=1,
    )
    assert list(deliveries(database, HOUR).discarded) == ["spam", "a_disabled", "unknown_mask"]


def test_a_send_that_was_repeated_is_counted(database: Database, clock: VirtualClock) -> None:
    """Once it has come to its end, too."""
    ledger = SqlLedger(database)
    doubt(ledger, clock)
    send(ledger)
    found = deliveries(database, HOUR)
    assert (found.resent, found.in_doubt, found.sent) == (1, 0, {"forward": 1})


def test_the_window_is_the_window(database: Database, clock: VirtualClock) -> None:
    """Sent mail by when it began; what failed by when it did, however long that took."""
    ledger = SqlLedger(database)
    send(ledger, key(1))
    late = take(ledger, key(2))
    ledger.discarded(key(3), "spam", message_id="m", concern=CONCERN)
    clock.sleep(2 * HOUR)
    ledger.failed(late, "retries_exhausted", message_id="m")
    assert deliveries(database, HOUR) == Deliveries(failed={"retries_exhausted": 1})
    day = deliveries(database, DAY)
    assert (day.sent, day.discarded, day.failed) == ({"forward": 1}, {"spam": 1}, {"retries_exhausted": 1})
    clock.sleep(DAY)
    assert deliveries(database, DAY) == Deliveries()


def test_paused_mailboxes_are_counted_by_kind(database: Database, clock: VirtualClock) -> None:
    """As long as the pause lasts."""
    directory = Operated(database)
    for number, (kind, seconds) in enumerate((("hard", 60), ("hard", HOUR), ("soft", HOUR))):
        directory.add(f"mask{number}@mask.example", f"box{number}@example.org")
        directory.pause(f"box{number}@example.org", kind, clock.time() + seconds)  # type: ignore[arg-type]
    assert mailbox_pauses(database) == MailboxPauses(hard=2, soft=1)
    clock.sleep(120)
    assert mailbox_pauses(database) == MailboxPauses(hard=1, soft=1)


@pytest.mark.parametrize("state", ["discarded", "failed"])
def test_no_query_reads_the_whole_ledger(database: Database, state: str) -> None:
    """By the plan, with enough rows that the planner cares: the indexes hold for a million deliveries, too."""
    insert = _many(database, 20_000)
    with database.writing() as connection:
        connection.exec_driver_sql(insert)
    with database.reading() as connection:
        connection.exec_driver_sql("ANALYZE deliveries" if database.dialect == "postgresql" else "ANALYZE")
        now = 1_700_000_000.0
        for query in (began(now, HOUR), ended(state, now - HOUR)):
            plan = _plan(connection, database, query)
            assert "ix_deliveries_created_at" in plan or "ix_deliveries_ended" in plan, plan
            assert "Seq Scan" not in plan, plan
            assert "SCAN deliveries" not in plan, plan


def _many(database: Database, count: int) -> str:
    """Two months of deliveries."""
    if database.dialect == "sqlite":
        numbers = f"WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < {count})"
    else:
        numbers = f"WITH s AS (SELECT generate_series(1, {count}) AS i)"
    at = f"1700000000 - ({count} - i) * 5184000.0 / {count}"
    every = "i - 10 * (i / 10)"
    state = f"CASE WHEN {every} < 6 THEN 'sent' WHEN {every} < 9 THEN 'discarded' ELSE 'failed' END"
    reason = f"CASE WHEN {every} < 6 THEN NULL WHEN {every} < 8 THEN 'spam' ELSE 'unknown_mask' END"
    columns = "delivery_id, mail_id, recipient, mailbox, state, reason, attempt, generation, kills, doubts, resends, "
    columns += "message_id, created_at, updated_at, kind"
    values = f"'d' || i, 'm' || i, 'r', 'b', {state}, {reason}, 1, 1, 0, 0, 0, 'q', {at}, {at}, 'forward'"
    return f"INSERT INTO deliveries ({columns}) {numbers} SELECT {values} FROM s"


def _plan(connection: sa.Connection, database: Database, query: Any) -> str:
    text = str(query.compile(database.engine, compile_kwargs={"literal_binds": True}))
    explain = "EXPLAIN QUERY PLAN " if database.dialect == "sqlite" else "EXPLAIN "
    return "\n".join(str(row[-1]) for row in connection.exec_driver_sql(explain + text))
