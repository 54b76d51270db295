"""What holds of a PostgreSQL server that is away, or was never there: a hold, in our words."""

from functools import partial

import pytest

from relayd.adapters.database import connect
from relayd.adapters.directory import SqlDirectory
from relayd.adapters.feedbacks import SqlFeedbacks
from relayd.adapters.ledger import SqlLedger
from relayd.adapters.notices import SqlNotices
from relayd.errors import HoldError
from relayd.model.address import Address
from relayd.model.feedback import Confirm, Feedback
from relayd.model.notice import OwnerNotice
from tests.contract.databases import open_database, postgres_server
from tests.contract.deliveries import CONCERN, KEY, ask


def test_a_stopped_postgres_is_held_and_comes_back() -> None:
    """Every port says `database_unavailable` while it is down, also on connections from before, and works after."""
    try:
        servers = postgres_server()
        server = servers.__enter__()
    except Exception as error:
        pytest.skip(f"PostgreSQL does not start here: {error}")
    try:
        database = open_database(server.get_uri())
        ledger, directory = SqlLedger(database), SqlDirectory(database)
        feedbacks, notices = SqlFeedbacks(database), SqlNotices(database)
        ledger.charge("m1", bug=False)
        server.stop()
        for _ in range(2):
            for call in (
                partial(ledger.charge, "m1", bug=False),
                partial(ask, ledger),
                partial(ledger.discarded, KEY, "spam", message_id="m1", concern=CONCERN),
                partial(feedbacks.match, Feedback("send", "event-1", "ses-1", "delivery")),
                partial(feedbacks.apply, Feedback("send", "event-1", "ses-1"), [Confirm("delivery", "ses-1")]),
                partial(notices.tell, OwnerNotice("owner1", "mask_disabled")),
                partial(notices.waiting, 10),
                partial(directory.lookup, Address.parse("shop@mask.example")),
                database.ping,
            ):
                with pytest.raises(HoldError) as caught:
                    call()
                assert (caught.value.dependency, caught.value.reason) == ("database", "database_unavailable")
        server.start()
        assert ledger.charge("m1", bug=False).failures == 2
        database.close()
    finally:
        servers.__exit__(None, None, None)


@pytest.mark.parametrize("password", ["hunter2", "hun@ter2"])
def test_a_server_that_cannot_be_reached_is_held(password: str) -> None:
    """Nothing listens there; no part of the password is in the error, not even one that a raw @ made a host's name."""
    database = connect(f"postgresql://relayd:{password}@127.0.0.1:1/relayd", pool_size=1)
    with pytest.raises(HoldError) as caught:
        database.ping()
    assert str(caught.value) == "database_unavailable: OperationalError"


def test_what_a_server_reports_is_told_in_our_words(postgres_url: str) -> None:
    """The cause is named where its SQLSTATE tells it, and the server's own text, which quotes names, is not."""
    database = connect(postgres_url, pool_size=1)
    with pytest.raises(HoldError) as caught, database.reading() as connection:
        connection.exec_driver_sql("DO $$ BEGIN RAISE 'role hunter2' USING ERRCODE = '53300'; END $$")
    assert str(caught.value) == "database_unavailable: TooManyConnections 53300: the server has too many connections"
    database.close()
