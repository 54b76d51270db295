"""moto's server as the sandbox's AWS: a process of its own on loopback, which also remembers what SES was told to send.

moto answers every service but keeps neither the exact recipients nor the bytes of a send, so a thin WSGI layer
notes them on their way in. Everything else in the sandbox sees only `endpoint`, `sent` and `stop`.
"""

import argparse
import io
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from relayd.sandbox.child import ChildAws

SEND_EMAIL = ("POST", "/v2/email/outbound-emails")
SENT = "/relayd-sandbox/sent"
PAGE = 200
"""Sends in one answer."""
KEPT_BYTES = 64 * 1024 * 1024
"""Of raw mail. Older mails keep their envelope and lose their bytes, so that a long session does not fill memory."""

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]


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


class MotoServer(ChildAws):
    """moto's server, seen from the process that started it."""

    def __init__(self, log: Path) -> None:
        """Begin to start it; its own complaints go to `log`. `endpoint` waits until it is there."""
        super().__init__("relayd.sandbox.moto_server", log, sent_path=SENT)


def serve(port: int, around: Callable[[Application], Application] = lambda emulator: emulator) -> None:
    """Be the emulator until standard input ends, which it does when the parent process goes away, however it goes.
    `around` may put a layer of its own between it and whoever calls.
    """
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
    server = make_server("127.0.0.1", port, around(recorder), threaded=True, request_handler=Quiet)
    print(json.dumps({"port": server.server_port}), flush=True)
    # moto prints now and then; nobody reads the pipe from here on.
    os.dup2(2, 1)

    def leave_with_parent() -> None:
        sys.stdin.buffer.read()
        os._exit(0)

    threading.Thread(target=leave_with_parent, daemon=True).start()
    server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m relayd.sandbox.moto_server")
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one")
    serve(parser.parse_args().port)
