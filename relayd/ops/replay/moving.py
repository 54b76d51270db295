"""All dead letters at once, moved by SQS itself: started, watched, and called off."""

from collections.abc import Callable
from typing import Protocol

from relayd.adapters.move_tasks import Move
from relayd.ops.patience import patiently
from relayd.ports import Clock

_LOOK_SECONDS = 1.0
_CIRCLES = 2
"""Times that everything may be moved before it counts as going round in circles."""
_FEW = 100
"""Messages more than that: SQS's counts are approximate, and new dead letters come."""


class Tasks(Protocol):
    """What `relayd.adapters.move_tasks.MoveTasks` is here."""

    def latest(self) -> Move | None: ...
    def cancel(self, handle: str) -> None: ...


def watch(
    tasks: Tasks,
    handle: str,
    clock: Clock,
    pause: Callable[[float], bool],
    shown: Callable[[Move], None],
) -> tuple[Move | None, str]:
    """Wait until a task has ended, or call it off: when a stop is wanted, and when messages come back as fast as they
    are moved. Answers how far it came (None where SQS forgot it), and why it was called off, if it was.

    Raises RelaydError where SQS cannot be asked any more; the task goes on then.
    """
    called_off = ""
    while True:
        move = patiently(clock, tasks.latest)
        if move is None or move.is_over:
            return move, called_off
        shown(move)
        if not called_off:
            if pause(_LOOK_SECONDS):
                called_off = "interrupted"
            elif move.total and move.moved > _CIRCLES * move.total + _FEW:
                called_off = "circles"
            if called_off:
                patiently(clock, lambda: tasks.cancel(handle))
        else:
            clock.sleep(_LOOK_SECONDS)
