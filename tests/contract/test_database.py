"""What holds of the database itself on SQLite and PostgreSQL: versions, secrets, errors, the clock."""

import sqlite3
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from relayd.adapters import migrations
from relayd.adapters.database import (
    Database,
    check_secret,
    check_version,
    connect,
    upgrade,
    version,
)
from relayd.adapters.directory import SqlDirectory
from relayd.adapters.schema import HEAD, mailboxes, meta, metadata, owners
from relayd.errors import ConfigurationError, HoldError, TransientError
from relayd.model.address import Address
from tests.contract.databases import POOL, beside, open_database, sqlite_url
from tests.contract.races import race

OLD, NEW, FOREIGN = b"o" * 32, b"n" * 32, b"f" * 32


@pytest.fixture
def bare(database_url: str) -> Iterator[Database]:
    """A database in which relayd has never been."""
    database = connect(database_url, pool_size=POOL)
    with database.writing() as connection:
        metadata.drop_all(connection)
        connection.exec_driver_sql("DROP TABLE IF EXISTS alembic_version")
    yield database
    database.close()


def test_a_database_comes_up_from_nothing(bare: Database) -> None:
    """After the upgrade it has this program's version, and its tables are those that the program knows."""
    assert version(bare) is None
    upgrade(bare)
    assert version(bare) == HEAD
    check_version(bare)
    with bare.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_constraints_are_called_alike_everywhere(bare: Database) -> None:
    """A later migration finds each constraint by the name that the convention gives it."""
    upgrade(bare)
    with bare.reading() as connection:
        inspector = sa.inspect(connection)
        for table in metadata.sorted_tables:
            found = {key["name"] for key in inspector.get_unique_constraints(table.name)}
            found |= {key["name"] for key in inspector.get_foreign_keys(table.name)}
            found.add(inspector.get_pk_constraint(table.name)["name"])
            assert found == {constraint.name for constraint in table.constraints}


def test_the_newest_revision_is_the_one_in_the_schema() -> None:
    """`HEAD` is written down a second time to make starts quick; this holds the two together."""
    scripts = ScriptDirectory(str(Path(str(migrations.__file__)).parent))
    assert scripts.get_current_head() == HEAD


def test_upgrades_take_turns(bare: Database) -> None:
    """Four processes that upgrade at once all succeed; one did the work."""
    databases = [beside(bare) for _ in range(4)]
    assert race([partial(upgrade, one) for one in databases]) == [None] * 4
    assert version(bare) == HEAD
    for one in databases:
        one.close()


def test_only_sqlite_upgrades_itself(bare: Database) -> None:
    """A PostgreSQL without tables is refused with the command to run; a SQLite file is made ready."""
    if bare.dialect == "sqlite":
        check_version(bare)
        assert version(bare) == HEAD
    else:
        with pytest.raises(ConfigurationError, match="relayd db upgrade"):
            check_version(bare)


def test_a_failed_upgrade_leaves_nothing_behind(bare: Database) -> None:
    """Its steps are one transaction, so that the next attempt finds what this one found."""
    with bare.writing() as connection:
        connection.exec_driver_sql("CREATE TABLE retries (message_id INTEGER)")
    with pytest.raises(HoldError):
        upgrade(bare)
    with bare.reading() as connection:
        assert sa.inspect(connection).get_table_names() == ["retries"]
    with bare.writing() as connection:
        connection.exec_driver_sql("DROP TABLE retries")


def test_a_foreign_secret_is_refused(database: Database) -> None:
    """The first secret is kept, as a fingerprint only; another one means somebody else's database."""
    check_secret(database, [OLD], remember=True)
    check_secret(database, [OLD], remember=True)
    for remember in (False, True):
        with pytest.raises(ConfigurationError, match="RELAYD_SECRET"):
            check_secret(database, [FOREIGN], remember=remember)
    with database.reading() as connection:
        stored = connection.execute(sa.select(meta.c.value)).scalar_one()
    assert OLD.decode() not in stored
    assert OLD.hex() not in stored


def test_a_rotated_secret_replaces_the_old_one(database: Database) -> None:
    """New and old together are accepted, and from then on the new one alone."""
    check_secret(database, [OLD], remember=True)
    check_secret(database, [NEW, OLD], remember=True)
    check_secret(database, [NEW], remember=True)
    with pytest.raises(ConfigurationError):
        check_secret(database, [OLD], remember=True)


def test_a_rotation_can_be_rolled_back(database: Database) -> None:
    """Until the old secret is given up, the old settings are as good as the new ones."""
    check_secret(database, [OLD], remember=True)
    check_secret(database, [NEW, OLD], remember=True)
    check_secret(database, [OLD], remember=True)
    with pytest.raises(ConfigurationError):
        check_secret(database, [NEW], remember=True)


def test_only_the_daemon_binds_the_database_to_its_secrets(database: Database) -> None:
    """A command with another list is checked, and leaves what is kept as it is; a first one leaves nothing."""
    check_secret(database, [FOREIGN])
    check_secret(database, [OLD], remember=True)
    check_secret(database, [NEW, OLD])
    with pytest.raises(ConfigurationError):
        check_secret(database, [NEW], remember=True)


