"""Every test here finds the embedded AWS without faults and with its own settings."""

from collections.abc import Iterator

import pytest

from tests.cloud.server import EmbeddedServer, embedded  # noqa: F401 -- pytest finds fixtures in conftest


@pytest.fixture
def server(embedded: EmbeddedServer) -> Iterator[EmbeddedServer]:  # noqa: F811
    """The shared server; what a test turns is turned back after it."""
    before = embedded.aws.settings()
    yield embedded
    embedded.aws.clear_faults()
    embedded.aws.settings(**before)
