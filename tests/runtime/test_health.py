"""Health: what makes it red, what must not, and a server that bears whatever is sent to it."""

import errno
import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from html.parser import HTMLParser
from typing import Any

import pytest

from relayd.errors import ConfigurationError
from relayd.runtime.health import IDLE_SECONDS, MAX_CONNECTIONS, HealthServer, HealthState
from relayd.runtime.status_page import status_page
from tests.fakes.clock import VirtualClock


def state(turned_at: float | None = 0.0) -> HealthState:
    state = HealthState(turn_limit=55)
    if turned_at is not None:
        state.poll_turned(turned_at)
    return state


def test_liveness_is_that_the_poll_loop_turns() -> None:
    """Up to the limit it is alive, beyond it is stuck, and a turn makes it alive again."""
    health = state(turned_at=100.0)
    assert health.live(155.0) == (True, "polling")
    assert health.live(156.0) == (False, "no poll turn for 56 s (limit 55 s)")
    health.poll_turned(156.0)
    assert health.live(156.0)[0]


def test_liveness_is_blind_to_what_readiness_sees() -> None:
    """A broken dependency is no reason for a restart: that is what killed the pods one by one."""
    health = state()
    health.condition("queue", "access_denied")
    health.condition("database", "unreachable")
    assert health.live(1.0) == (True, "polling")
    assert health.ready() == (False, {"queue": "access_denied", "database": "unreachable"})
    health.condition("queue", None)
    health.condition("database", None)
    health.condition("never_set", None)
    assert health.ready() == (True, {})


def test_before_the_first_turn_it_is_alive_and_not_ready() -> None:
    """A start that checks slow dependencies is not a hang."""
    assert state(turned_at=None).live(1_000.0) == (True, "starting")
    assert state(turned_at=None).ready() == (False, {"poller": "starting"})


@pytest.mark.parametrize(
    ("wedged", "paused", "live"),
    [(0, False, True), (7, False, True), (8, False, False), (8, True, True), (16, True, True)],
)
def test_half_of_the_workers_stuck_is_red_unless_paused(wedged: int, paused: bool, live: bool) -> None:
    """While a dependency is out, late workers are its fault and a restart cures nothing."""
    health = state()
    health.watch(slots=16, wedged=lambda: wedged, paused=lambda: paused)
    assert health.live(1.0)[0] is live


def test_stopping_is_alive_and_not_ready() -> None:
    """The poll loop ends first; a kill in the middle of an orderly stop would undo it."""
    health = state()
    health.condition("stopping", "stopping")
    assert health.live(10_000.0) == (True, "stopping")
    assert health.ready()[0] is False


