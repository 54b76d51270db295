"""moto's server with IAM switched on, which also notes each call: who made it, and what AWS would ask IAM about it."""

import argparse
import io
import json
import re
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

from relayd.sandbox.child import ChildAws
from relayd.sandbox.moto_server import SENT, Application, Environ, StartResponse, serve

CALLS = "/relayd-deploy/calls"

_CREDENTIAL = re.compile(r"Credential=([^/]+)/[^/]+/[^/]+/([^/]+)/")
_OF_SES = ("FromEmailAddress", "ConfigurationSetName")
_OF_SQS = ("QueueUrl", "QueueName", "SourceArn", "DestinationArn")


class Notebook:
    """WSGI around an emulator: notes what is called with credentials, and tells of it at `/relayd-deploy/calls`."""

    def __init__(self, emulator: Application) -> None:
        self._emulator = emulator
        self._lock = threading.Lock()
        self._calls: list[dict[str, Any]] = []

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == CALLS:
            with self._lock:
                answer = json.dumps(self._calls).encode()
            start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(answer)))])
            return [answer]
        if found := _CREDENTIAL.search(environ.get("HTTP_AUTHORIZATION", "")):
            body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            environ["wsgi.input"] = io.BytesIO(body)
            call = _noted(found[2], environ, body)
            with self._lock:
                self._calls.append({"key": found[1]} | call)
        return self._emulator(environ, start_response)


def _noted(service: str, environ: Environ, body: bytes) -> dict[str, Any]:
    """What is asked, without what is sent along."""
    call: dict[str, Any] = {
        "service": service,
        "operation": environ.get("HTTP_X_AMZ_TARGET", "").rpartition(".")[2],
        "method": environ["REQUEST_METHOD"],
        "path": unquote(environ["PATH_INFO"]),
        "query": sorted(parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)),
    }
    if service == "sqs":
        parameters = json.loads(body)
        return call | {name: parameters[name] for name in _OF_SQS if name in parameters}
    if service == "ses" and body:
        parameters = json.loads(body)
        sent = {name: parameters[name] for name in _OF_SES if name in parameters}
        return call | sent | {"raw": "Raw" in parameters.get("Content", {})}
    return call


class EnforcingMoto(ChildAws):
    """The process. It trusts everybody until `enforce`."""

    def __init__(self, log: Path) -> None:
        """Begin to start it; its own complaints go to `log`. `endpoint` waits until it is there."""
        super().__init__("tests.deploy.enforcing", log, sent_path=SENT)

    def enforce(self) -> None:
        """From now on IAM decides on every call."""
        answer = self._http.request("POST", f"{self.endpoint}/moto-api/reset-auth", body=b"0")
        assert answer.status == 200, answer.data

    def calls(self, key: str) -> list[Mapping[str, Any]]:
        """What was called with these credentials, by their key's id."""
        found: list[Mapping[str, Any]] = self._http.request("GET", f"{self.endpoint}{CALLS}").json()
        return [call for call in found if call["key"] == key]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.deploy.enforcing")
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one")
    serve(parser.parse_args().port, Notebook)
