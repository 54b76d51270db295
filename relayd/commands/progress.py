"""A progress bar for long work: on a terminal only, and on standard error, so that what is printed can be piped."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

STALE_SECONDS = 5.0
"""Without any progress for so long, a rate and a time left are things of the past, and are not shown."""


class Bar(Protocol):
    """What shows how far the work is."""

    def at(self, done: int, total: int | None = None, note: str = "") -> None:
        """So many are done; of so many, where that is known (it may grow, or shrink); and a few words below it."""
        ...


class _NoBar:
    def at(self, done: int, total: int | None = None, note: str = "") -> None:
        pass


@contextmanager
def progress(title: str, total: int | None = None, *, quiet: bool = False) -> Iterator[Bar]:
    """A bar with rate and time left while the context lasts. Nothing at all where standard error is no terminal, or
    with `quiet`.
    """
    if quiet or not sys.stderr.isatty():
        yield _NoBar()
        return
    from rich.console import Console, RenderableType
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        SpinnerColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class _Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:.1f}/s" if task.speed and not task.fields["stale"] else "", style="cyan")

    class _Left(TimeRemainingColumn):
        def render(self, task: Task) -> Text:
            return Text("-:--:--", style="cyan") if task.fields["stale"] else super().render(task)

    class _Progress(Progress):
        def get_renderables(self) -> Iterator[RenderableType]:
            yield from super().get_renderables()
            # On a line of its own: beside the bar it would push the figures out of a terminal of 80 columns.
            for task in self.tasks:
                if note := task.fields["note"]:
                    yield Text(f"  {note}", style="dim", no_wrap=True, overflow="ellipsis")

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        _Rate(),
        _Left(),
    )
    # What is piped must come out of the pipe, and not beside the bar.
    own = Console(stderr=True)
    piped = not sys.stdout.isatty()
    with _Progress(*columns, console=own, expand=True, transient=True, redirect_stdout=not piped) as shown:
        task = shown.add_task(title, total=total, note="", stale=False)

        class _Bar:
            def __init__(self) -> None:
                self._done = 0
                self._moved_at = time.monotonic()

            def at(self, done: int, total: int | None = None, note: str = "") -> None:
                now = time.monotonic()
                if done != self._done:
                    self._done, self._moved_at = done, now
                stale = now - self._moved_at > STALE_SECONDS
                # rich leaves the total as it is when it is None.
                shown.update(task, completed=done, total=total, note=note, stale=stale)

        yield _Bar()
