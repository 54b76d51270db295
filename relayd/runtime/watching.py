"""What the engine tells whoever watches it: how each message ended, when the queue knows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from relayd.model.message import Message


@dataclass(frozen=True, slots=True)
class Ended:
    """One receive of one message, settled."""

    message: Message = field(repr=False)
    outcome: str
    """`accepted`, `rejected`, `deferred`, `released`, or `abandoned`: somebody else has it, or will."""
    reason: str
    visible_in: float | None
    """Seconds until the message comes back; None when it was deleted, or abandoned."""
    problem: str | None
    """Why SQS could not be told, if it could not: the message comes back when its lease ends."""
    seconds: float
    """From the worker's begin to its end."""
    age: float | None
    """Seconds since the message was sent to the queue."""
    trace_id: str | None
    facts: Mapping[str, object] = field(default_factory=dict)
    """As in the log line: ids, counts and sizes. No addresses."""
    charged: bool = True
    """Whether a try that was put off counts as one: SES's throttling does not, nor a delivery that somebody else has in
    hand."""


Watcher = Callable[[Ended], None]
"""Called by the settler's thread, or a worker's: it must neither block nor raise."""
