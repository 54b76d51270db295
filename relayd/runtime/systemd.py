"""What systemd is told of the daemon: that it runs, that it is alive, that it stops. Without systemd: nothing."""

import os
import socket
from collections.abc import Callable, Mapping
from typing import Self

from relayd.ports import Clock


class Notifier:
    """Sends to the socket that the service manager named (sd_notify(3)). Nothing here raises: a manager that does not
    listen is no reason not to forward mail.
    """

    def __init__(self, address: str | None, watchdog_seconds: float | None = None) -> None:
        self._address = address
        self._watchdog_seconds = watchdog_seconds if address else None
        self._ended = False

    @classmethod
    def of(cls, environ: Mapping[str, str], pid: int) -> Self:
        """As the environment says; a watchdog that is another process's is not ours to feed."""
        address = environ.get("NOTIFY_SOCKET") or None
        if address is not None and not address.startswith(("/", "@")):
            # vsock and the like: for virtual machines.
            address = None
        ours = environ.get("WATCHDOG_PID", str(pid)) == str(pid)
        usec = environ.get("WATCHDOG_USEC", "")
        return cls(address, int(usec) / 1e6 if ours and usec.isdecimal() and int(usec) else None)

    def ready(self) -> None:
        """Everything was checked and polling begins."""
        self._send(f"READY=1\nMAINPID={os.getpid()}")

    def stopping(self) -> None:
        """An orderly stop began. The watchdog is fed no more, and systemd waits for TimeoutStopSec alone."""
        self._ended = True
        self._send("STOPPING=1")

    def feed(self, clock: Clock, live: Callable[[], bool]) -> None:
        """Feed the watchdog, on a thread of its own, as long as `live` says so: as a liveness probe would see it."""
        if self._watchdog_seconds is None:
            return
        pause = self._watchdog_seconds / 3

        def run() -> None:
            while not self._ended:
                if live():
                    self._send("WATCHDOG=1")
                clock.sleep(pause)

        clock.spawn("watchdog", run)

    def _send(self, text: str) -> None:
        if self._address is None:
            return
        # A leading @ stands for the zero byte of an abstract socket.
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
                connection.setblocking(False)
                connection.sendto(text.encode(), address)
        except OSError:
            return
