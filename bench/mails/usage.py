"""What a program and its children have used, from /proc: processor seconds and memory."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")


def tree(pid: int) -> Iterator[int]:
    """The process and all that descend from it and are alive."""
    yield pid
    try:
        tasks = list((PROC / str(pid) / "task").iterdir())
        children = [child for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return
    for child in children:
        yield from tree(int(child))


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system time of all, with their children: those that live, and those that were waited for."""
    ticks = 0
    for pid in pids:
        for one in tree(pid):
            try:
                # The name, in parentheses, may contain anything.
                fields = (PROC / str(one) / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            ticks += sum(map(int, fields[11:15]))
    return ticks / TICKS


def rss_mb(pids: Iterable[int]) -> float:
    """Resident memory of all of them together, now."""
    return sum(_kilobytes(one, "VmRSS:") for pid in pids for one in tree(pid)) / 1024


def _kilobytes(pid: int, name: str) -> int:
    try:
        status = (PROC / str(pid) / "status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith(name)), 0)
