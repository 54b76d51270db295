"""Health on its own threads and port: cached state out, and never a call to anything that could hang.

The incident behind relayd was a health check that starved with the work it watched.
"""

import json
import socket
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import structlog

from relayd.errors import ConfigurationError, Problem
from relayd.ports import Clock
from relayd.runtime.status_page import status_page

IDLE_SECONDS = 5.0
"""How long a connection may say nothing. Probes open a new one each time; scrapers come back every 15 s or so."""
MAX_CONNECTIONS = 32
"""The oldest connection is closed for a new one beyond: idle ones must never keep a probe out."""
STOPPING = "stopping"

log = structlog.get_logger()

Answer = tuple[HTTPStatus, str, bytes]


class HealthState:
    """What the engine says about itself. Written by its threads, read by the server's."""

    def __init__(self, *, turn_limit: float) -> None:
        self._turn_limit = turn_limit
        self._turned_at: dict[str, float] = {}
        self._conditions: dict[str, str] = {}
        self._lock = threading.Lock()
        self._slots = 0
        self._wedged: Callable[[], int] = lambda: 0
        self._paused: Callable[[], bool] = lambda: False

    def watch(self, *, slots: int, wedged: Callable[[], int], paused: Callable[[], bool]) -> None:
        """Count workers that are stuck past their deadline. Neither callable may block."""
        self._slots, self._wedged, self._paused = slots, wedged, paused

    def poll_turned(self, now: float, poller: str = "mail") -> None:
        """A poll loop finished a turn, successful or not; a pause counts as turns too. `now` is monotonic."""
        self._turned_at[poller] = now

    def turned_ago(self, now: float) -> dict[str, float]:
        """Seconds since each poll loop last turned."""
        return {poller: now - at for poller, at in dict(self._turned_at).items()}

    def condition(self, name: str, reason: str | None) -> None:
        """Something that readiness needs is well (None), or why it is not."""
        with self._lock:
            if reason is None:
                self._conditions.pop(name, None)
            else:
                self._conditions[name] = reason

    def conditions(self) -> dict[str, str]:
        """What stands against being ready, by name."""
        with self._lock:
            return dict(self._conditions)

    def live(self, now: float) -> tuple[bool, str]:
        """Whether a restart would not help, and why. Slow or broken dependencies are no reason for one."""
        if STOPPING in self.conditions():
            # The poll loop ends first of all; killing what it left in hand would undo the orderly stop.
            return True, STOPPING
        if not self._turned_at:
            return True, "starting"
        silent = now - min(list(self._turned_at.values()))
        if silent > self._turn_limit:
            return False, f"no poll turn for {silent:.0f} s (limit {self._turn_limit:.0f} s)"
        wedged = self._wedged()
        if self._slots and wedged * 2 >= self._slots and not self._paused():
            return False, f"{wedged} of {self._slots} workers are stuck past their deadline"
        return True, "polling"

    def ready(self) -> tuple[bool, dict[str, str]]:
        """Whether mail is being worked on, and what stands against it."""
        against = self.conditions()
        if not self._turned_at:
            against.setdefault("poller", "starting")
        return not against, against


class HealthPart(HealthState):
    """What a second engine in the same process says about itself, told to the first one's state under its own name."""

    def __init__(self, whole: HealthState, name: str) -> None:
        super().__init__(turn_limit=0.0)
        self._whole = whole
        self._name = name

    def poll_turned(self, now: float, poller: str = "") -> None:
        """A turn of this engine's poller."""
        self._whole.poll_turned(now, poller or self._name)

    def condition(self, name: str, reason: str | None) -> None:
        """A condition of this engine, beside those of the other one. Its stop is the other one's to tell."""
        if name != STOPPING:
            self._whole.condition(f"{self._name}_{name}", reason)


