"""What an observer reads, through a way to the database that can only read: a SQLite file opened so, and on PostgreSQL
a role that has no other right.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from relayd.adapters import observing
from relayd.adapters.database import Database, check_secret, check_version, connect
from relayd.adapters.directory import SqlDirectory
from relayd.adapters.feedbacks import SqlFeedbacks
from relayd.adapters.ledger import SqlLedger
from relayd.adapters.schema import HEAD, metadata
from relayd.checks import worked_on
from relayd.errors import ConfigurationError, RelaydError
from relayd.model.address import Address
from relayd.model.delivery import Claim, Concern, DeliveryKey, Draft, Settled
from relayd.model.feedback import Affected, Feedback
from relayd.model.mask import Mask, TokenRecipient, UnknownRecipient
from tests.contract.operated import Operated
from tests.fakes.clock import VirtualClock

SHOP = Address.parse("shop@mask.example")
STRANGER = Address.parse("news@stranger.example")
CONCERN = Concern("forward", "mask-1", "owner-1")
READER = "relayd_reader"


def contents(database: Database) -> dict[str, list[Any]]:
    """Every row of every table."""
    with database.reading() as connection:
        return {table.name: connection.execute(sa.select(table)).all() for table in metadata.sorted_tables}  # type: ignore[misc]


def _reader_url(database: Database) -> str:
    """A login that may read, on a server; the same file where there are no logins."""
    url = database.engine.url
    if database.dialect == "postgresql":
        with database.writing() as connection:
            known = connection.execute(sa.text("SELECT 1 FROM pg_roles WHERE rolname = :name"), {"name": READER}).all()
            if not known:
                connection.exec_driver_sql(f"CREATE ROLE {READER} LOGIN PASSWORD 'reader'")
            connection.exec_driver_sql(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {READER}")
        url = url.set(username=READER, password="reader")
    return url.render_as_string(hide_password=False)


@pytest.fixture
def reading(database: Database) -> Iterator[Database]:
    """The read-only way to the same database."""
    opened = connect(_reader_url(database), pool_size=3, read_only=True)
    yield opened
    opened.close()


@pytest.fixture
def writer(database: Database) -> Operated:
    """What is there to read: a mask with a contact, and a rule."""
    operated = Operated(database)
    mask = operated.add("shop@mask.example", "me@owner.example", owner="me@owner.example")
    operated.contact(mask.mask_id, STRANGER)
    operated.add_rule("mask.example", "any-*", "me@owner.example", owner="me@owner.example", limit=1)
    return operated


@pytest.mark.usefixtures("writer")
def test_nothing_can_be_written_through_it(database: Database, reading: Database) -> None:
    """Not even by a mistake of ours: the database refuses."""
    before = contents(database)
    ledger = SqlLedger(reading)
    key = DeliveryKey("mail-1", "shop@mask.example", "me@owner.example")
    attempts: list[Callable[[], object]] = [
        lambda: ledger.claim(key, CONCERN, message_id="m", ttl=60, trace=None),
        lambda: ledger.discarded(key, "spam", message_id="m", concern=None),
        lambda: SqlDirectory(reading).contact("mask-1", Address.parse("new@stranger.example")),
        lambda: check_secret(reading, [b"s" * 32], remember=True),
    ]
    for attempt in attempts:
        with pytest.raises((RelaydError, sa.exc.SQLAlchemyError)):
            attempt()
    assert contents(database) == before


def test_nor_by_a_login_that_may_write(database: Database) -> None:
    """It is the way that is closed: most who observe have the daemon's own login."""
    url = database.engine.url.render_as_string(hide_password=False)
    reading = connect(url, pool_size=1, read_only=True)
    before = contents(database)
    with pytest.raises((RelaydError, sa.exc.SQLAlchemyError)):
        SqlLedger(reading).charge("m-1", bug=False)
    reading.close()
    assert contents(database) == before


def test_what_an_observer_asks_is_answered(writer: Operated, database: Database, reading: Database) -> None:
    """Every read of the ports, with something made up where the real ones would write; and no row is changed."""
    directory = observing.ObservingDirectory(SqlDirectory(reading))
    before = contents(database)
    check_version(reading, may_upgrade=False)
    check_secret(reading, [b"s" * 32])
    assert worked_on(reading) == set()
    reading.ping()
    mask = directory.lookup(SHOP)
    assert isinstance(mask, Mask)
    known = directory.contact(mask.mask_id, STRANGER)
    assert known == writer.known_contact(mask.mask_id, STRANGER)
    made_up = directory.contact(mask.mask_id, None)
    assert (len(made_up.token), made_up.address) == (len(known.token), None)
    assert made_up.token != known.token
    assert isinstance(directory.lookup(Address.parse(f"{known.token}@mask.example")), TokenRecipient)
    assert isinstance(directory.lookup(Address.parse("other@mask.example")), UnknownRecipient)
    assert directory.correspondents(mask.owner.owner_id, [known.token, made_up.token]) == {known.token: known}
    assert not directory.screen(mask, [STRANGER]).blocked
    ruled = directory.lookup(Address.parse("any-thing@mask.example"))
    assert isinstance(ruled, Mask)
    assert directory.create(ruled)
    assert SqlLedger(reading).threads(mask.mask_id, ["one@stranger.example"]) == ()
    event = Feedback("bounce", "feedback-1", "ses-1", affected=(Affected(Address.parse("me@owner.example")),))
    assert [box.address for box in SqlFeedbacks(reading).match(event).mailboxes] == ["me@owner.example"]
    assert contents(database) == before


