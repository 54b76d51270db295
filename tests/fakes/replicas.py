"""Heartbeats in memory. They keep the promises of `tests/contract/test_replicas.py`."""

from relayd.adapters.replicas import FORGOTTEN_SECONDS, Seen
from relayd.ports import Clock


class FakeReplicas:
    """`relayd.ports.Replicas` without a database. `fail_with` is raised by every call, while it is set."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rows: dict[str, tuple[float, float, str]] = {}
        self.fail_with: Exception | None = None
        self.calls = 0

    def beat(self, replica_id: str, uptime: float, status: str) -> None:
        now = self._enter()
        started_at, _, _ = self._rows.get(replica_id, (now - uptime, 0.0, ""))
        self._rows[replica_id] = (started_at, now, status)
        self._rows = {name: row for name, row in self._rows.items() if row[1] >= now - FORGOTTEN_SECONDS}

    def leave(self, replica_id: str) -> None:
        self._enter()
        self._rows.pop(replica_id, None)

    def read(self) -> list[Seen]:
        now = self._enter()
        seen = [Seen(name, now - row[1], row[1] - row[0], row[2]) for name, row in self._rows.items()]
        return sorted(seen, key=lambda one: (one.seconds_ago, one.replica_id))

    def _enter(self) -> float:
        self.calls += 1
        if self.fail_with is not None:
            raise self.fail_with
        return self._clock.time()