class HealthServer:
    """Serves /livez, /readyz, /metrics, /status and a page at /, for reading only."""

    def __init__(
        self,
        host: str,
        port: int,
        state: HealthState,
        *,
        clock: Clock,
        metrics: Callable[[], bytes],
        status: Callable[[], Mapping[str, Any]],
    ) -> None:
        self._state = state
        self._clock = clock
        self._metrics = metrics
        self._status = status
        self._routes: dict[str, Callable[[], Answer]] = {
            "/livez": self._livez,
            "/readyz": self._readyz,
            "/metrics": self._prometheus,
            "/status": self._status_json,
            "/": self._page,
        }
        self._address = (host, port)
        self._server: _Server | None = None

    @property
    def port(self) -> int:
        """The port that is bound: what was asked for, or what port 0 became. 0 before `start`."""
        return self._server.server_address[1] if self._server else 0

    def start(self) -> None:
        """Bind and serve. Raises ConfigurationError when the address cannot be used."""
        self._server = _bind(self._address, self._answer)
        threading.Thread(target=self._server.serve_forever, args=(0.1,), name="health", daemon=True).start()

    def stop(self) -> None:
        """Close the port and every connection. A server that was not started, or was stopped, stays so."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()

    def live(self) -> bool:
        """What /livez would say now."""
        return self._state.live(self._clock.monotonic())[0]

    def _answer(self, path: str) -> Answer:
        route = self._routes.get(path.partition("?")[0])
        if route is None:
            return _text(HTTPStatus.NOT_FOUND, "not found; try /livez /readyz /metrics /status /\n")
        try:
            return route()
        except Exception:
            log.exception("health_failed", path=path.partition("?")[0])
            return _text(HTTPStatus.INTERNAL_SERVER_ERROR, "an error occurred; the log has it\n")

    def _livez(self) -> Answer:
        live, reason = self._state.live(self._clock.monotonic())
        return _json(live, {"live": live, "reason": reason})

    def _readyz(self) -> Answer:
        ready, against = self._state.ready()
        return _json(ready, {"ready": ready, "against": against})

    def _prometheus(self) -> Answer:
        return HTTPStatus.OK, "text/plain; version=0.0.4; charset=utf-8", self._metrics()

    def _status_json(self) -> Answer:
        return _json(True, self._whole_status())

    def _page(self) -> Answer:
        return HTTPStatus.OK, "text/html; charset=utf-8", status_page(self._whole_status()).encode()

    def _whole_status(self) -> dict[str, Any]:
        live, reason = self._state.live(self._clock.monotonic())
        ready, against = self._state.ready()
        return {"live": live, "live_reason": reason, "ready": ready, "against": against, **self._status()}


def _json(well: bool, body: Mapping[str, Any]) -> Answer:
    status = HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE
    return status, "application/json", json.dumps(body, default=str).encode() + b"\n"


def _text(status: HTTPStatus, text: str) -> Answer:
    return status, "text/plain; charset=utf-8", text.encode()


def _bind(address: tuple[str, int], answer: Callable[[str], Answer]) -> "_Server":
    host, port = address
    try:
        family, _, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return _Server(family, place[:2], answer)  # type: ignore[arg-type]
    except (OSError, UnicodeError) as error:
        # UnicodeError: the name is no name at all, and is not even looked up.
        cause = error.strerror if isinstance(error, OSError) else None
        raise ConfigurationError(
            [
                Problem(
                    "RELAYD_HTTP_ADDRESS",
                    f"the address cannot be listened on ({cause or type(error).__name__})",
                    "name a free port and an address of this machine, or end the daemon that listens there",
                )
            ]
        ) from error


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, family: socket.AddressFamily, address: tuple[str, int], answer: Callable[[str], Answer]) -> None:
        self.address_family = family
        self.answer = answer
        # In the order they came: a dict keeps it.
        self._connections: dict[Any, None] = {}
        self._lock = threading.Lock()
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Bind without HTTPServer's look-up of our own name, which can hang for a DNS timeout."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._connections[request] = None
            if len(self._connections) > MAX_CONNECTIONS:
                oldest = next(iter(self._connections))
                del self._connections[oldest]
                _hang_up(oldest)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._connections.pop(request, None)
        super().shutdown_request(request)

    def server_close(self) -> None:
        super().server_close()
        with self._lock:
            for connection in self._connections:
                _hang_up(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away. The library would print a traceback with what the client sent."""


def _hang_up(connection: socket.socket) -> None:
    # Wakes the thread that reads from it; that thread closes it.
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = IDLE_SECONDS
    server: _Server
    # One packet an answer, sent at once.
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._send(*self.server.answer(self.path))

    def do_HEAD(self) -> None:
        self._send(*self.server.answer(self.path))

    def _send(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
        if status is HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD")
        if self.headers_say_body() or self.close_connection:
            # Nobody reads a request's body here, and the next request would begin inside of it.
            self.close_connection = True
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.wfile.flush()

    def headers_say_body(self) -> bool:
        headers = getattr(self, "headers", None)
        return headers is not None and ("Content-Length" in headers or "Transfer-Encoding" in headers)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
        """The library's answer to garbage repeats the garbage; ours is one line."""
        status = HTTPStatus(code)
        if status is HTTPStatus.NOT_IMPLEMENTED:
            status = HTTPStatus.METHOD_NOT_ALLOWED
        self.close_connection = True
        self._send(*_text(status, f"{status.phrase.lower()}\n"))

    def version_string(self) -> str:
        return "relayd"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        """Probes come every few seconds and say nothing new."""
