"""One emulated AWS for all process tests; each test has a world of its own in it."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from relayd.sandbox.aws import EmulatedAws
from tests.process.cloud import Cloud

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def emulated_aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatedAws]:
    aws = EmulatedAws(tmp_path_factory.mktemp("aws") / "aws.log")
    yield aws
    aws.stop()


@pytest.fixture
def cloud(emulated_aws: EmulatedAws, tmp_path: Path) -> Iterator[Cloud]:
    cloud = Cloud(tmp_path, emulated_aws, next(_numbers))
    yield cloud
    cloud.close()
