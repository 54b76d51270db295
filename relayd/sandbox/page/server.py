"""Serves the page on loopback: uvicorn, in a thread of the sandbox's process with a loop of its own."""

import secrets
import socket
import threading
import time

import uvicorn

from relayd.errors import RelaydError
from relayd.sandbox.page.app import Page, Sources

START_SECONDS = 10.0
STOP_SECONDS = 5.0
MAX_CONNECTIONS = 100


class PageServer:
    """The listening page."""

    def __init__(self, sources: Sources, port: int) -> None:
        """Listen on `port` of loopback (0: any free one). Raises OSError."""
        self._socket = socket.create_server(("127.0.0.1", port))
        self.port: int = self._socket.getsockname()[1]
        config = uvicorn.Config(
            Page(sources, port=self.port, token=secrets.token_urlsafe(24)),
            access_log=False,
            date_header=False,
            lifespan="off",
            limit_concurrency=MAX_CONNECTIONS,
            # uvicorn would set logging up for the whole process.
            log_config=None,
            log_level="critical",
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=1,
            ws="none",
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), name="page", daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self._thread.start()
        deadline = time.monotonic() + START_SECONDS
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise RelaydError("sandbox_page", "the page did not start")
            time.sleep(0.01)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(STOP_SECONDS)
        self._socket.close()