class World:
    """A server on a free port, and what it is asked about."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.state = state()
        self.facts: dict[str, Any] = {"queue": "incoming", "in_flight": 3}
        self.broken = False
        self.server = HealthServer(
            "127.0.0.1", 0, self.state, clock=self.clock, metrics=lambda: b"relayd_in_flight 3\n", status=self.status
        )
        self.server.start()

    def status(self) -> dict[str, Any]:
        if self.broken:
            raise RuntimeError("me@example.org")
        return self.facts

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=5)

    def get(self, path: str, method: str = "GET") -> tuple[int, str]:
        connection = self.connect()
        connection.request(method, path)
        answer = connection.getresponse()
        body = answer.read().decode()
        connection.close()
        return answer.status, body

    def raw(self, sent: bytes) -> bytes:
        answer = b""
        with (
            socket.create_connection(("127.0.0.1", self.server.port), timeout=5) as sock,
            # What is closed with something unread is reset: that is an answer too.
            suppress(ConnectionResetError, BrokenPipeError),
        ):
            sock.sendall(sent)
            try:
                sock.shutdown(socket.SHUT_WR)
            except OSError as error:
                # The same reset, seen between the two calls.
                if error.errno != errno.ENOTCONN:
                    raise
            while piece := sock.recv(65536):
                answer += piece
        return answer


@pytest.fixture
def world() -> Iterator[World]:
    """A running server, stopped at the end."""
    world = World()
    yield world
    world.server.stop()


def test_livez_and_readyz_answer_with_a_code_and_a_reason(world: World) -> None:
    """The code is for the kubelet, the JSON for who reads its events."""
    assert world.get("/livez") == (200, '{"live": true, "reason": "polling"}\n')
    assert world.get("/readyz") == (200, '{"ready": true, "against": {}}\n')
    world.clock.sleep(56)
    world.state.condition("queue", "access_denied")
    status, body = world.get("/livez?verbose")
    assert (status, json.loads(body)["live"]) == (503, False)
    status, body = world.get("/readyz")
    assert (status, json.loads(body)["against"]) == (503, {"queue": "access_denied"})


def test_metrics_and_status_are_what_they_are_given(world: World) -> None:
    """Cached state out; the server adds what health knows."""
    assert world.get("/metrics") == (200, "relayd_in_flight 3\n")
    status, body = world.get("/status")
    assert status == 200
    assert json.loads(body) == {
        "live": True, "live_reason": "polling", "ready": True, "against": {}, "queue": "incoming", "in_flight": 3,
    }  # fmt: skip


def test_unknown_paths_and_other_methods_are_refused(world: World) -> None:
    """For reading only, and only what there is."""
    assert world.get("/admin")[0] == 404
    assert world.get("/livez/../status")[0] == 404
    assert [world.get("/livez", method)[0] for method in ("POST", "DELETE", "OPTIONS")] == [405, 405, 405]


def test_head_answers_without_a_body(world: World) -> None:
    """Some load balancers probe with it."""
    connection = world.connect()
    connection.request("HEAD", "/livez")
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (200, b"")
    assert int(answer.headers["Content-Length"]) > 0


def test_one_connection_serves_many_requests(world: World) -> None:
    """HTTP/1.1 keep-alive, as scrapers use it."""
    connection = world.connect()
    for _ in range(3):
        connection.request("GET", "/livez")
        assert connection.getresponse().read()
    sock = connection.sock
    connection.request("GET", "/livez")
    assert connection.getresponse().status == 200
    assert connection.sock is sock


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 1_000 + b"\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET \xff\xfe HTTP/1.1\r\n\r\n",
        b"<canary@example.org> / HTTP/1.1\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nContent-Length: 20\r\n\r\nGET /status HTTP/1.1",
    ],
    ids=lambda sent: repr(sent[:24]),
)
def test_garbage_is_answered_or_dropped_and_never_repeated(
    world: World, sent: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    """The server lives on, prints nothing, echoes nothing, and does not read a body as a request."""
    answer = world.raw(sent)
    assert b"canary" not in answer
    assert answer.count(b"HTTP/1.1 ") <= 1
    assert world.get("/livez")[0] == 200
    assert capfd.readouterr().err == ""


def test_a_client_that_leaves_in_the_middle_is_no_event(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    """A reset connection must not print a traceback."""
    for _ in range(5):
        sock = socket.create_connection(("127.0.0.1", world.server.port))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        sock.sendall(b"GET /status HTTP/1.1\r\n\r\n")
        sock.close()
    assert world.get("/livez")[0] == 200
    assert capfd.readouterr().err == ""


def test_idle_connections_never_keep_a_probe_out(world: World) -> None:
    """The oldest is closed for a new one, and threads do not pile up."""
    before = threading.active_count()
    idle = [socket.create_connection(("127.0.0.1", world.server.port)) for _ in range(MAX_CONNECTIONS + 20)]
    assert world.get("/livez")[0] == 200
    for sock in idle[:20]:
        # Closed for a newer one, long before it was silent for too long.
        sock.settimeout(IDLE_SECONDS / 2)
        assert sock.recv(1) == b""
    assert threading.active_count() < before + MAX_CONNECTIONS + 20
    for sock in idle:
        sock.close()


def test_a_status_that_cannot_be_told_is_a_500_and_no_more(world: World) -> None:
    """A bug in a report must not take the probes with it, nor tell its text."""
    world.broken = True
    status, body = world.get("/status")
    assert (status, "example.org" in body) == (500, False)
    assert world.get("/livez")[0] == 200


def test_a_port_in_use_is_a_problem_with_a_hint(world: World) -> None:
    """Two daemons on one host is the usual way."""
    second = HealthServer(
        "127.0.0.1", world.server.port, world.state, clock=world.clock, metrics=lambda: b"", status=dict
    )
    with pytest.raises(ConfigurationError) as caught:
        second.start()
    (problem,) = caught.value.problems
    assert problem.subject == "RELAYD_HTTP_ADDRESS"
    assert problem.hint
    second.stop()


def test_a_name_that_cannot_be_looked_up_is_a_problem(world: World) -> None:
    """The resolver refuses such names with an error that is none of the system's."""
    server = HealthServer("a..b", 0, world.state, clock=world.clock, metrics=lambda: b"", status=dict)
    with pytest.raises(ConfigurationError, match="RELAYD_HTTP_ADDRESS"):
        server.start()


def test_stop_frees_the_port_and_hangs_up(world: World) -> None:
    """A restart on the same port must not wait for a scraper's connection."""
    connection = world.connect()
    connection.request("GET", "/livez")
    connection.getresponse().read()
    port = world.server.port
    world.server.stop()
    world.server.stop()
    assert connection.sock.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


class Page(HTMLParser):
    """What a browser would load and show."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(document)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loads += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta",):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += f"{data} "


def test_the_page_shows_the_status_and_loads_nothing(world: World) -> None:
    """From this host alone, and fit for a phone."""
    status, body = world.get("/")
    page = Page(body)
    assert status == 200
    assert "Ready. No mail ended in the last minute." in page.text
    assert "in flight" in page.text
    assert page.open == []
    assert all(link.startswith("/") and not link.startswith("//") for link in page.loads)
    assert "width=device-width" in body
    assert "url(" not in body


def test_the_page_escapes_every_name_and_value() -> None:
    """A queue's name comes from outside."""
    page = status_page(
        {"<b>": "<script>", "list": ["<i>"], "deep": {"<u>": {"a": None, "b": True, "c": 1.50, "d": []}}}
    )
    assert all(tag not in page for tag in ("<script>", "<i>", "<u>", "<b>:"))
    assert "&lt;script&gt;" in page


def test_the_page_bears_a_status_without_end() -> None:
    """Nesting is bounded."""
    endless: dict[str, Any] = {}
    endless["again"] = endless
    assert status_page(endless).count("<table>") < 10
