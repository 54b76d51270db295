"""One embedded AWS for all process tests; each test has a world of its own in it."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from relayd.sandbox.cloud.client import EmbeddedAws
from relayd.sandbox.moto_server import MotoServer
from tests.process.cloud import Cloud

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def embedded_aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedAws]:
    aws = EmbeddedAws(tmp_path_factory.mktemp("aws") / "aws.log")
    yield aws
    aws.stop()


@pytest.fixture(scope="session")
def moto_aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MotoServer]:
    aws = MotoServer(tmp_path_factory.mktemp("aws") / "moto.log")
    yield aws
    aws.stop()


@pytest.fixture
def cloud(embedded_aws: EmbeddedAws, tmp_path: Path) -> Iterator[Cloud]:
    """The embedded AWS, signatures and all."""
    cloud = Cloud(tmp_path, embedded_aws, next(_numbers))
    yield cloud
    cloud.close()


@pytest.fixture
def moto_cloud(moto_aws: MotoServer, tmp_path: Path) -> Iterator[Cloud]:
    """The second implementation."""
    cloud = Cloud(tmp_path, moto_aws, next(_numbers))
    yield cloud
    cloud.close()
