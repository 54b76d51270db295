"""The terminal while mails go through: a progress bar, and relayd's log for those who asked for it."""

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

TURN_SECONDS = 0.1


@contextmanager
def progress(console: Console, mails: int) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, nothing elsewhere."""
    if not console.is_terminal:
        yield lambda _: None
        return
    columns = (TextColumn("mails"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("mails", total=mails)
        yield lambda finished: bar.update(task, completed=finished)


def follow(log: Path) -> Callable[[], None]:
    """Copy what is added to the log onto standard error; returns what ends it."""
    stop = threading.Event()

    def copy() -> None:
        with log.open(encoding="utf-8", errors="replace") as lines:
            lines.seek(0, os.SEEK_END)
            while not stop.wait(TURN_SECONDS):
                for line in lines:
                    sys.stderr.write(line)
                sys.stderr.flush()

    threading.Thread(target=copy, name="follow", daemon=True).start()
    return stop.set
