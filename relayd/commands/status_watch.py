"""The screen of `relayd status --watch`: its own page of the terminal, drawn anew every other second."""

import os
import select
import signal
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from relayd.commands import exits
from relayd.commands.status_screen import fitted, sections
from relayd.ops.status.snapshot import Snapshot

EVERY = 2.0
"""Seconds between two pictures."""
PATIENCE = 1.0
"""Seconds that a picture waits for answers. Who has not answered by then is in the next one."""
_ENDS = frozenset(b"qQ\x03\x1b")
"""Keys that end it: q, Ctrl-C where it comes as a key, Escape."""


class _Ended(Exception):  # noqa: N818 - a signal, not an error
    pass


def show(look: Callable[[float], Snapshot]) -> int:
    """Until somebody ends it. Returns the exit code."""
    console = Console(highlight=False)
    try:
        with _keys() as pressed, Live(console=console, screen=True, auto_refresh=False) as live:
            live.update(Text("Asking ..."), refresh=True)
            while True:
                began = time.monotonic()
                snapshot = look(PATIENCE)
                # As wide and as high as the terminal is by now.
                lines = fitted(list(sections(snapshot, console.width)), console.height - 1)
                live.update(Group(*lines, Text("q ends", style="dim")), refresh=True)
                if pressed(max(0.0, EVERY - (time.monotonic() - began))):
                    return exits.DONE
    except KeyboardInterrupt:
        return exits.INTERRUPTED
    except _Ended:
        return 128 + signal.SIGTERM


@contextmanager
def _keys() -> Iterator[Callable[[float], bool]]:
    """Keys as they are pressed, while the context lasts. What it gives waits for so many seconds, and tells whether one
    was pressed that ends it.
    """
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    handler = signal.signal(signal.SIGTERM, _end)

    def pressed(seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            ready, _, _ = select.select([keyboard], [], [], left)
            if ready:
                typed = os.read(keyboard, 1024)
                if not typed or _ENDS & set(typed[:1]):
                    return True
        return False

    try:
        tty.setcbreak(keyboard)
        yield pressed
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
        signal.signal(signal.SIGTERM, handler)


def _end(_number: int, _frame: FrameType | None) -> None:
    # So that the terminal gets its page, its cursor and its echo back.
    raise _Ended
