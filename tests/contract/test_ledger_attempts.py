"""What every ledger promises of attempts: each that ended without a send stays on record, whoever ended it."""

import threading
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from relayd.adapters.database import Database
from relayd.adapters.ledger import SqlLedger
from relayd.adapters.schema import deliveries
from relayd.errors import ClaimLostError
from relayd.model.delivery import CLAIM_EXPIRED, GIVEN_BACK, IN_DOUBT, Claim, Lost, Settled
from relayd.telemetry.calls import hear_calls
from tests.contract.databases import beside
from tests.contract.deliveries import CONCERN, KEY, TRACE, TTL, ask, doubt, send, take
from tests.contract.stores import SqlStores, Stores
from tests.fakes.clock import VirtualClock
from tests.fakes.ledger_rows import Tried

OTHER = TRACE.replace("1", "3")
DAY = 86_400


def told(stores: Stores) -> list[tuple[int, str]]:
    return [(one.attempt, one.reason) for one in stores.attempts()]


def test_a_mail_that_goes_through_at_once_leaves_none(stores: Stores) -> None:
    """What became of it stands with the delivery."""
    send(stores.ledger)
    ask(stores.ledger, message="twin")
    assert stores.attempts() == []


def test_what_was_given_back_is_on_record(stores: Stores, clock: VirtualClock) -> None:
    """Why, when, for which message and in which trace: of each attempt, while the next one is under way."""
    began = clock.time()
    first = take(stores.ledger, trace=TRACE)
    clock.sleep(7)
    stores.ledger.give_back(first, "s3_timeout")
    clock.sleep(20)
    second = take(stores.ledger, message="m2", trace=OTHER)
    clock.sleep(3)
    stores.ledger.give_back(second, "ses_throttled")
    take(stores.ledger, message="m3")
    one, two = stores.attempts()
    assert one == Tried(first.delivery_id, 1, "m1", "s3_timeout", TRACE, one.began_at, one.ended_at)
    assert two == Tried(first.delivery_id, 2, "m2", "ses_throttled", OTHER, two.began_at, two.ended_at)
    times = [one.began_at, one.ended_at, two.began_at, two.ended_at]
    assert times == pytest.approx([began, began + 7, began + 27, began + 30], abs=1e-3)


def test_what_failed_is_on_record_once(stores: Stores) -> None:
    """Told again, the first word counts."""
    claim = take(stores.ledger)
    stores.ledger.failed(claim, "ses_rejected", message_id="m1")
    stores.ledger.failed(claim, "too_late", message_id="m1")
    assert told(stores) == [(1, "ses_rejected")]
    take(stores.ledger, message="redriven")
    assert told(stores) == [(1, "ses_rejected")]


def test_what_policy_refused_is_on_record(stores: Stores) -> None:
    """After the claim, with the mail in hand."""
    claim = take(stores.ledger)
    stores.ledger.refused(claim, "loop")
    stores.ledger.refused(claim, "loop")
    assert told(stores) == [(1, "loop")]


def test_who_takes_over_writes_down_who_died(stores: Stores, clock: VirtualClock) -> None:
    """A process that died cannot; its claim ran out when it ran out, whenever somebody noticed."""
    began = clock.time()
    take(stores.ledger, trace=TRACE)
    clock.sleep(TTL + 100)
    assert stores.attempts() == []
    take(stores.ledger, message="m2")
    (one,) = stores.attempts()
    assert (one.attempt, one.reason, one.message_id, one.trace) == (1, CLAIM_EXPIRED, "m1", TRACE)
    assert (one.began_at, one.ended_at) == pytest.approx((began, began + TTL), abs=1e-3)


def test_a_doubt_is_on_record(stores: Stores, clock: VirtualClock) -> None:
    """Both of them, and then that it was given up."""
    doubt(stores.ledger, clock)
    doubt(stores.ledger, clock)
    lost = ask(stores.ledger)
    assert isinstance(lost, Lost)
    assert told(stores) == [(1, IN_DOUBT), (2, IN_DOUBT)]
    stores.ledger.failed(lost.claim, "in_doubt", message_id="m1")
    assert told(stores) == [(1, IN_DOUBT), (2, IN_DOUBT), (3, IN_DOUBT)]


