"""`python -m relayd.sandbox.cloud`: the embedded AWS as a process, which ends when its standard input does."""

import argparse
import json
import os
import socket
import sys
import threading

import uvicorn

from relayd.sandbox.cloud.app import App
from relayd.sandbox.cloud.connection import KnownConnection
from relayd.sandbox.cloud.memory import keep_flat

KEEP_ALIVE_SECONDS = 75
"""Longer than any client of ours keeps a connection that it does not use."""


def serve(host: str, port: int, certificate_url: str) -> None:
    """Be the emulator until standard input ends, which it does when the parent process goes away, however it goes."""
    app = App()
    app.cloud.settings.change({"certificate_url": certificate_url})
    config = uvicorn.Config(
        app,
        http=KnownConnection,
        loop="uvloop",
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
    )
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((host, port))
    # Whoever reads the port may connect at once.
    listening.listen(2048)
    print(json.dumps({"port": listening.getsockname()[1]}), flush=True)
    # Nobody reads the pipe from here on.
    os.dup2(2, 1)

    def leave_with_parent() -> None:
        sys.stdin.buffer.read()
        os._exit(0)

    threading.Thread(target=leave_with_parent, daemon=True).start()
    keep_flat()
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m relayd.sandbox.cloud")
    parser.add_argument("--host", default="127.0.0.1", help="where it listens; it trusts everybody there")
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one")
    parser.add_argument("--certificate-url", default="own", help="what SNS names: own, aws, or a whole URL")
    arguments = parser.parse_args()
    serve(arguments.host, arguments.port, arguments.certificate_url)
