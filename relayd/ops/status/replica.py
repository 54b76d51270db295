"""One replica, as its `/status` or its heartbeat tells of it: read leniently, because another version may have written
it, and because whatever answers at a mistyped address may be no relayd at all.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeGuard

SILENT_SECONDS = 15.0
"""Without a heartbeat for that long, three beats, a replica is not known to run."""
_LARGEST = 1e11
"""No count, no time and no moment (of the year 5138) is larger; calendars know no such years."""


@dataclass(frozen=True, slots=True)
class Governed:
    """What a replica thinks of a dependency."""

    limit: int | None = None
    """Messages that may be in hand for its sake."""
    breaker: str = ""
    """`closed`, `open` or `half_open`."""
    reason: str = ""
    probe_in: float = 0.0
    """Seconds until it is asked again whether it works."""
    since: float | None = None
    """Since when its breaker has not been closed, in seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class CallFigures:
    """Calls to a dependency in a stretch of time."""

    count: int
    errors: int
    p50: float | None
    p99: float | None
    """Seconds."""


@dataclass(frozen=True, slots=True)
class Window:
    """What a replica did in a stretch of time."""

    seconds: float
    finished: int
    """Messages that are deleted."""
    failed: int
    """Messages whose try failed: they were dead-lettered, or are tried again."""
    sent: int
    """Mails that SES took."""
    messages: Mapping[str, Mapping[str, int]]
    """By outcome and reason."""
    calls: Mapping[str, CallFigures]


@dataclass(frozen=True, slots=True)
class Message:
    """A message to look at."""

    at: float
    seconds: float
    outcome: str
    reason: str
    message_id: str
    mail_id: str
    trace_id: str


@dataclass(frozen=True, slots=True)
class Replica:
    """What one says of itself. What it does not say is None, or empty."""

    replica_id: str
    seen_ago: float
    """Seconds since it said so."""
    source: str
    """`heartbeat`, or the address that was asked."""
    version: str = ""
    queue: str = ""
    uptime: float | None = None
    ready: bool | None = None
    against: Mapping[str, str] = field(default_factory=dict)
    """What stands against its being ready, by name."""
    since: Mapping[str, float] = field(default_factory=dict)
    stopping: bool = False
    slots: int | None = None
    in_flight: int | None = None
    wedged: int = 0
    dependencies: Mapping[str, Governed] = field(default_factory=dict)
    minute: Window | None = None
    quarter_hour: Window | None = None
    oldest: float | None = None
    """Seconds: the age of the oldest message that it has seen lately."""
    slowest: tuple[Message, ...] = ()
    failed: tuple[Message, ...] = ()

    @property
    def silent(self) -> bool:
        """Whether it has not said anything for so long that it may be dead."""
        return self.seen_ago > SILENT_SECONDS


def read_heartbeat(replica_id: str, seen_ago: float, uptime: float, text: str) -> Replica:
    """The replica behind a row. Raises nothing, whatever the text is."""
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        told = {}
    read = read_status(told if isinstance(told, dict) else {}, source="heartbeat", seen_ago=seen_ago)
    return replace(read, replica_id=replica_id, uptime=uptime)


def read_status(told: Mapping[str, Any], *, source: str, seen_ago: float = 0.0) -> Replica:
    """The replica that says this. Raises nothing, whatever it is."""
    since = {name: at for name, at in _mapping(told, "since").items() if _is_number(at) and at >= 0}
    recent = _mapping(told, "recent")
    return Replica(
        replica_id=_text(told, "replica") or source,
        seen_ago=seen_ago,
        source=source,
        version=_text(told, "version"),
        queue=_text(told, "queue"),
        uptime=_number(told, "uptime_seconds"),
        ready=told["ready"] if isinstance(told.get("ready"), bool) else None,
        against={name: _word(reason) for name, reason in _mapping(told, "against").items()},
        since=since,
        stopping=told.get("stopping") is True,
        slots=_whole(told, "slots"),
        in_flight=_whole(told, "in_flight"),
        wedged=_whole(told, "wedged") or 0,
        dependencies={
            name: _governed(one, since.get(name))
            for name, one in _mapping(told, "dependencies").items()
            if isinstance(one, dict)
        },
        minute=_window(recent, "minute"),
        quarter_hour=_window(recent, "quarter_hour"),
        oldest=_number(recent, "oldest_seconds"),
        slowest=_messages(recent, "slowest"),
        failed=_messages(recent, "failed"),
    )


def _governed(told: Mapping[str, Any], since: float | None) -> Governed:
    return Governed(
        limit=_whole(told, "limit"),
        breaker=_text(told, "breaker"),
        reason=_text(told, "reason"),
        probe_in=_number(told, "probe_in_seconds") or 0.0,
        since=since,
    )


def _window(recent: Mapping[str, Any], name: str) -> Window | None:
    told = _mapping(recent, name)
    seconds = _number(told, "seconds")
    if not seconds or seconds <= 0:
        return None
    return Window(
        seconds=seconds,
        finished=_whole(told, "finished") or 0,
        failed=_whole(told, "failed") or 0,
        sent=_whole(told, "sent") or 0,
        messages={
            outcome: {reason: int(count) for reason, count in reasons.items() if _is_number(count)}
            for outcome, reasons in _mapping(told, "messages").items()
            if isinstance(reasons, dict)
        },
        calls={
            name: CallFigures(
                _whole(one, "count") or 0, _whole(one, "errors") or 0, _number(one, "p50"), _number(one, "p99")
            )
            for name, one in _mapping(told, "calls").items()
            if isinstance(one, dict)
        },
    )


def _messages(recent: Mapping[str, Any], name: str) -> tuple[Message, ...]:
    listed = recent.get(name)
    if not isinstance(listed, list):
        return ()
    words = ("outcome", "reason", "message_id", "mail_id", "trace_id")
    return tuple(
        Message(
            max(0.0, _number(one, "at") or 0.0), _number(one, "seconds") or 0.0, *(_text(one, word) for word in words)
        )
        for one in listed
        if isinstance(one, dict)
    )


def _mapping(told: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = told.get(name)
    return found if isinstance(found, dict) else {}


def _text(told: Mapping[str, Any], name: str) -> str:
    return _word(told.get(name))


def _word(value: object) -> str:
    return value if isinstance(value, str) else ""


def _number(told: Mapping[str, Any], name: str) -> float | None:
    found = told.get(name)
    return float(found) if _is_number(found) else None


def _whole(told: Mapping[str, Any], name: str) -> int | None:
    found = told.get(name)
    return int(found) if _is_number(found) else None


def _is_number(value: object) -> TypeGuard[float]:
    # JSON's true is an int to Python, and its NaN and Infinity are floats.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGEST
