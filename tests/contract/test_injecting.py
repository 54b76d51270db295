"""Messages of relayd's own: what comes out of the queue is what went in, attributes and all."""

import pytest

from relayd.adapters.injecting import Injector, Parcel
from relayd.adapters.sqs import SqsQueue
from relayd.model.message import Message
from tests.contract.moto_server import MotoServer


@pytest.mark.parametrize("name", ["moto", "embedded"])
def test_attributes_and_trace_header_arrive(name: str, request: pytest.FixtureRequest) -> None:
    """So that links, and when a mail was first received, survive a replay."""
    server: MotoServer = request.getfixturevalue(name)
    url, _ = server.new_queue()
    client = server.relayd_client("sqs")
    trace = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
    parcels = [Parcel("plain"), Parcel("told, ü", {"traceparent": "00-a", "relayd-first-received": "2026"}, trace)]
    assert Injector(url, client).post(parcels) == [None, None]
    queue = SqsQueue(url, poll_client=client, client=client, dead_letter_url=None)
    received: dict[str, Message] = {}
    while len(received) < 2:
        received.update({one.body: one for one in queue.receive(10, 1, 30)})
    assert dict(received["plain"].attributes) == {}
    told = received["told, ü"]
    assert dict(told.attributes) == {"traceparent": "00-a", "relayd-first-received": "2026"}
    # moto takes it, and loses it.
    assert told.trace_header == (None if name == "moto" else trace)


def test_a_parcel_weighs_what_sqs_counts() -> None:
    """Bytes, not characters; names, types and values of attributes too."""
    assert Parcel("ü").size == 2
    assert Parcel("", {"a": "ü"}).size == len("a") + len("String") + 2
