"""An emulated AWS in a process of its own, seen from the process that started it: how it starts, tells and ends."""

import base64
import json
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import urllib3

from relayd.errors import RelaydError

START_SECONDS = 30.0
STOP_SECONDS = 3.0


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


class ChildAws:
    """The process. It prints its port as one JSON line, and ends when its standard input does, however we go away."""

    def __init__(self, module: str, log: Path, *arguments: str, sent_path: str) -> None:
        """Begin to start it; its own complaints go to `log`. `endpoint` waits until it is there."""
        self._log = log
        self._sent_path = sent_path
        command = [sys.executable, "-m", module, "--port", "0", *arguments]
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

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def sent(self, since: int = 0, *, raw: bool = True) -> list[Sent]:
        """What SES accepted after the send of that number, oldest first; one page, so ask until it is empty."""
        answer = self._http.request("GET", f"{self.endpoint}{self._sent_path}?since={since}&raw={int(raw)}")
        return [_sent(item) for item in answer.json()["sent"]]

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


def _sent(item: Mapping[str, Any]) -> Sent:
    return Sent(
        number=item["number"],
        message_id=item["message_id"],
        sender=item["sender"],
        recipients=tuple(item["recipients"]),
        tags=item["tags"],
        at=item["at"],
        data=base64.b64decode(item["raw"]),
    )
