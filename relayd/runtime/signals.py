"""SIGTERM and SIGINT for the main thread, which does nothing but wait for them."""

import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def stop_signals() -> Iterator["StopSignals"]:
    """Catch the stop signals inside the block; the second one ends the process at once."""
    catcher = StopSignals()
    before = {number: signal.signal(number, catcher.caught) for number in STOP_SIGNALS}
    try:
        yield catcher
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        catcher.close()


class StopSignals:
    """The first signal wakes `wait`; the second exits, as a shell would report it (128 + signal).

    A handler runs between two instructions of the main thread, which may hold any lock: so it writes to a pipe and
    touches nothing else.
    """

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        self._count = 0

    def caught(self, number: int, _frame: FrameType | None) -> None:
        self._count += 1
        if self._count > 1:
            # Leases lapse and claims expire; what was being sent is in doubt. The design bears a SIGKILL, so also this.
            os._exit(128 + number)
        os.write(self._write, b"\0")

    def wait(self, seconds: float | None = None) -> bool:
        """Return once a stop signal has come, or after so many seconds. Whether one has."""
        return bool(select.select([self._read], [], [], seconds)[0])

    def close(self) -> None:
        os.close(self._read)
        os.close(self._write)