def test_a_mask_is_made_only_where_a_daemon_would_make_it(writer: Operated, reading: Database) -> None:
    """Somebody made it meanwhile; somebody used the rule up; somebody removed the rule's mask."""
    directory = observing.ObservingDirectory(SqlDirectory(reading))
    first, second = (directory.lookup(Address.parse(f"any-{name}@mask.example")) for name in ("one", "two"))
    assert isinstance(first, Mask)
    assert isinstance(second, Mask)
    assert writer.create(first)
    assert directory.create(first), "it is there"
    assert not directory.create(second), "the rule has made as many as it may"
    writer.remove("any-one@mask.example")
    assert not directory.create(first)
    assert directory.create(second)
    writer.add("any-two@mask.example", "me@owner.example", owner="me@owner.example")
    assert not directory.create(second), "an operator was quicker, with a mask of its own"


def test_a_database_of_another_version_is_refused_and_not_upgraded(database: Database, reading: Database) -> None:
    """On SQLite, too, where a daemon would do it."""
    with database.writing() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")
    try:
        with pytest.raises(ConfigurationError, match="relayd db upgrade"):
            check_version(reading, may_upgrade=False)
        with database.reading() as connection:
            assert connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar() == "0001"
    finally:
        with database.writing() as connection:
            connection.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{HEAD}'")


def test_a_ledger_of_its_own(reading: Database, clock: VirtualClock) -> None:
    """Claims, ends and tries as the real one has them, in memory."""
    seen: list[tuple[str, str]] = []
    ledger = observing.ObservingLedger(SqlLedger(reading), clock, lambda fate, reason: seen.append((fate, reason)))
    keys = [DeliveryKey("mail-1", "shop@mask.example", f"{name}@owner.example") for name in ("me", "work", "other")]

    def claim(key: DeliveryKey, message_id: str = "m-1") -> Any:
        return ledger.claim(key, CONCERN, message_id=message_id, ttl=60, trace=None)

    first = claim(keys[0])
    assert isinstance(first, Claim)
    assert first.attempt == 1
    ledger.give_back(first, "s3_timeout")
    again = claim(keys[0])
    assert (again.attempt, again.resend) == (2, False)
    assert again.delivery_id != first.delivery_id
    ledger.begin_send(again, Draft(1), ttl=60)
    ledger.sent(again, "observed")
    assert claim(keys[0]) == Settled("sent", "sent")
    ledger.failed(claim(keys[1]), "too_large", message_id="m-1")
    assert claim(keys[1]) == Settled("failed", "too_large")
    # A redrive brings it under another id, and it is tried once more; it counts once.
    once_more = claim(keys[1], "m-2")
    assert isinstance(once_more, Claim)
    ledger.failed(once_more, "too_large", message_id="m-2")
    ledger.refused(claim(keys[2]), "sender_blocked")
    assert claim(keys[2]) == Settled("discarded", "sender_blocked")
    assert seen == [("forward", ""), ("fail", "too_large"), ("discard", "sender_blocked")]
    assert ledger.charge("m-1", bug=False).failures == 1
    clock.sleep(30)
    tries = ledger.charge("m-1", bug=True)
    assert (tries.failures, tries.bugs, tries.age) == (2, 1, 30)


def test_what_is_remembered_is_bounded(reading: Database, clock: VirtualClock) -> None:
    """A month of mail fits into the same memory as an hour."""
    ledger = observing.ObservingLedger(SqlLedger(reading), clock, lambda fate, reason: None)
    for number in range(observing.REMEMBERED + 10):
        key = DeliveryKey(f"mail-{number}", "shop@mask.example")
        ledger.discarded(key, "spam", message_id="m", concern=None)
    assert len(ledger._ended._kept) == observing.REMEMBERED
    first = DeliveryKey("mail-0", "shop@mask.example")
    assert isinstance(ledger.claim(first, CONCERN, message_id="m", ttl=60, trace=None), Claim), "forgotten"


def test_a_file_that_is_not_there_is_not_made(tmp_path: Any) -> None:
    """Whoever mistypes the path of a database gets no new one."""
    path = tmp_path / "nobody's %25.db"
    database = connect(f"sqlite:///{path}", pool_size=1, read_only=True)
    with pytest.raises(RelaydError):
        database.ping()
    assert not path.exists()
    assert not database.exists
    database.close()
