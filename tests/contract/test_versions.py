"""What holds of the tables' versions on SQLite and PostgreSQL: which relayd works on which, while an update goes on."""

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from structlog.testing import capture_logs

from relayd.adapters.database import Database, check_version, connect, upgrade, version, works_on
from relayd.adapters.directory import SqlDirectory
from relayd.adapters.schema import HEAD, meta
from relayd.adapters.versions import OLDEST
from relayd.checks import checked_database
from relayd.cli import root
from relayd.errors import ConfigurationError, Problem, TransientError
from relayd.model.address import Address
from relayd.ops.failure_history import LedgerHistory, open_history
from relayd.ops.masks import add_mask
from relayd.settings import Settings
from tests.contract.databases import POOL, beside
from tests.contract.stepping import CONTRACTING, EXPANDING, RAISE, Future, revisions, shape, step, taken_away

MASK = Address.parse("shop@mask.example")
SETTINGS = {
    "RELAYD_QUEUE_URL": "https://sqs.eu-west-1.amazonaws.com/123456789012/mail",
    "RELAYD_MAIL_DOMAINS": "mask.example",
    "RELAYD_TOPIC_ARNS": "arn:aws:sns:eu-west-1:123456789012:mail",
    "RELAYD_BUCKETS": "received-mail",
    "RELAYD_SECRET": "8f2c1d7e90ab4365f1e2d3c4b5a69788",
}


@pytest.fixture
def bare(database_url: str) -> Iterator[Database]:
    """A database in which relayd has never been, and is not afterwards."""
    database = connect(database_url, pool_size=POOL)
    _empty(database)
    yield database
    _empty(database)
    database.close()


@pytest.fixture
def future(bare: Database, tmp_path: Path) -> Future:
    """A relayd to come, whose migrations begin where ours end."""
    upgrade(bare)
    return Future(tmp_path / "migrations")


def _empty(database: Database) -> None:
    found = sa.MetaData()
    with database.writing() as connection:
        found.reflect(connection)
        found.drop_all(connection)


def test_newer_tables_that_only_grew_are_worked_on(bare: Database, future: Future) -> None:
    """A pod of the version before that starts anew in the middle of an update works, and its upgrade leaves all alone;
    and so do the commands of its operators.
    """
    newer = future.upgrade(bare, EXPANDING)
    assert check_version(bare) == newer
    assert works_on(bare)
    upgrade(bare)
    assert version(bare) == newer
    add_mask(bare, MASK, [Address.parse("me@owner.example")])
    assert SqlDirectory(bare).lookup(MASK)
    history = open_history(bare.engine.url.render_as_string(hide_password=False))
    assert isinstance(history, LedgerHistory)
    history.close()


def test_the_daemon_and_the_commands_say_so(bare: Database, future: Future) -> None:
    """One line of the log at a start, and what `relayd db` answers."""
    newer = future.upgrade(bare, EXPANDING)
    add_mask(bare, MASK, [Address.parse("me@owner.example")])
    environ = SETTINGS | {"RELAYD_DATABASE_URL": bare.engine.url.render_as_string(hide_password=False)}
    environ["RELAYD_DATABASE_URL"] = environ["RELAYD_DATABASE_URL"].replace("+psycopg", "").replace("+pysqlite", "")
    problems: list[Problem] = []
    with capture_logs() as logged:
        database = checked_database(Settings.load(environ), problems)
    assert problems == []
    assert logged == [{"event": "database_newer", "log_level": "warning", "version": newer, "own": HEAD}]
    assert database
    database.close()
    told = CliRunner().invoke(root, ["db", "version", "--json"], env=environ)
    assert json.loads(told.stdout) == {"version": newer, "needed": HEAD, "works": True}
    assert "works on this newer one, too" in CliRunner().invoke(root, ["db", "version"], env=environ).stdout
    done = CliRunner().invoke(root, ["db", "upgrade"], env=environ)
    assert (done.exit_code, f"newer than this relayd's {HEAD}" in done.stdout) == (0, True)
    future.upgrade(bare, CONTRACTING)
    told = CliRunner().invoke(root, ["db", "version", "--json"], env=environ)
    assert json.loads(told.stdout)["works"] is False


