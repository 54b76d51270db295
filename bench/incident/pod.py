"""One container: a process that can be started, asked to stop and killed, always on the same port."""

import http.client
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from relayd.errors import RelaydError
from tests.process.cloud import clean_environment

START_SECONDS = 30.0


class Pod:
    """It ends with this process: its standard input does, and the kernel tells relayd."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], *, port: int, ready_path: str, log: Path
    ) -> None:
        """Nothing is started yet. Its output is added to `log`."""
        self.port = port
        self.log = log
        self.ready = False
        """Whether a service would send it requests."""
        self._command = list(command)
        self._environment = clean_environment() | dict(environment)
        self._ready_path = ready_path
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it, and wait until it is ready. Raises RelaydError when it does not become so."""
        with self.log.open("ab") as output:
            # A session of its own: Ctrl-C is for the replay, which then ends everything in order.
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.alive:
            if asked(self.port, self._ready_path, 1.0) == 200:
                self.ready = True
                return
            time.sleep(0.02)
        self.kill()
        raise RelaydError("bench_pod", f"it did not start:\n{self.log.read_text('utf-8', 'replace')[-2000:]}")

    def stop(self, grace: float) -> None:
        """Ask it to end, and kill it when it has not after `grace` seconds."""
        self.ready = False
        if self._process is not None and self.alive:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(grace)
        self.kill()

    def kill(self) -> None:
        """End it now."""
        self.ready = False
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdin is not None
            self._process.stdin.close()


def asked(port: int, path: str, timeout: float) -> int | None:
    """The status of a GET on a connection of its own, or None when there was no answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def leashed() -> list[str]:
    """The command line of relayd: a program that asks the kernel to end it with us, and becomes `relayd run`."""
    return [sys.executable, "-m", "relayd.sandbox.leash", str(os.getpid())]
