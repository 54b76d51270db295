"""The emulated AWS of the sandbox: a process of its own on loopback, which also remembers what SES was told to send.

moto answers every service but keeps neither the exact recipients nor the bytes of a send, so a thin WSGI layer
notes them on their way in. Everything else in the sandbox sees only `endpoint`, `sent` and `stop`.
"""

import argparse
import base64
import io
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import urllib3

from relayd.errors import RelaydError

SEND_EMAIL = ("POST", "/v2/email/outbound-emails")
SENT = "/relayd-sandbox/sent"
START_SECONDS = 30.0
STOP_SECONDS = 3.0
PAGE = 200
"""Sends in one answer."""
KEPT_BYTES = 64 * 1024 * 1024
"""Of raw mail. Older mails keep their envelope and lose their bytes, so that a long session does not fill memory."""

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]


@dataclass(frozen=True, slots=True)
class Sent:
    """One SendEmail that the emulated SES accepted."""

    number: int
    """Counts from 1 in the order of acceptance."""
    message_id: str
    sender: str = field(repr=False)
    recipients: tuple[str, ...] = field(repr=False)
    """ToAddresses of the call: the envelope, never what the mail's To header says."""
    tags: Mapping[str, str]
    at: float
    """When SES had accepted it, in seconds since the epoch."""
    data: bytes = field(repr=False, default=b"")
    """The mail; empty when it was not asked for or has been let go."""


class Recorder:
    """WSGI around an emulator: notes each accepted SendEmail and tells of them at `/relayd-sandbox/sent`."""

    def __init__(self, emulator: Application, clock: Callable[[], float] = time.time) -> None:
        self._emulator = emulator
        self._clock = clock
        self._lock = threading.Lock()
        self._sent: list[dict[str, Any]] = []
        self._kept_from = 0
        self._kept_bytes = 0

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        route = (environ["REQUEST_METHOD"], environ["PATH_INFO"])
        if route == ("GET", SENT):
            return self._tell(environ, start_response)
        if route == SEND_EMAIL:
            return self._send(environ, start_response)
        return self._emulator(environ, start_response)

    def _send(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        status: list[str] = []

        def note_status(line: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            status.append(line)
            return start_response(line, headers, *rest)

        answer = b"".join(self._emulator(environ, note_status))
        if status and status[0].startswith("200"):
            self._note(json.loads(body), json.loads(answer)["MessageId"])
        return [answer]

    def _note(self, call: dict[str, Any], message_id: str) -> None:
        raw = call.get("Content", {}).get("Raw", {}).get("Data", "")
        with self._lock:
            self._sent.append(
                {
                    "number": len(self._sent) + 1,
                    "message_id": message_id,
                    "sender": call.get("FromEmailAddress", ""),
                    "recipients": call.get("Destination", {}).get("ToAddresses", []),
                    "tags": {tag["Name"]: tag["Value"] for tag in call.get("EmailTags", [])},
                    "at": self._clock(),
                    "raw": raw,
                }
            )
            self._kept_bytes += len(raw)
            while self._kept_bytes > KEPT_BYTES:
                oldest = self._sent[self._kept_from]
                self._kept_bytes -= len(oldest["raw"])
                oldest["raw"] = ""
                self._kept_from += 1

    def _tell(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        query = parse_qs(environ.get("QUERY_STRING", ""))
        since = int(query.get("since", ["0"])[0])
        with self._lock:
            page = [dict(sent) for sent in self._sent[since : since + PAGE]]
        if query.get("raw", ["1"]) == ["0"]:
            for sent in page:
                sent["raw"] = ""
        answer = json.dumps({"sent": page}).encode()
        start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(answer)))])
        return [answer]


class EmulatedAws:
    """The emulator's process, seen from outside."""

    def __init__(self, log: Path) -> None:
        """Begin to start it; its own complaints go to `log`. `endpoint` waits until it is there."""
        self._log = log
        command = [sys.executable, "-m", "relayd.sandbox.aws", "--port", "0"]
        with log.open("ab") as errors:
            # A group of its own: Ctrl-C in the terminal must end the sandbox in order, not all of it at once.
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, start_new_session=True
            )
        self._http = urllib3.PoolManager(timeout=10.0, retries=False)

    @cached_property
    def endpoint(self) -> str:
        """Its URL."""
        out = self._process.stdout
        assert out is not None
        too_late = threading.Timer(START_SECONDS, self._process.kill)
        too_late.start()
        try:
            line = out.readline()
        finally:
            too_late.cancel()
        if not line:
            raise RelaydError("sandbox_aws", f"the emulated AWS did not start; see {self._log}")
        return f"http://127.0.0.1:{json.loads(line)['port']}"

    def sent(self, since: int = 0, *, raw: bool = True) -> list[Sent]:
        """What SES accepted after the send of that number, oldest first; one page, so ask until it is empty."""
        answer = self._http.request("GET", f"{self.endpoint}{SENT}?since={since}&raw={int(raw)}")
        return [_sent(item) for item in answer.json()["sent"]]

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def stop(self) -> None:
        """Let go of its standard input, which ends it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._http.clear()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def kill(self) -> None:
        """End it now, without waiting for it."""
        self._process.kill()


def _sent(item: dict[str, Any]) -> Sent:
    return Sent(
        number=item["number"],
        message_id=item["message_id"],
        sender=item["sender"],
        recipients=tuple(item["recipients"]),
        tags=item["tags"],
        at=item["at"],
        data=base64.b64decode(item["raw"]),
    )


def serve(port: int) -> None:
    """Be the emulator until standard input ends, which it does when the parent process goes away, however it goes."""
    import logging

    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from werkzeug.serving import make_server

    class Quiet(MotoRequestHandler):
        # Header and body are two writes; with Nagle's algorithm the second waits 40 ms for an ACK.
        disable_nagle_algorithm = True

        def log_request(self, *_: object, **__: object) -> None:
            pass

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    recorder = Recorder(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", port, recorder, threaded=True, request_handler=Quiet)
    print(json.dumps({"port": server.server_port}), flush=True)
    # moto prints now and then; nobody reads the pipe from here on.
    os.dup2(2, 1)

    def leave_with_parent() -> None:
        sys.stdin.buffer.read()
        os._exit(0)

    threading.Thread(target=leave_with_parent, daemon=True).start()
    server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m relayd.sandbox.aws")
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one")
    serve(parser.parse_args().port)