def test_newer_tables_that_lack_something_are_refused(bare: Database, future: Future) -> None:
    """Neither a start nor an upgrade touches what a later relayd has taken away from; the hint is to run that one."""
    future.upgrade(bare, EXPANDING)
    newer = future.upgrade(bare, CONTRACTING)
    for attempt in (check_version, upgrade):
        with pytest.raises(ConfigurationError, match="newer relayd") as caught:
            attempt(bare)
        assert newer in str(caught.value)
    assert not works_on(bare)
    assert isinstance(open_history(bare.engine.url.render_as_string(hide_password=False)), str)
    assert version(bare) == newer


def test_a_contraction_may_be_meant_for_us_too(bare: Database, future: Future) -> None:
    """What it takes away is what the version before this one needed, so that this one goes on."""
    future.upgrade(bare, EXPANDING + RAISE.format(oldest=HEAD))
    assert check_version(bare) == future.head


@pytest.mark.parametrize("word", [None, "", "9998"])
def test_newer_tables_that_say_nothing_are_refused(bare: Database, future: Future, word: str | None) -> None:
    """So are those whose word means nothing to us."""
    future.upgrade(bare, EXPANDING)
    with bare.writing() as connection:
        connection.execute(sa.delete(meta))
        if word is not None:
            connection.execute(sa.insert(meta).values(name=OLDEST, value=word))
    with pytest.raises(ConfigurationError, match="newer relayd"):
        check_version(bare)


def test_older_tables_have_to_be_upgraded(bare: Database) -> None:
    """The word is about newer ones only."""
    step(bare, "0002")
    assert not works_on(bare)
    if bare.dialect == "sqlite":
        assert check_version(bare) == version(bare) == HEAD
    else:
        with pytest.raises(ConfigurationError, match="relayd db upgrade"):
            check_version(bare)
    upgrade(bare)
    with bare.reading() as connection:
        assert connection.execute(sa.select(meta.c.value).where(meta.c.name == OLDEST)).scalar_one() == "0002"


def test_a_migration_that_leaves_the_word_only_adds(bare: Database) -> None:
    """Each of ours, one after the other: whoever takes something away has to raise it."""
    known = revisions()
    step(bare, known[0])
    for before, revision in pairwise(known):
        was = shape(bare)
        step(bare, revision)
        with bare.reading() as connection:
            oldest = connection.execute(sa.select(meta.c.value).where(meta.c.name == OLDEST)).scalar_one_or_none()
        if oldest is None or oldest <= before:
            assert list(taken_away(was, shape(bare))) == []


@pytest.mark.parametrize(
    ("body", "taken"),
    [
        (EXPANDING, []),
        ('op.create_table("colours", sa.Column("name", sa.Text(), nullable=False))', []),
        (CONTRACTING, ["traced_masks is gone"]),
        ('op.drop_column("deliveries", "trackers")', ["deliveries.trackers is gone"]),
        (
            'op.add_column("notices", sa.Column("colour", sa.Text(), nullable=False))',
            ["notices.colour must be given"],
        ),
        (
            'op.create_index("uq_new", "pauses", ["created_at"], unique=True)',
            ["pauses has the rule uq_new"],
        ),
    ],
)
def test_what_is_taken_away_is_seen(bare: Database, future: Future, body: str, taken: list[str]) -> None:
    """The eye of the test before this one."""
    if bare.dialect == "sqlite" and "nullable=False)" in body and "add_column" in body:
        pytest.skip("SQLite itself refuses that")
    was = shape(bare)
    future.upgrade(bare, body)
    assert list(taken_away(was, shape(bare))) == taken


def test_an_upgrade_does_not_make_mail_wait(bare: Database) -> None:
    """A backup holds a table: the upgrade gives up before the daemons behind it would, and has changed nothing."""
    if bare.dialect == "sqlite":
        pytest.skip("a SQLite file has one writer at a time, which Database itself arranges")
    step(bare, "0002")
    other = beside(bare)
    with other.writing() as connection:
        connection.exec_driver_sql("LOCK TABLE deliveries IN ACCESS SHARE MODE")
        with pytest.raises(TransientError, match="database_busy"):
            upgrade(bare, lock_seconds=0.1)
        assert version(bare) == "0002"
    upgrade(bare)
    assert version(bare) == HEAD
    other.close()
