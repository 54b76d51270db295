"""The SQS message in our hands, and how its story may end."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Message:
    """One receive of one SQS message. A second receive of the same message is another `Message`."""

    message_id: str
    """SQS's id. It changes when a message is moved or replayed, and one receive may hold it twice."""
    receipt_handle: str
    """Names this receive. Only the newest handle of a message settles it."""
    body: str
    receive_count: int = 1
    """ApproximateReceiveCount: counts releases too, so it never decides about retries."""
    sent_at: float = 0.0
    """SentTimestamp, in seconds since the epoch; 0 when absent."""
    first_received_at: float = 0.0
    """ApproximateFirstReceiveTimestamp, in seconds since the epoch; 0 when absent."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """Message attributes of type String (raw delivery carries `traceparent` here)."""
    trace_header: str | None = None
    """The system attribute AWSTraceHeader (X-Ray)."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """Done, forwarded or discarded by policy: delete the message. `reason` says which."""

    reason: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """Cannot be done: a copy goes to the dead-letter queue with the reason, then the message is deleted."""

    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Deferred:
    """Not now: the message comes back in `delay` seconds. `charged` says whether the try counts as one."""

    delay: float
    reason: str
    charged: bool = True


@dataclass(frozen=True, slots=True)
class Released:
    """Handed back without having been tried; nothing is charged. It comes back in `delay` seconds."""

    reason: str
    delay: float = 0.0


Outcome = Accepted | Rejected | Deferred | Released
"""AMQP 1.0's delivery states, which SQS has no words for."""
