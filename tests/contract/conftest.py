"""Fixtures of the contract suites."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from relayd.adapters.database import Database
from tests.contract.databases import open_database, postgres_server, sqlite_url
from tests.contract.operated import Directory
from tests.contract.stores import FakeStores, Ledger, SqlStores, Stores
from tests.fakes.clock import VirtualClock


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The URL of a PostgreSQL server that lives as long as the session; skips where none can start."""
    server = postgres_server()
    try:
        uri = server.__enter__().get_uri()
    except Exception as error:
        pytest.skip(f"PostgreSQL does not start here: {type(error).__name__}: {error}")
    yield uri
    server.__exit__(None, None, None)


@pytest.fixture
def clock() -> VirtualClock:
    """What the databases of the test take for their time."""
    return VirtualClock()


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a real database is, in both kinds."""
    return sqlite_url(tmp_path) if request.param == "sqlite" else str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def database(database_url: str, clock: VirtualClock) -> Iterator[Database]:
    """A real database, empty, in the test's time."""
    opened = open_database(database_url, clock)
    yield opened
    opened.close()


@pytest.fixture(params=["fake", "sqlite", "postgres"])
def stores(request: pytest.FixtureRequest, clock: VirtualClock, tmp_path: Path) -> Iterator[Stores]:
    """Everything that relayd keeps, empty, in the test's time."""
    if request.param == "fake":
        yield FakeStores(clock)
        return
    url = sqlite_url(tmp_path) if request.param == "sqlite" else str(request.getfixturevalue("postgres_url"))
    opened = open_database(url, clock)
    yield SqlStores(opened)
    opened.close()


@pytest.fixture
def directory(stores: Stores) -> Directory:
    return stores.directory


@pytest.fixture
def ledger(stores: Stores) -> Ledger:
    return stores.ledger