def test_the_clock_is_the_time_of_day(database_url: str) -> None:
    """Seconds since the epoch, with fractions, and moving within a transaction."""
    database = connect(database_url, pool_size=1)
    with database.writing() as connection:
        first = connection.execute(sa.select(database.now)).scalar_one()
        time.sleep(0.005)
        second = connection.execute(sa.select(database.now)).scalar_one()
    assert first == pytest.approx(time.time(), abs=5)
    assert 0.003 < second - first < 1
    database.close()


def test_no_half_transaction_survives(database: Database) -> None:
    """An exception in the middle undoes what was written before it."""

    def half() -> None:
        with database.writing() as connection:
            connection.execute(sa.insert(meta).values(name="half", value="done"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        half()
    with database.reading() as connection:
        assert connection.execute(sa.select(meta)).all() == []


def test_errors_hold_no_values(database: Database) -> None:
    """Where the driver quotes the row, our error does not."""
    owner = {
        "owner_id": "o1",
        "name": "somebody@example.org",
        "active": True,
        "flagged": False,
        "spam_handling": "drop",
        "dmarc_handling": "forward",
        "created_at": 0.0,
    }
    with pytest.raises(TransientError) as caught, database.writing() as connection:
        connection.execute(sa.insert(owners), [owner, owner | {"owner_id": "o2"}])
    assert caught.value.reason == "database_conflict"
    assert "example.org" not in str(caught.value)


def test_references_are_held(database: Database) -> None:
    """A mailbox without an owner is refused on SQLite, too."""
    with pytest.raises(TransientError, match="database_conflict"), database.writing() as connection:
        connection.execute(
            sa.insert(mailboxes).values(mailbox_id="b1", owner_id="nobody", address="me@example.org", created_at=0.0)
        )


def test_a_database_without_tables_is_held(bare: Database) -> None:
    """It says that an upgrade is missing, rather than that the database is down."""
    with pytest.raises(HoldError) as caught:
        SqlDirectory(bare).lookup(Address.parse("shop@mask.example"))
    assert (caught.value.dependency, caught.value.reason) == ("database", "database_not_upgraded")


def test_a_full_pool_is_nobodys_failure(database_url: str) -> None:
    """Whoever waited too long for a connection comes back later, uncharged."""
    database = connect(database_url, pool_size=1)
    database.engine.pool._timeout = 0.01  # type: ignore[attr-defined]
    with pytest.raises(TransientError) as caught, database.reading(), database.reading():
        pass
    assert (caught.value.reason, caught.value.charged) == ("database_busy", False)
    database.close()


def test_a_file_that_is_no_database_is_held(tmp_path: Path) -> None:
    """A path to something else is a wrong configuration that may be mended while relayd waits."""
    (tmp_path / "relayd.db").write_bytes(b"not a database, " * 300)
    database = connect(sqlite_url(tmp_path), pool_size=1)
    with pytest.raises(HoldError) as caught:
        SqlDirectory(database).lookup(Address.parse("shop@mask.example"))
    assert str(caught.value) == "database_unavailable: DatabaseError: the file is no database"


def test_a_locked_file_is_nobodys_failure(tmp_path: Path) -> None:
    """A writer elsewhere that does not let go makes this one come back later, uncharged."""
    database = open_database(sqlite_url(tmp_path))
    other = sqlite3.connect(tmp_path / "relayd.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    def write() -> None:
        with database.reading() as connection:
            # Five seconds of patience would be five seconds of test.
            connection.exec_driver_sql("PRAGMA busy_timeout = 10")
            connection.execute(sa.delete(meta))

    with pytest.raises(TransientError) as caught:
        write()
    other.close()
    assert (caught.value.reason, caught.value.charged) == ("database_busy", False)
    database.close()


def test_a_sqlite_commit_is_on_the_disk(tmp_path: Path) -> None:
    """Write-ahead log, synced at each commit, references checked: on every connection of the pool."""
    database = open_database(sqlite_url(tmp_path))
    with database.reading() as one, database.reading() as two:
        for connection in (one, two):
            found = [
                connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
            ]
            assert found == ["wal", 2, 1, 5000]
    database.close()


def test_a_writer_does_not_stop_readers(database: Database) -> None:
    """A lookup goes on while an import writes."""
    with database.writing() as connection:
        connection.execute(sa.insert(meta).values(name="open", value="transaction"))
        with database.reading() as reader:
            assert reader.execute(sa.select(meta)).all() == []


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "mysql://user:hunter2@db/relayd",
        "postgresql://user:hunter2@db:port/relayd",
        "sqlite://",
        "sqlite:///:memory:",
        "",
    ],
)
def test_a_wrong_url_is_refused(url: str) -> None:
    """The hint shows both forms, and no password is repeated."""
    with pytest.raises(ConfigurationError) as caught:
        connect(url, pool_size=1)
    text = str(caught.value)
    assert "sqlite:///" in text
    assert "postgresql://" in text
    assert "hunter2" not in text


@pytest.mark.parametrize("query", ["?mode=ro&uri=true", "?timeout=abc", "?bogus=1", "?"])
def test_a_sqlite_url_has_no_parameters(tmp_path: Path, query: str) -> None:
    """They would open another file than the one that is named."""
    with pytest.raises(ConfigurationError, match="parameters"):
        connect(sqlite_url(tmp_path) + query, pool_size=1)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    """SQLite would say only that it cannot open the file."""
    with pytest.raises(ConfigurationError, match="mkdir -p"):
        connect(f"sqlite:///{tmp_path}/missing/relayd.db", pool_size=1)
