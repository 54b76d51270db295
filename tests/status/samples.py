"""A deployment in which all is well, and what a test wants to be different about it."""

from dataclasses import replace
from typing import Any

from relayd.adapters.probes import Account
from relayd.adapters.queue_depth import QueueDepth
from relayd.ops.status.asking import Answer
from relayd.ops.status.figures import Deliveries, MailboxPauses
from relayd.ops.status.replica import CallFigures, Governed, Message, Replica, Window
from relayd.ops.status.snapshot import Snapshot

NOW = 1_700_000_000.0
"""22:13:20 UTC."""
WELL = Governed(16, "closed")
MAIL_ID = "o3vrnil0e2ic28trm7dfhrc2v0clambda4nbp0g1"
TRACE = "0af7651916cd43dd8448eb211c80319c"


def window(seconds: float = 60.0, finished: int = 252, **changes: Any) -> Window:
    calls = {"s3": CallFigures(252, 0, 0.004, 0.09), "ses": CallFigures(252, 0, 0.12, 0.9)}
    messages = {"accepted": {"forwarded": finished}} if finished else {}
    plain: dict[str, Any] = {"failed": 0, "sent": finished, "messages": messages, "calls": calls}
    return Window(seconds, finished, **(plain | changes))


def replica(name: str = "pod-a", **changes: Any) -> Replica:
    well = Replica(
        name,
        seen_ago=2.0,
        source="heartbeat",
        version="1",
        queue="mail",
        uptime=7200.0,
        ready=True,
        slots=16,
        in_flight=3,
        dependencies={"s3": WELL, "ses": WELL, "database": WELL, "certificates": WELL},
        minute=window(),
        quarter_hour=window(900.0, 3780),
        oldest=0.4,
    )
    return replace(well, **changes)


def held(dependency: str, reason: str, breaker: str = "open", limit: int = 0, **changes: Any) -> Replica:
    """A replica whose breaker for that dependency is not closed."""
    met = Governed(limit, breaker, reason, probe_in=12.0, since=NOW - 660)
    dependencies = {"s3": WELL, "ses": WELL, "database": WELL, "certificates": WELL, dependency: met}
    return replica(changes.pop("name", "pod-a"), **{"minute": window(finished=0)} | changes, dependencies=dependencies)


def message(**changes: Any) -> Message:
    told = Message(NOW - 5, 30.2, "deferred", "s3_timeout", "m-1", MAIL_ID, TRACE)
    return replace(told, **changes)


def snapshot(**changes: Any) -> Snapshot:
    """`depth`, `dead`: counts of the queues; `replicas`: those that beat; anything else as `Snapshot` has it."""
    depth = changes.pop("depth", (0, 0, 3))
    dead = changes.pop("dead", (0, 0, 0))
    replicas = changes.pop("replicas", (replica(),))
    day = Deliveries(sent={"forward": 30_000, "reply": 211}, discarded={"spam": 411, "unknown_mask": 59}, open=3)
    told: dict[str, Any] = {
        "at": NOW,
        "queue_name": "mail",
        "queue": Answer(QueueDepth(*depth)),
        "oldest_reported": Answer(None, "cloudwatch unavailable"),
        "dead_letters": Answer(QueueDepth(*dead)),
        "events": None,
        "account": Answer(Account(14.0, 50_000.0, 12_034.0, True)),
        "heartbeats": Answer(tuple(replicas)),
        "asked": {},
        "hour": Answer(replace(day, sent={"forward": 1204})),
        "day": Answer(day),
        "mailboxes": Answer(MailboxPauses()),
        "pauses": Answer([]),
    }
    return Snapshot(**(told | changes))


def unanswered(why: str = "no answer within 3 s") -> Answer[Any]:
    return Answer(None, why)
