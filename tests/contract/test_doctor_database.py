"""What the doctor sees of a real database, of either kind, and that it leaves it as it was."""

import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from relayd.adapters.database import check_secret, connect
from relayd.adapters.ledger import SqlLedger
from relayd.model.address import Address
from relayd.model.delivery import Claim, Draft
from relayd.ops.doctor import database as judges
from relayd.ops.doctor.asking.database import look
from relayd.ops.doctor.facts import Facts
from relayd.ops.doctor.findings import UnknownError
from relayd.ops.doctor.local_facts import DatabaseFacts
from relayd.ops.doctor.setup import Setup
from relayd.ops.masks import add_mask
from tests.contract.databases import open_database
from tests.contract.deliveries import ask

SECRET = "8f2c1d7e90ab4365f1e2d3c4b5a69788"
OTHER = "11223344556677889900aabbccddeeff"


def setup(url: str, secret: str = SECRET) -> Setup:
    return Setup.read({"RELAYD_DATABASE_URL": url, "RELAYD_SECRET": secret, "RELAYD_MAIL_DOMAINS": "mask.example"})


@pytest.fixture
def filled(database_url: str) -> str:
    """One mask, one mail that was sent, one replica, our secret."""
    database = open_database(database_url)
    add_mask(database, Address.parse("shop@mask.example"), [Address.parse("me@owner.example")])
    check_secret(database, [SECRET.encode()], remember=True)
    ledger = SqlLedger(database)
    claim = ask(ledger)
    assert isinstance(claim, Claim)
    ledger.begin_send(claim, Draft(1000), ttl=60)
    ledger.sent(claim, "ses-1")
    with database.writing() as connection:
        row = {"id": "here", "old": "gone", "now": time.time()}
        values = "(:id, 0, :now, '{}'), (:old, 0, 1, '{}')"
        connection.execute(sa.text(f"INSERT INTO replicas VALUES {values}"), row)
    database.close()
    return database_url


def test_everything_that_can_be_seen(filled: str) -> None:
    """Version, secret, masks by domain, sends of the day, replicas that live, the clock, whether it can be written."""
    found = look(setup(filled))
    assert found.trouble == ""
    facts = Facts(setup(filled), time.time(), database=found)
    for judge in (
        judges.usable,
        judges.migrations,
        judges.secret,
        judges.directory,
        judges.foreign_domains,
        judges.replicas,
        judges.connections,
    ):
        assert judge(facts).level == "ok"
    assert found.domains.known == {"mask.example": 1}
    assert (found.sends.known.mails, found.sends.known.busiest_minute) == (1, 1)
    assert found.replicas.known == 1
    assert abs(found.skew.known) < 5
    assert found.version.known in found.known_versions


def test_what_is_wrong_is_seen(filled: str) -> None:
    """Another secret, no masks, and a clock that is an hour off."""
    assert not look(setup(filled, OTHER)).secret.known
    assert look(setup(filled, f"{OTHER},{SECRET}")).secret.known
    assert look(setup(filled), lambda: time.time() + 3600).skew.known == pytest.approx(3600, abs=5)
    empty = open_database(filled)
    empty.close()
    assert look(setup(filled)).empty.known


def test_it_cannot_write(filled: str) -> None:
    """Neither by mistake: the connection refuses it."""
    database = connect(filled, pool_size=1, read_only=True)
    with pytest.raises(Exception, match="database_"), database.writing() as connection:
        connection.execute(sa.text("DELETE FROM masks"))
    database.close()
    assert look(setup(filled)).domains.known == {"mask.example": 1}


class TestFiles:
    def test_none(self, tmp_path: Path) -> None:
        """There is none, and none is made."""
        path = tmp_path / "relayd.db"
        found = look(setup(f"sqlite:///{path}"))
        assert (found.trouble, found.hint) == ("there is no such file", "make it: relayd db upgrade")
        assert not path.exists()

    def test_none_in_no_folder(self, tmp_path: Path) -> None:
        """The hint names the folder."""
        found = look(setup(f"sqlite:///{tmp_path}/not/there.db"))
        assert "does not exist" in found.trouble
        assert found.hint.startswith("create it: mkdir -p")

    @pytest.mark.parametrize("content", [b"no database at all, and longer than a header", b"x"])
    def test_another_kind_of_file(self, tmp_path: Path, content: bytes) -> None:
        """It is not touched."""
        path = tmp_path / "relayd.db"
        path.write_bytes(content)
        found = look(setup(f"sqlite:///{path}"))
        assert found.trouble == "the file is no SQLite database"
        assert path.read_bytes() == content

    def test_an_empty_one(self, tmp_path: Path) -> None:
        """Has no tables; what is in them is not known."""
        (tmp_path / "relayd.db").touch()
        found = look(setup(f"sqlite:///{tmp_path}/relayd.db"))
        assert found.version.known == ""
        with pytest.raises(UnknownError):
            _ = found.empty.known

    def test_somebody_elses(self, tmp_path: Path) -> None:
        """Another program's database keeps its journal, whatever the daemon would have set."""
        import sqlite3

        path = tmp_path / "relayd.db"
        with sqlite3.connect(path) as theirs:
            theirs.execute("CREATE TABLE recipes (name)")
        before = path.read_bytes()
        assert look(setup(f"sqlite:///{path}")).version.known == ""
        assert path.read_bytes() == before
        assert sorted(one.name for one in tmp_path.iterdir()) == ["relayd.db"]

    def test_beside_a_daemon(self, tmp_path: Path) -> None:
        """What is in the journal is seen, and a writer at work keeps nobody from looking."""
        url = f"sqlite:///{tmp_path}/relayd.db"
        database = open_database(url)
        add_mask(database, Address.parse("shop@mask.example"), [Address.parse("me@owner.example")])
        with database.writing() as connection:
            connection.execute(sa.text("UPDATE masks SET enabled = false"))
            found = look(setup(url))
        assert found.domains.known == {"mask.example": 1}
        database.close()


def test_a_server_that_is_away() -> None:
    """It cannot be used, and no part of the password is told."""
    found = look(setup("postgresql://relayd:hunter2@127.0.0.1:1/relayd"))
    assert found.trouble.startswith("it cannot be used (database_unavailable")
    assert "hunter2" not in repr(found)


def test_a_standby_takes_nothing(postgres_url: str) -> None:
    """Or a server, or a role, that is read-only by default; that the doctor itself is does not count."""
    open_database(postgres_url).close()
    assert look(setup(postgres_url)).writable.known
    admin = connect(postgres_url, pool_size=1)
    with admin.reading() as connection:
        name = connection.exec_driver_sql("SELECT current_database()").scalar_one()
        connection.exec_driver_sql(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    try:
        assert not look(setup(postgres_url)).writable.known
    finally:
        with admin.engine.connect() as connection:
            connection.exec_driver_sql("SET default_transaction_read_only = off")
            connection.exec_driver_sql(f'ALTER DATABASE "{name}" RESET default_transaction_read_only')
            connection.commit()
        admin.close()
    assert look(setup(postgres_url)).writable.known


def test_no_facts_are_no_judgement() -> None:
    """A database that nobody could name."""
    facts = Facts(Setup.read({}), 0.0, database=None)
    with pytest.raises(UnknownError, match="RELAYD_DATABASE_URL"):
        judges.usable(facts)
    broken = Facts(Setup.read({}), 0.0, database=DatabaseFacts(None, "it is not a database URL"))
    assert judges.usable(broken).level == "failure"
