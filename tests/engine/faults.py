"""What tests do to the fakes' calls: let something happen before or after one, or let one fail."""

from collections.abc import Callable
from typing import Any

from relayd.errors import HoldError, TransientError

DATABASE_AWAY = HoldError("database", "database_unavailable")
DATABASE_BUSY = TransientError("database_busy", charged=False)


def before(port: object, call: str, happens: Callable[[], object]) -> None:
    """Let something happen before every call of this method. If it raises, the call has no effect."""
    real = getattr(port, call)

    def wrapped(*args: Any, **named: Any) -> Any:
        happens()
        return real(*args, **named)

    setattr(port, call, wrapped)


def after(port: object, call: str, happens: Callable[[], object]) -> None:
    """Let something happen after every call of this method. If it raises, the call's answer is lost."""
    real = getattr(port, call)

    def wrapped(*args: Any, **named: Any) -> Any:
        answer = real(*args, **named)
        happens()
        return answer

    setattr(port, call, wrapped)


def failing(error: Exception, times: int = 1_000_000) -> Callable[[], None]:
    """Something that fails so many times, and then does nothing."""
    left = [times]

    def fail() -> None:
        if left[0] > 0:
            left[0] -= 1
            raise error

    return fail
