"""What a fake queue remembers: the truth that tests hold the engine's deeds against. Times are monotonic seconds."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Published:
    message_id: str
    body: str
    attributes: Mapping[str, str]
    at: float


@dataclass(frozen=True, slots=True)
class Receive:
    """One lease that was given out."""

    message_id: str
    handle: str
    at: float
    visibility: float
    count: int


@dataclass(frozen=True, slots=True)
class Delete:
    message_id: str
    handle: str
    at: float
    effective: bool
    """False: the handle was stale, and the message is still there."""


@dataclass(frozen=True, slots=True)
class Change:
    message_id: str
    handle: str
    at: float
    seconds: float
    error: str | None


@dataclass(frozen=True, slots=True)
class Poll:
    """One call of `receive`; `ended` is when its answer was on its way."""

    at: float
    ended: float
    limit: int
    wait: float
    handles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DeadLetter:
    message_id: str
    body: str
    attributes: Mapping[str, str]
    reason: str
    """The reason that relayd gave; empty for a message that the redrive policy moved."""
    detail: str
    at: float
