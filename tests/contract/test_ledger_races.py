"""What only a real ledger can show: many threads and processes at once, and what others see of a row."""

from dataclasses import replace
from functools import partial

import pytest
import sqlalchemy as sa

from relayd.adapters.database import Database
from relayd.adapters.ledger import SqlLedger
from relayd.adapters.schema import deliveries
from relayd.model.delivery import Settled
from tests.contract.databases import beside
from tests.contract.deliveries import DRAFT, KEY, TTL, ask, doubt, take
from tests.contract.races import kinds, race
from tests.fakes.clock import VirtualClock


@pytest.mark.parametrize("before", ["new", "expired", "given back", "failed"])
def test_a_race_has_one_winner(database: Database, clock: VirtualClock, before: str) -> None:
    """Eight threads of two processes that want the same delivery: one gets it, the others are told to wait."""
    ledger = SqlLedger(database)
    other = beside(database, clock)
    ledgers = [ledger, SqlLedger(other)] * 4
    for number in range(20):
        key = replace(KEY, mail_id=f"mail-{number}")
        if before != "new":
            claim = take(ledger, key)
            if before == "given back":
                ledger.give_back(claim, "s3_timeout")
            elif before == "failed":
                ledger.failed(claim, "refused", message_id="m1")
            else:
                clock.sleep(TTL)
        answers = race([partial(ask, one, key, message=f"m{index}") for index, one in enumerate(ledgers, 2)])
        assert kinds(answers) == {"Busy": 7, "Claim": 1}
    other.close()


def test_a_race_of_endings_has_one_end(database: Database) -> None:
    """Sending, discarding, failing and charging at once ends in a consistent row and in no foreign error."""
    ledger = SqlLedger(database)
    for number in range(20):
        key = replace(KEY, mail_id=f"mail-{number}")
        claim = take(ledger, key)
        answers = race(
            [
                partial(ledger.begin_send, claim, DRAFT, ttl=TTL),
                partial(ledger.sent, claim, "ses"),
                partial(ledger.discarded, key, "spam", message_id="m2", concern=None),
                partial(ledger.charge, "m1", bug=False),
                partial(ask, ledger, key),
            ]
        )
        assert [answer for answer in answers if isinstance(answer, Exception)] in ([], [answers[0]])
        assert ask(ledger, key) == Settled("sent", "sent")
    assert ledger.charge("m1", bug=False).failures == 21


def test_sending_is_visible_to_others_before_the_call(database: Database) -> None:
    """When begin_send returns, another process sees `sending`: it is durable before anything is sent."""
    ledger = SqlLedger(database)
    ledger.begin_send(take(ledger), DRAFT, ttl=TTL)
    other = sa.create_engine(database.engine.url)
    with other.connect() as connection:
        assert connection.execute(sa.select(deliveries.c.state)).scalar_one() == "sending"
    other.dispose()


def test_resends_are_counted(database: Database, clock: VirtualClock) -> None:
    """Each send after one in doubt counts as one resend in its row, for who must explain a duplicate."""
    ledger = SqlLedger(database)
    doubt(ledger, clock)
    claim = take(ledger)
    ledger.begin_send(claim, DRAFT, ttl=TTL)
    ledger.begin_send(claim, DRAFT, ttl=TTL)
    ledger.sent(claim, "ses-1")
    with database.reading() as connection:
        row = connection.execute(sa.select(deliveries)).one()
    assert (row.resends, row.doubts, row.attempt, row.generation) == (1, 1, 2, 1)
