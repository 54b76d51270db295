"""Prepared statements say what SQLAlchemy would have said, and changes that share a commit share nothing else."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from relayd.adapters.database import Database, connect, upgrade
from relayd.adapters.prepared import Statements
from relayd.adapters.schema import meta, owners
from relayd.errors import HoldError, TransientError
from tests.contract.databases import sqlite_url

THREADS = 8


def test_values_are_what_they_were(database: Database) -> None:
    """Booleans come back as booleans, text and floats as they are, NULL as None, from both dialects."""
    new = database.prepared(sa.insert(owners))
    found = database.prepared(sa.select(owners).where(owners.c.owner_id == sa.bindparam("owner")))
    values = {"owner_id": "o1", "active": True, "flagged": False, "complained_at": 1.5, "language": "d\u00e9"}
    given = {column.name: None for column in owners.columns if column.nullable} | _required() | values
    assert database.change("new", lambda run: run(new, given), once=True).changed == 1
    with database.asking("look") as run:
        row = run(found, {"owner": "o1"}).first
        assert run(found, {"owner": "nobody"}).first is None
    with database.reading() as connection:
        plain = connection.execute(sa.select(owners).where(owners.c.owner_id == "o1")).one()
    assert row._asdict() == plain._asdict()
    assert (row.active, row.flagged, row.language) == (True, False, "d\u00e9")


def _required() -> dict[str, Any]:
    """A value for each column of an owner that must have one."""
    made: dict[type[Any], Any] = {str: "x", int: 0, float: 0.0, bool: False}
    return {column.name: made[column.type.python_type] for column in owners.columns if not column.nullable}


def test_a_list_is_refused(database: Database) -> None:
    """Its length would be part of the SQL."""
    names = sa.select(meta).where(meta.c.name.in_(sa.bindparam("names", expanding=True)))
    with pytest.raises(TypeError, match="list"), database.asking("look") as run:
        run(database.prepared(names), {"names": ["a", "b"]})


def test_an_error_is_ours(database: Database) -> None:
    """Whichever way it came, it has our word and no value."""
    new = database.prepared(sa.insert(meta))

    def twice(run: Statements) -> None:
        run(new, {"name": "hunter2", "value": "a"})
        run(new, {"name": "hunter2", "value": "b"})

    with pytest.raises(TransientError, match="database_conflict") as caught:
        database.change("new", twice)
    assert "hunter2" not in str(caught.value)
    assert names_in(database) == set()
    assert (database.waiting(), database.connections()["used"]) == (0, 0)


def test_the_only_connection_is_fit_again(database_url: str) -> None:
    """What failed in the middle of a transaction leaves nothing of it to whoever has the connection next."""
    database = connect(database_url, pool_size=1)
    upgrade(database)
    new = database.prepared(sa.insert(meta))

    def fail(run: Statements) -> None:
        run(new, {"name": "half", "value": ""})
        raise ValueError("in the middle")

    with pytest.raises(ValueError, match="in the middle"):
        database.change("new", fail)
    assert "half" not in names_in(database)
    database.change("new", lambda run: run(new, {"name": "whole", "value": ""}))
    assert "whole" in names_in(database)
    with database.writing() as connection:
        connection.execute(sa.delete(meta).where(meta.c.name == "whole"))
    database.close()


@pytest.mark.parametrize("failing", [(), (1, 3, 5, 7)], ids=["all well", "half of them fail"])
def test_changes_share_a_commit_and_nothing_else(tmp_path: Path, failing: tuple[int, ...]) -> None:
    """Those that come while one waits for the disk are one transaction; where one of them fails, it fails alone."""
    database, said = sqlite(tmp_path)
    new = database.prepared(sa.insert(meta))
    inside, go_on = threading.Event(), threading.Event()

    def slow(run: Statements) -> None:
        run(new, {"name": "slow", "value": ""})
        inside.set()
        go_on.wait(10)

    def add(number: int) -> str:
        def change(run: Statements) -> str:
            run(new, {"name": f"name-{number}", "value": ""})
            if number in failing:
                # After its change, which must go with it.
                raise ValueError(number)
            return f"name-{number}"

        return database.change("new", change)

    answers: dict[int, object] = {}
    first = threading.Thread(target=lambda: database.change("new", slow))
    first.start()
    assert inside.wait(10)
    said.clear()
    threads = [threading.Thread(target=_kept(answers, number, add)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    while database.waiting() < THREADS:
        threading.Event().wait(0.001)
    go_on.set()
    for thread in (first, *threads):
        thread.join(10)
    well = set(range(THREADS)) - set(failing)
    assert said.count("COMMIT") == 1 + (len(well) if failing else 1)
    assert names_in(database) == {"slow", *(f"name-{number}" for number in well)}
    for number, answer in answers.items():
        if number in failing:
            assert isinstance(answer, ValueError)
            assert answer.args == (number,)
        else:
            assert answer == f"name-{number}"
    database.close()


def _kept(answers: dict[int, object], number: int, add: Callable[[int], str]) -> Callable[[], None]:
    def run() -> None:
        try:
            answers[number] = add(number)
        except Exception as error:
            answers[number] = error

    return run


def test_a_full_disk_is_held_and_nothing_stays(tmp_path: Path) -> None:
    """SQLite ends the transaction by itself then. Once there is room again, all is well."""
    database, _ = sqlite(tmp_path)
    new = database.prepared(sa.insert(meta))
    with database.writing() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(HoldError, match="the disk is full"):
        database.change("new", lambda run: run(new, {"name": "large", "value": "x" * 1_000_000}))
    with database.writing() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 1000000")
    database.change("new", lambda run: run(new, {"name": "small", "value": "x"}))
    assert names_in(database) == {"small"}
    database.close()


def test_who_does_not_get_a_turn_has_changed_nothing(tmp_path: Path) -> None:
    """Another process holds the file for longer than a writer waits."""
    database, _ = sqlite(tmp_path, patience=0.1)
    other, _ = sqlite(tmp_path)
    new = database.prepared(sa.insert(meta))
    with other.writing() as connection:
        connection.execute(sa.insert(meta).values(name="other", value=""))
        with pytest.raises(TransientError, match="database_busy"):
            database.change("new", lambda run: run(new, {"name": "late", "value": ""}))
    assert names_in(database) == {"other"}
    database.close()
    other.close()


def sqlite(folder: Path, patience: float | None = None) -> tuple[Database, list[str]]:
    """A file's database with one connection, and what is said to it from now on."""
    database = connect(sqlite_url(folder), pool_size=1)
    upgrade(database)
    with database.writing() as connection:
        connection.execute(sa.delete(meta))
    said: list[str] = []
    pooled = database.engine.raw_connection()
    driver: Any = pooled.driver_connection
    driver.set_trace_callback(said.append)
    if patience is not None:
        driver.execute(f"PRAGMA busy_timeout = {round(patience * 1000)}")
    pooled.close()
    return database, said


def names_in(database: Database) -> set[str]:
    """All names, but what upgrades write there."""
    with database.reading() as connection:
        return set(connection.execute(sa.select(meta.c.name)).scalars()) - {"oldest_version"}
