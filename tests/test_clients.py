"""The daemon's AWS clients: who shares connections with whom."""

from typing import Any

import pytest

from relayd.clients import EVENTS_THREADS, Clients
from relayd.settings import Settings
from tests.test_settings import GOOD


@pytest.fixture
def settings() -> Settings:
    return Settings.load(GOOD | {"RELAYD_CONCURRENCY": "40"})


def config(client: Any) -> Any:
    return client.meta.config


def test_pools_hold_a_connection_for_each_thread(settings: Settings) -> None:
    """A thread that finds none makes a connection and throws it away after the call, each time."""
    clients = Clients(settings)
    for client in (clients.s3, clients.ses, clients.settle):
        assert config(client).max_pool_connections >= 40
    assert config(clients.settle_events).max_pool_connections >= EVENTS_THREADS


def test_polling_has_connections_of_its_own(settings: Settings) -> None:
    """A long poll that held a delete's connection would let its lease lapse; and it may wait longer than a delete."""
    clients = Clients(settings)
    polling, settling = (clients.poll, clients.poll_events), (clients.settle, clients.settle_events)
    assert len({id(client) for client in (*polling, *settling)}) == 4
    for client in polling:
        assert config(client).read_timeout > settings.wait_seconds
    for client in settling:
        assert config(client).read_timeout < settings.wait_seconds
