"""What answers at a replica's address: its status, somebody else's page, or nobody."""

import json

import pytest

from relayd.adapters.replica_status import MAX_BYTES, replica_status
from relayd.errors import PermanentError, RelaydError, TransientError
from tests.adapters.scripted_server import Answer, Hang, Reset, ScriptedServer, Step


def asked(step: Step, path: str = "/status") -> object:
    with ScriptedServer(step) as server:
        return replica_status(server.endpoint + path, seconds=0.3)


def test_a_status_is_an_object() -> None:
    """Asked for at the very path that was given."""
    with ScriptedServer(Answer(body=json.dumps({"replica": "pod-a"}).encode())) as server:
        assert replica_status(server.endpoint + "/status?x=1", seconds=2) == {"replica": "pod-a"}
        assert server.requests[0].line == "GET /status?x=1 HTTP/1.1"


@pytest.mark.parametrize(
    "step",
    [
        Answer(404, b"not found"),
        Answer(503, b"{}"),
        Answer(302, b"", {"location": "http://127.0.0.1:1/"}),
        Answer(200, b"<html>"),
        Answer(200, b"[1, 2]"),
        Answer(200, b"\xff\xfe"),
        Answer(200, b"[" * 100_000),
        Answer(200, b'"' + b"x" * MAX_BYTES + b'"'),
        Answer(200, b" " * (MAX_BYTES + 10), length=10**9),
    ],
    ids=lambda step: f"{step.status} {step.body[:6]!r}",
)
def test_what_is_no_status_is_told_as_that(step: Step) -> None:
    """Another server at a mistyped address; it is neither followed nor read to its end."""
    with pytest.raises(PermanentError) as raised:
        asked(step)
    assert raised.value.reason == "no_status"


@pytest.mark.parametrize(
    "step",
    [Reset(after_request=False), Reset(after_request=True), Hang(after_request=True), Answer(200, b"{", length=100)],
    ids=lambda step: type(step).__name__,
)
def test_a_replica_that_does_not_answer(step: Step) -> None:
    """Within the time that was given."""
    with pytest.raises(TransientError) as raised:
        asked(step)
    assert raised.value.reason == "replica_unreachable"


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/status", "http://me:secret@127.0.0.1:1/status", "http://\x00/"])
def test_nobody_is_there(url: str) -> None:
    """And no password is repeated."""
    with pytest.raises(RelaydError) as raised:
        replica_status(url, seconds=0.3)
    assert "secret" not in str(raised.value)
