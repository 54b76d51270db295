"""The status for programs. Its keys are stable: new ones may come, none changes its meaning."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from relayd.adapters.queue_depth import QueueDepth
from relayd.ops.status.asking import Answer
from relayd.ops.status.replica import Message, Replica, Window
from relayd.ops.status.snapshot import Rates, Snapshot
from relayd.ops.status.words import findings


def document(snapshot: Snapshot) -> dict[str, Any]:
    """All of it. What could not be had is null, and `unknown` says why."""
    found = findings(snapshot)
    account = snapshot.account.value
    return {
        "at": round(snapshot.at, 1),
        "level": found[0].level.value,
        "summary": found[0].text,
        "findings": [{"level": one.level.value, "text": one.text, "todo": one.todo} for one in found],
        "queue": _queue(snapshot),
        "dead_letters": _depth(snapshot.dead_letters),
        "events": None if snapshot.events is None else _depth(snapshot.events),
        "rates": {"minute": _rates(snapshot.minute), "quarter_hour": _rates(snapshot.quarter_hour)},
        "calls": {name: asdict(calls) for name, calls in snapshot.calls().items()},
        "replicas": [_replica(one) for one in snapshot.replicas],
        "deliveries": {name: _plain(answer) for name, answer in (("hour", snapshot.hour), ("day", snapshot.day))},
        "mailboxes_paused": _plain(snapshot.mailboxes),
        "pauses": None if snapshot.pauses.value is None else [asdict(one) for one in snapshot.pauses.value],
        "ses": None if account is None else asdict(account),
        "slowest": [_message(replica, message) for replica, message in snapshot.slowest()],
        "failed": [_message(replica, message) for replica, message in snapshot.failed()],
        "unknown": {name: answer.why for name, answer in snapshot.answers() if answer.value is None and answer.why},
    }


def _queue(snapshot: Snapshot) -> dict[str, Any] | None:
    depth = _depth(snapshot.queue)
    if depth is None:
        return None
    oldest = snapshot.oldest
    return {
        "name": snapshot.queue_name,
        **depth,
        "put_off": snapshot.put_off,
        "oldest_seconds": None if oldest.seconds is None else round(oldest.seconds, 1),
        "oldest_source": oldest.source or None,
        "growth_per_second": None if snapshot.growth is None else round(snapshot.growth, 3),
        "drained_in_seconds": None if snapshot.drained_in is None else round(snapshot.drained_in, 1),
    }


def _depth(answer: Answer[QueueDepth]) -> dict[str, Any] | None:
    found = answer.value
    if found is None:
        return None
    return {"waiting": found.visible, "delayed": found.delayed, "in_flight": found.in_flight}


def _plain(answer: Answer[Any]) -> dict[str, Any] | None:
    return None if answer.value is None else asdict(answer.value)


def _rates(rates: Rates | None) -> dict[str, Any] | None:
    if rates is None:
        return None
    return {
        "seconds": rates.seconds,
        "finished_per_second": round(rates.finished, 4),
        "sent_per_second": round(rates.sent, 4),
        "failed_per_second": round(rates.failed, 4),
        "by_outcome_per_second": {
            outcome: {reason: round(rate, 4) for reason, rate in reasons.items()}
            for outcome, reasons in rates.messages.items()
        },
    }


def _replica(replica: Replica) -> dict[str, Any]:
    return {
        "replica": replica.replica_id,
        "source": replica.source,
        "silent": replica.silent,
        "seen_seconds_ago": round(replica.seen_ago, 1),
        "version": replica.version,
        "queue": replica.queue,
        "uptime_seconds": None if replica.uptime is None else round(replica.uptime, 1),
        "ready": replica.ready,
        "against": dict(replica.against),
        "since": dict(replica.since),
        "stopping": replica.stopping,
        "slots": replica.slots,
        "in_flight": replica.in_flight,
        "wedged": replica.wedged,
        "dependencies": {
            name: {
                "limit": one.limit,
                "breaker": one.breaker,
                "reason": one.reason,
                "probe_in_seconds": one.probe_in,
                "since": one.since,
            }
            for name, one in replica.dependencies.items()
        },
        "minute": _window(replica.minute),
        "quarter_hour": _window(replica.quarter_hour),
    }


def _window(window: Window | None) -> Mapping[str, Any] | None:
    return None if window is None else asdict(window)


def _message(replica: Replica, message: Message) -> dict[str, Any]:
    return {"replica": replica.replica_id, **asdict(message)}
