"""A replica's heartbeat: what it says of itself, written down every few seconds beside the mail.

So an operator sees all replicas from a laptop that reaches the database and none of their ports.
"""

import json
import threading
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from relayd.errors import RelaydError
from relayd.ports import Clock, Replicas

log = structlog.get_logger(__name__)

BEAT_EVERY = 5.0
"""Seconds. Who was not heard of for three of them counts as silent."""
WARN_EVERY = 60.0
"""Seconds between warnings while the database takes no heartbeat: its breaker says louder that it is away."""
LEAVE_SECONDS = 2.0
"""A stop waits no longer for the database to take the row away: the row is forgotten after a day anyway."""
MOST_CHARACTERS = 16_000
"""Of the JSON that is written; it usually has a quarter of that."""

_DISPENSABLE = ("recent", "orders", "events", "dependencies")
"""Left out in this order when it is too long."""


class Heartbeat:
    """Beats until it leaves. The database may hang or be away: only this chore's own thread waits for it."""

    def __init__(
        self, replicas: Replicas, clock: Clock, replica_id: str, tell: Callable[[], Mapping[str, Any]]
    ) -> None:
        """`tell`: what is said, made anew for each beat."""
        self._replicas = replicas
        self._clock = clock
        self._replica_id = replica_id
        self._tell = tell
        self._began = clock.monotonic()
        # One at a time: a beat that came after the leaving would bring the row back for a day.
        self._writing = threading.Lock()
        self._gone = False
        self._warned_at: float | None = None

    def beat(self) -> None:
        """Write it down once."""
        with self._writing:
            if self._gone:
                return
            uptime = self._clock.monotonic() - self._began
            try:
                self._replicas.beat(self._replica_id, uptime, fitting(self._tell()))
            except RelaydError as error:
                self._warn(error)

    def stopping(self) -> None:
        """Once more, on a thread of its own: a stop may take a minute, and whoever looks should see that it is one."""
        self._clock.spawn("last-heartbeat", self.beat)

    def leave(self) -> None:
        """Take the row away, unless that takes too long."""
        self._clock.spawn("leave", self._leave).join(LEAVE_SECONDS)

    def _leave(self) -> None:
        with self._writing:
            self._gone = True
            try:
                self._replicas.leave(self._replica_id)
            except RelaydError as error:
                self._warn(error)

    def _warn(self, error: RelaydError) -> None:
        now = self._clock.monotonic()
        if self._warned_at is None or now - self._warned_at >= WARN_EVERY:
            self._warned_at = now
            log.warning("heartbeat_failed", reason=error.reason)


def fitting(told: Mapping[str, Any], most: int = MOST_CHARACTERS) -> str:
    """The JSON of it; without some of its parts where it would be longer than `most` characters."""
    kept = dict(told)
    text = _json(kept)
    for name in _DISPENSABLE:
        if len(text) <= most:
            break
        kept.pop(name, None)
        text = _json(kept)
    return text if len(text) <= most else "{}"


def _json(told: Mapping[str, Any]) -> str:
    return json.dumps(told, separators=(",", ":"), default=str)