def test_an_attempt_that_is_not_over_is_not_on_record(stores: Stores, clock: VirtualClock) -> None:
    """Neither for a twin that is told to wait, nor while SES's word on it may still come."""
    doubt(stores.ledger, clock)
    ask(stores.ledger, doubt_seconds=300)
    ask(stores.ledger, message="twin", doubt_seconds=300)
    assert stores.attempts() == []


def test_who_lost_its_claim_writes_nothing(stores: Stores, clock: VirtualClock) -> None:
    """The one who took over knows better, and its own attempt is another one."""
    slow = take(stores.ledger)
    clock.sleep(TTL)
    take(stores.ledger)
    stores.ledger.give_back(slow, "lease_lost")
    with pytest.raises(ClaimLostError):
        stores.ledger.failed(slow, "too_late", message_id="m1")
    with pytest.raises(ClaimLostError):
        stores.ledger.refused(slow, "loop")
    assert told(stores) == [(1, CLAIM_EXPIRED)]


def test_a_discard_without_a_claim_is_no_attempt(stores: Stores) -> None:
    """Nothing was tried. What it took a claim from is known to have been tried."""
    stores.ledger.discarded(KEY, "spam", message_id="m1", concern=CONCERN)
    assert stores.attempts() == []
    other = replace(KEY, mail_id="mail-2")
    stores.ledger.give_back(take(stores.ledger, other), "s3_timeout")
    stores.ledger.discarded(other, "mask_disabled", message_id="m2", concern=CONCERN)
    assert told(stores) == [(1, "s3_timeout")]


def test_old_attempts_are_forgotten(stores: Stores, clock: VirtualClock) -> None:
    """By their own age: what a delivery went through long ago goes, though it is still being tried."""
    stores.ledger.give_back(take(stores.ledger), "s3_timeout")
    clock.sleep(40 * DAY)
    stores.ledger.give_back(take(stores.ledger), "ses_throttled")
    clock.sleep(19 * DAY)
    stores.ledger.prune()
    assert told(stores) == [(1, "s3_timeout"), (2, "ses_throttled")]
    clock.sleep(2 * DAY)
    stores.ledger.prune()
    assert told(stores) == [(2, "ses_throttled")]


def test_a_claim_that_an_older_relayd_gave_back_is_on_record(database: Database) -> None:
    """It kept no reasons; while replicas are exchanged, both are at work."""
    ledger = SqlLedger(database)
    take(ledger)
    with database.writing() as connection:
        connection.execute(sa.update(deliveries).values(token=None, expires_at=None, claimed_at=None))
    take(ledger)
    (one,) = SqlStores(database).attempts()
    assert (one.attempt, one.reason, one.began_at) == (1, GIVEN_BACK, None)


def test_what_was_released_was_never_tried(database: Database) -> None:
    """A release opens a discard by itself, and leaves a claim that nobody has held."""
    stores = SqlStores(database)
    stores.ledger.discarded(KEY, "bounce_pause", message_id="m1", concern=CONCERN)
    with database.writing() as connection:
        connection.execute(sa.update(deliveries).values(state="claimed", reason=None, token=None, expires_at=None))
    assert take(stores.ledger, message="released").attempt == 1
    assert stores.attempts() == []


def test_what_is_written_down_is_still_so_when_the_claim_is_taken(database: Database, clock: VirtualClock) -> None:
    """The one who was slow comes back between the two statements: it has to wait, or the record of a doubt would stand
    where a send was known.
    """
    stores = SqlStores(database)
    slow = doubt(stores.ledger, clock)
    other = beside(database, clock)
    record = threading.Thread(target=SqlLedger(other).sent, args=(slow, "ses-1"))

    def comes_back(*args: Any) -> None:
        if str(args[2]).startswith("INSERT INTO attempts") and not record.ident:
            record.start()
            record.join(0.2)

    sa.event.listen(database.engine, "after_cursor_execute", comes_back)
    answer = ask(stores.ledger)
    record.join()
    assert isinstance(answer, Claim)
    assert told(stores) == [(1, IN_DOUBT)]
    assert ask(stores.ledger) == Settled("sent", "sent")
    other.close()


def test_a_mail_that_goes_through_at_once_costs_no_more(database: Database) -> None:
    """Claim, send and record: each one trip, as without attempts."""
    ledger = SqlLedger(database)
    asked: list[str] = []
    deaf = hear_calls(lambda dependency, operation, seconds, fault: asked.append(operation))
    try:
        send(ledger)
    finally:
        deaf()
    assert asked == ["claim", "begin_send", "sent"]
