"""What a replica says of itself: to whoever asks for `/status`, and to its heartbeat."""

import threading
from collections.abc import Callable, Mapping
from typing import Any

from relayd.ports import Clock
from relayd.runtime.health import HealthState
from relayd.runtime.recent import Recent


class Standing:
    """Put together anew each time it is asked for, from cached state alone."""

    def __init__(
        self,
        clock: Clock,
        health: HealthState,
        recent: Recent,
        *,
        name: Mapping[str, str],
        parts: Callable[[], Mapping[str, Any]],
    ) -> None:
        """`name`: who this is; `parts`: what else there is to say, `held` among it."""
        self._clock = clock
        self._health = health
        self._recent = recent
        self._name = dict(name)
        self._parts = parts
        self._began = clock.monotonic()
        self._since: dict[str, float] = {}
        self._lock = threading.Lock()

    def brief(self) -> dict[str, Any]:
        """Everything but the quarter of an hour bucket by bucket."""
        now = self._clock.monotonic()
        live, live_reason = self._health.live(now)
        ready, against = self._health.ready()
        parts = self._parts()
        return {
            **self._name,
            "uptime_seconds": round(now - self._began, 1),
            "live": live,
            "live_reason": live_reason,
            "ready": ready,
            "against": against,
            "since": self._stood_since({*against, *parts.get("held", ())}),
            **parts,
            "recent": self._recent.figures(),
        }

    def whole(self) -> dict[str, Any]:
        """All of it."""
        told = self.brief()
        return told | {"recent": told["recent"] | {"series": self._recent.series()}}

    def _stood_since(self, names: set[str]) -> dict[str, float]:
        """When each of them was first met here, in seconds since the epoch. The heartbeat asks every few seconds, so
        that this is as exact as anybody needs who asks since when S3 is away.
        """
        now = round(self._clock.time(), 1)
        with self._lock:
            self._since = {name: self._since.get(name, now) for name in sorted(names)}
            return dict(self._since)
