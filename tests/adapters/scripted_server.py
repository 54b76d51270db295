"""An HTTP server on loopback that does to each request what its script says, rudeness included."""

import contextlib
import json
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType


@dataclass(frozen=True)
class Request:
    """What arrived. `connection` counts the connections, from 1."""

    line: str
    headers: Mapping[str, str]
    body: bytes
    connection: int


@dataclass(frozen=True)
class Answer:
    """Answer this, and keep the connection. With `length`, claim that length and then close it if that was a lie."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    length: int | None = None
    pause: float = 0.0
    """Seconds between the bytes of the body; the body goes out at once if 0."""
    late: float = 0.0
    """Seconds before the request is read at all: meanwhile the client cannot even send a large one."""


@dataclass(frozen=True)
class Reset:
    """Reset the connection: before the request was read, or when it was read whole."""

    after_request: bool


@dataclass(frozen=True)
class Hang:
    """Say nothing until the client gives up. Before the request was read: the client cannot even send a large one."""

    after_request: bool


Step = Answer | Reset | Hang


def json_error(status: int, code: str, message: str = "") -> Answer:
    """An error as SES v2 and SQS write it."""
    # SES names it in a header, SQS in the body.
    return Answer(status, json.dumps({"__type": code, "message": message}).encode(), {"x-amzn-ErrorType": code})


def xml_error(status: int, code: str, message: str = "") -> Answer:
    """An error as S3 writes it."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return Answer(status, body.encode(), {"content-type": "application/xml"})


class ScriptedServer:
    """Takes one step per request; the last one is repeated."""

    def __init__(self, *steps: Step, wrap: Callable[..., socket.socket] | None = None) -> None:
        self._steps = list(steps)
        self._wrap = wrap
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._ended = threading.Event()
        self._threads: list[threading.Thread] = []
        self._connections: list[socket.socket] = []
        self.requests: list[Request] = []

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> "ScriptedServer":
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._connections:
            with contextlib.suppress(OSError):
                # Not the TLS socket's own shutdown, which pulls the rug from under the thread that reads.
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(timeout=5)

    def _start(self, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            number = len(self._connections)
            self._start(lambda connection=connection, number=number: self._serve(connection, number))  # type: ignore[misc]

    def _serve(self, connection: socket.socket, number: int) -> None:
        with contextlib.suppress(OSError, EOFError), self._dressed(connection) as connection:
            self._connections[number - 1] = connection
            connection.settimeout(5)
            while not self._ended.is_set():
                step = self._steps[0]
                if not isinstance(step, Answer) and not step.after_request:
                    self._next()
                    self._be_rude(connection, step)
                    return
                if isinstance(step, Answer):
                    self._ended.wait(step.late)
                request = _read_request(connection, number)
                step = self._next()
                self.requests.append(request)
                if not isinstance(step, Answer):
                    self._be_rude(connection, step)
                    return
                self._answer(connection, step)
                if step.length not in {None, len(step.body)}:
                    return

    def _dressed(self, connection: socket.socket) -> socket.socket:
        """With TLS over it, if it is to have that."""
        try:
            return self._wrap(connection, server_side=True) if self._wrap else connection
        except OSError:
            connection.close()
            raise

    def _next(self) -> Step:
        return self._steps.pop(0) if len(self._steps) > 1 else self._steps[0]

    def _be_rude(self, connection: socket.socket, step: Reset | Hang) -> None:
        if isinstance(step, Reset):
            # Lingering for zero seconds turns the close into a reset.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return
        self._ended.wait(3)

    def _answer(self, connection: socket.socket, answer: Answer) -> None:
        length = len(answer.body) if answer.length is None else answer.length
        head = {"content-length": str(length), **answer.headers}
        lines = [f"HTTP/1.1 {answer.status} Scripted", *(f"{name}: {value}" for name, value in head.items())]
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        if not answer.pause:
            connection.sendall(answer.body)
            return
        for position in range(len(answer.body)):
            connection.sendall(answer.body[position : position + 1])
            if self._ended.wait(answer.pause):
                return


def _read_request(connection: socket.socket, number: int) -> Request:
    data = b""
    while b"\r\n\r\n" not in data:
        data += _some(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    line, *fields = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
    missing = int(headers.get("content-length", 0)) - len(body)
    chunks = [body]
    while missing > 0:
        chunks.append(_some(connection))
        missing -= len(chunks[-1])
    return Request(line, headers, b"".join(chunks), number)


def _some(connection: socket.socket) -> bytes:
    data = connection.recv(1 << 16)
    if not data:
        raise EOFError
    return data
