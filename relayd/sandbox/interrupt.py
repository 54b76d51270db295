"""Ctrl-C and SIGTERM: the first asks for an orderly end, the second kills what was started and leaves at once."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_INTERRUPTED = 130
"""128 + SIGINT, as shells have it."""
SLICE_SECONDS = 0.05


class Interrupt:
    """Notes signals, so that nothing is torn up halfway; every wait of the sandbox looks here.

    It is no threading.Event: setting one from a signal handler can meet its lock in the very thread it interrupted.
    """

    def __init__(self) -> None:
        self._asked = False
        self._last_acts: list[Callable[[], None]] = []

    def is_set(self) -> bool:
        """Whether the end was asked for."""
        return self._asked

    def wait(self, seconds: float) -> bool:
        """Wait for `seconds` or until the end is asked for; answers `is_set`."""
        deadline = time.monotonic() + seconds
        while not self._asked and (left := deadline - time.monotonic()) > 0:
            time.sleep(min(SLICE_SECONDS, left))
        return self._asked

    def at_once(self, act: Callable[[], None]) -> None:
        """What the second signal does before it leaves. It runs in a signal handler: no locks, no waiting."""
        self._last_acts.append(act)

    def _note(self, signum: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signal module's signature
        if not self._asked:
            self._asked = True
            return
        for act in self._last_acts:
            act()
        os._exit(EXIT_INTERRUPTED)

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Within, signals come here."""
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = {number: signal.signal(number, self._note) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
