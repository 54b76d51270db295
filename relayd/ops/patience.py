"""Trying again what an outage stopped: AWS's clients here make one attempt a call, and a command has time for more."""

from collections.abc import Callable
from typing import TypeVar

from relayd.errors import TransientError
from relayd.ports import Clock

PATIENCE = 20.0
"""Seconds after which no new try begins. A call that hangs has its own timeout, and is not worth a second one."""
FIRST_PAUSE = 0.2
LONGEST_PAUSE = 5.0

_Answer = TypeVar("_Answer")


def patiently(clock: Clock, call: Callable[[], _Answer], *, seconds: float = PATIENCE) -> _Answer:
    """What `call` answers. A TransientError is met with further tries while there is time, and comes out then."""
    began, pause = clock.monotonic(), FIRST_PAUSE
    while True:
        try:
            return call()
        except TransientError:
            if clock.monotonic() + pause > began + seconds:
                raise
        clock.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)
