"""One account of moto's, and one nursery, for all tests of what may be done with which rights."""

from collections.abc import Iterator

import pytest

from tests.deploy.account import Account
from tests.deploy.enforcing import EnforcingMoto
from tests.deploy.nursery import Nursery


@pytest.fixture(scope="session")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    folder = tmp_path_factory.mktemp("account")
    moto = EnforcingMoto(folder / "moto.log")
    yield Account(moto, folder)
    moto.stop()


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    nursery = Nursery()
    yield nursery
    nursery.close()
