"""Every test here finds the embedded AWS without faults and with its own settings."""

from collections.abc import Iterator

import pytest

from tests.cloud.server import EmbeddedServer


@pytest.fixture
def server(embedded: EmbeddedServer) -> Iterator[EmbeddedServer]:
    """The shared server; what a test turns is turned back after it."""
    before = embedded.aws.settings()
    yield embedded
    embedded.aws.clear_faults()
    embedded.aws.settings(**before)
