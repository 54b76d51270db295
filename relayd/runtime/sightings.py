"""What an observer has seen: what would have become of the mail, and where the time went."""

import threading
from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from relayd.model.observed import Fate
from relayd.ports import Clock
from relayd.runtime.spread import Spread
from relayd.runtime.watching import Ended
from relayd.telemetry.words import label

PLAIN: tuple[Fate, ...] = ("forward", "reply")
"""What needs no reason."""
REASONED: tuple[Fate, ...] = ("discard", "quarantine", "fail", "tell_owner", "apply_event")

MOST_WAITING = 20_000
"""Messages that are known to come back. More than that are counted, but no longer told apart."""
_TAKEN_UP = "finished_before"
"""The reason of a message that came once more because SQS had lost its delete: it was counted the first time."""


@dataclass(slots=True)
class _Stage:
    seconds: Spread = field(default_factory=Spread)
    total: float = 0.0
    slowest_trace: str = ""


class Sightings:
    """Told by any thread, and asked for the sums."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began_at = clock.time()
        self._began = clock.monotonic()
        self._lock = threading.Lock()
        self._would: dict[Fate, Counter[str]] = {fate: Counter() for fate in (*PLAIN, *REASONED)}
        self._finished: dict[str, Counter[str]] = {}
        self._waiting: OrderedDict[str, str] = OrderedDict()
        self._stages: dict[str, _Stage] = {}

    def would(self, fate: Fate, reason: str) -> None:
        """One more thing would have been done."""
        with self._lock:
            self._would[fate][label(reason)] += 1

    def ended(self, ended: Ended) -> None:
        """One message ended (`relayd.runtime.watching.Watcher`)."""
        message_id, reason = ended.message.message_id, label(ended.reason)
        with self._lock:
            if ended.visible_in is not None or ended.problem is not None or ended.outcome == "abandoned":
                self._waiting[message_id] = reason
                self._waiting.move_to_end(message_id)
                if len(self._waiting) > MOST_WAITING:
                    self._waiting.popitem(last=False)
                return
            known = self._waiting.pop(message_id, None)
            if ended.reason == _TAKEN_UP and known is None:
                return
            self._finished.setdefault(ended.outcome, Counter())[reason] += 1
            if ended.outcome == "rejected" and not _failed_as_delivery(ended):
                # Nobody could even say for whom it was.
                self._would["fail"][reason] += 1

    def stepped(self, name: str, seconds: float, trace_id: str) -> None:
        """One step of one message ended (`relayd.telemetry.spans.StepListener`)."""
        with self._lock:
            stage = self._stages.setdefault(name, _Stage())
            if seconds >= stage.seconds.most:
                stage.slowest_trace = trace_id
            stage.seconds.add(seconds)
            stage.total += seconds

    def told(self) -> dict[str, Any]:
        """Everything until now, as JSON has it. Words, ids and numbers only.

        `since` and `until` (UTC), `seconds`; `messages`: those that are `finished`, by outcome and reason, and those
        that `wait` to come again, by the last reason; `would`: how many deliveries would have been a `forward` or a
        `reply`, and by reason a `discard`, a `quarantine`, a `fail`, an owner told, an event applied; `stages`, those
        in which most time went first: `count`, `total`, `p50`, `p99` and `slowest` seconds, and the slowest one's
        trace.
        """
        with self._lock:
            until = self._clock.time()
            return {
                "since": moment(self._began_at),
                "until": moment(until),
                "seconds": round(self._clock.monotonic() - self._began, 1),
                "messages": {
                    "finished": sum(sum(reasons.values()) for reasons in self._finished.values()),
                    "waiting": len(self._waiting),
                    "finished_by": {outcome: _sorted(reasons) for outcome, reasons in sorted(self._finished.items())},
                    "waiting_for": _sorted(Counter(self._waiting.values())),
                },
                "would": {fate: sum(self._would[fate].values()) for fate in PLAIN}
                | {fate: _sorted(self._would[fate]) for fate in REASONED},
                "stages": [_shown(name, stage) for name, stage in self._by_time()],
            }

    def _by_time(self) -> list[tuple[str, _Stage]]:
        return sorted(self._stages.items(), key=lambda item: -item[1].total)


def moment(seconds: float) -> str:
    """A time as other programs read it, UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _failed_as_delivery(ended: Ended) -> bool:
    deliveries = ended.facts.get("deliveries")
    return isinstance(deliveries, list) and any(one["state"] == "failed" for one in deliveries)


def _sorted(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _shown(name: str, stage: _Stage) -> dict[str, Any]:
    return {
        "stage": name,
        "count": stage.seconds.count,
        "total": round(stage.total, 3),
        "p50": _rounded(stage.seconds.quantile(0.5)),
        "p99": _rounded(stage.seconds.quantile(0.99)),
        "slowest": _rounded(stage.seconds.most),
        "slowest_trace": stage.slowest_trace,
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)
