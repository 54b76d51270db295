"""What the fakes share: failures scripted ahead of time, and latency that is a number or a function."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from relayd.ports import Clock

Fault = TypeVar("Fault")

Latency = float | Callable[[Any], float]
"""Seconds, or a function of what the call is about that answers seconds."""


def pause(clock: Clock, latency: Latency, subject: object, share: float) -> None:
    """Let `share` of the latency pass; the other share belongs to the way back."""
    seconds = latency(subject) if callable(latency) else latency
    if seconds > 0:
        clock.sleep(seconds * share)


class Script(Generic[Fault]):
    """Faults to come, per subject (None: any), first in, first out."""

    def __init__(self) -> None:
        self._lines: list[list[Any]] = []

    def add(self, subject: object, fault: Fault, times: int) -> None:
        self._lines.append([subject, fault, times])

    def take(self, subject: object) -> Fault | None:
        """The next fault for this subject, which is used up by that."""
        for line in self._lines:
            if line[0] is None or line[0] == subject:
                line[2] -= 1
                if line[2] <= 0:
                    self._lines.remove(line)
                fault: Fault = line[1]
                return fault
        return None
