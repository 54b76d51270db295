"""The old design: an HTTP endpoint that SNS pushes to, with one fixed pool for all its work, the health check included.

A process of its own (`python -m bench.incident.endpoint`), small, and no worse than it has to be. Like a pre-threaded
application server it takes a connection whenever a worker is free; what comes meanwhile waits in the kernel's queue,
whether or not its client still does. Told to stop, it finishes what it has in hand. Signatures and masks are not
looked at, and nothing is written down: each would make it slower than relayd, not better.
"""

import argparse
import json
import os
import signal
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from relayd.mail.letter import parse
from relayd.mail.rewrite import ForwardPlan, forward
from relayd.model.address import Address

HEALTH = "/health"
BACKLOG = 2048
"""Connections that may wait for a worker: what gunicorn has by default."""
OWNER = "me@owner.example"
PLAN = ForwardPlan(
    mask=Address.parse("shop@mask.example"),
    tag="",
    reply_address="mfzwizltoq3gk4tfobxw4@mask.example",
    envelope_source="bounce@stranger.example",
    hops="v1; n=1; mac=" + "0" * 64,
)


class Application:
    """What the endpoint does with one notification."""

    def __init__(self, *, workers: int, scale: float, deletes: bool) -> None:
        # botocore's own timeouts, in the story's time, and its own retries.
        config = Config(max_pool_connections=workers, connect_timeout=60 * scale, read_timeout=60 * scale)
        self._s3: Any = boto3.client("s3", config=config)
        self._ses: Any = boto3.client("sesv2", config=config)
        self._deletes = deletes

    def forward(self, body: bytes) -> int:
        """Fetch, rewrite, send. Returns the status for SNS."""
        action = json.loads(json.loads(body)["Message"])["receipt"]["action"]
        where = {"Bucket": action["bucketName"], "Key": action["objectKey"]}
        try:
            raw: bytes = self._s3.get_object(**where)["Body"].read()
        except ClientError as error:
            # Somebody was faster, and has deleted it.
            return 404 if error.response["Error"]["Code"] == "NoSuchKey" else 503
        self._ses.send_email(
            FromEmailAddress=PLAN.reply_address,
            Destination={"ToAddresses": [OWNER]},
            Content={"Raw": {"Data": forward(parse(raw), PLAN).data}},
        )
        if self._deletes:
            self._s3.delete_object(**where)
        return 200


class Server(HTTPServer):
    """Each worker takes one connection at a time and does all of its work."""

    request_queue_size = BACKLOG

    def __init__(self, port: int, application: Application) -> None:
        self.application = application
        super().__init__(("127.0.0.1", port), Handler)

    def work(self) -> None:
        """One worker, until the listening socket is gone."""
        while True:
            try:
                connection, client = self.get_request()
            except OSError:
                return
            try:
                self.process_request(connection, client)
            except Exception:
                # The client has given up waiting, in the middle of its request or before the answer.
                self.shutdown_request(connection)

    def hang_up(self) -> None:
        """Take no other connection; workers that wait for one wake up."""
        self.socket.shutdown(socket.SHUT_RDWR)


class Handler(BaseHTTPRequestHandler):
    """The health check, and SNS."""

    server: Server
    timeout = 10.0

    def do_GET(self) -> None:
        self._answer(200 if self.path == HEALTH else 404)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            status = self.server.application.forward(body)
        except Exception as error:
            print(f"push failed: {type(error).__name__}", file=sys.stderr, flush=True)
            status = 503
        self._answer(status)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Say nothing: the log would cost more than the request."""


def leave_with_parent() -> None:
    """End when standard input does, which it does when the parent goes away, however it goes."""
    # Not through sys.stdin, whose lock an orderly end would wait for.
    while os.read(0, 1024):
        pass
    os._exit(1)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.incident.endpoint")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--scale", type=float, required=True)
    parser.add_argument("--deletes", action="store_true")
    told = parser.parse_args()
    # Before the first thread: they all inherit it, and only the wait below is told of the signal.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=leave_with_parent, daemon=True).start()
    server = Server(told.port, Application(workers=told.workers, scale=told.scale, deletes=told.deletes))
    workers = [threading.Thread(target=server.work, daemon=True) for _ in range(told.workers)]
    for worker in workers:
        worker.start()
    signal.sigwait({signal.SIGTERM})
    server.hang_up()
    for worker in workers:
        worker.join()


if __name__ == "__main__":
    main()
