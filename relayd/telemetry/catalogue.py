"""What is measured, said once: every instrument with its unit, its labels and what it means.

docs/operations.md prints this table. Labels are words that this program chose, or the names of its own queues, so that
no sender can make a new time series.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from relayd.telemetry import names

Kind = Literal["counter", "histogram", "gauge", "sum"]
"""`sum`: a gauge that the conventions want added up over its series (OpenTelemetry's up-down counter)."""

CALL_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0)
"""Bucket boundaries; the library's own suit milliseconds. They go as far as timeouts and deadlines do."""
QUEUE_SECONDS = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0)
WAIT_SECONDS = (0.001, 0.01, 0.1, 1.0, 5.0, 10.0)
"""For a connection; the pool gives up after ten seconds."""
MAIL_BYTES = tuple(float(1024 * kibibytes) for kibibytes in (4, 16, 64, 256, 1024, 4096, 10240, 20480, 40960))
"""Up to what SES takes, 40 MB."""


@dataclass(frozen=True, slots=True)
class Instrument:
    """One instrument. `labels`: by OpenTelemetry's name, what may stand in each of them."""

    kind: Kind
    unit: str
    meaning: str
    labels: Mapping[str, str] = field(default_factory=dict)
    boundaries: tuple[float, ...] = ()


_MESSAGING = {names.MESSAGING_SYSTEM: "`aws_sqs`", names.MESSAGING_DESTINATION: "the queue's name"}
_CALLS = "`receive`, `delete`, `change_visibility`, `dead_letter`, `attributes`"
_FAILED = {names.ERROR_TYPE: "what failed, in one word; empty where nothing did"}
_ENGINE = {"queue": "`mail`, `events`"}
_DEPENDENCY = {"dependency": "`s3`, `ses`, `database`, `certificates`"}
_REASON = {"reason": "a reason word"}
_POOL = {names.POOL: "`relayd`"}

INSTRUMENTS: Mapping[str, Instrument] = MappingProxyType(
    {
        # Messages, by OpenTelemetry's conventions.
        names.CONSUMED: Instrument(
            "counter", "{message}", "Messages received.", {**_MESSAGING, names.MESSAGING_OPERATION: "`receive`"}
        ),
        names.COPIED: Instrument(
            "counter",
            "{message}",
            "Copies sent to a dead-letter queue, or tried to be.",
            {**_MESSAGING, names.MESSAGING_OPERATION: "`dead_letter`", **_FAILED},
        ),
        names.PROCESS_DURATION: Instrument(
            "histogram",
            "s",
            "Work on a message, up to its settlement. `error.type` is the reason of a rejected message, and of one "
            "whose try failed.",
            {**_MESSAGING, names.MESSAGING_OPERATION: "`process`", **_FAILED},
            CALL_SECONDS,
        ),
        names.OPERATION_DURATION: Instrument(
            "histogram",
            "s",
            "Each SQS call. A `receive` waits on purpose: leave it out where latency is looked at.",
            {
                **_MESSAGING,
                names.MESSAGING_OPERATION: _CALLS,
                names.MESSAGING_OPERATION_TYPE: "`receive`, `settle`, `send`; empty for `attributes`",
                **_FAILED,
            },
            CALL_SECONDS,
        ),
        # Calls.
        names.DEPENDENCY_DURATION: Instrument(
            "histogram",
            "s",
            "Each call to a dependency, failed or not. Waiting for memory or for the pace is no part of it.",
            {
                "dependency": "`queue`, `s3`, `ses`, `database`, `certificates`",
                "operation": f"{_CALLS}; `fetch` (a mail with its body, a certificate); `send`; of the database what "
                "was asked of it: `lookup`, `claim`, `begin_send`, `sent`, ...",
                **_FAILED,
            },
            CALL_SECONDS,
        ),
        # Mail.
        names.MESSAGES: Instrument(
            "counter",
            "{message}",
            "Messages that were settled; `rejected` ones went to the dead-letter queue, `abandoned` ones are somebody "
            "else's.",
            {**_ENGINE, "outcome": "`accepted`, `rejected`, `deferred`, `released`, `abandoned`", **_REASON},
        ),
        names.DELIVERIES: Instrument(
            "counter",
            "{delivery}",
            "Deliveries of mail that ended or were left open.",
            {"state": "`sent`, `discarded`, `failed`, `open`", **_REASON},
        ),
        names.MAIL_DURATION: Instrument(
            "histogram",
            "s",
            "End to end: from SES's receipt of a mail until SES took what was sent for it. Replays are left out.",
            {"kind": "`forward`, `reply`"},
            QUEUE_SECONDS,
        ),
        names.QUEUE_TIME: Instrument(
            "histogram",
            "s",
            "Time in the queue: from a message's sending until this receive of it, earlier tries included.",
            _ENGINE,
            QUEUE_SECONDS,
        ),
        names.MAIL_SIZE: Instrument(
            "histogram",
            "By",
            "Mails as they came and as they were sent.",
            {"direction": "`received`, `sent`"},
            MAIL_BYTES,
        ),
        names.VERDICTS: Instrument(
            "counter",
            "{mail}",
            "What SES found about mail. PASS is not counted.",
            {
                "verdict": "`spam`, `virus`, `spf`, `dkim`, `dmarc`",
                "status": "`fail`, `gray`, `processing_failed`, `disabled`, `absent`",
            },
        ),
        names.TRACKERS: Instrument("counter", "{tracker}", "Trackers taken out of mail that was sent."),
        names.FEEDBACK: Instrument(
            "counter",
            "{event}",
            "SES's events about sent mail, and whether the ledger knew the delivery. SES holds an account to its "
            "`permanent` bounces and its complaints.",
            {
                "kind": "`send`, `delivery`, `delay`, `bounce`, `complaint`, `reject`, `rendering_failure`, `other`",
                "type": "of a bounce `permanent`, `transient`, `undetermined`; else empty",
                "matched": "`true`, `false`",
            },
        ),
        names.ALERTS: Instrument(
            "counter",
            "{alert}",
            "What an operator should look into.",
            {"word": "`suppressed`, `rendering_failure`"},
        ),
        names.NOTICES: Instrument(
            "counter",
            "{notice}",
            "Mails of our own to owners: `sent`, or why they never will be.",
            {"kind": "which notice", "outcome": "`sent`, or a reason word"},
        ),
        names.NOTICES_WAITING: Instrument("gauge", "{notice}", "Notices that wait to be sent. Counted once a minute."),
        names.MASKS: Instrument(
            "gauge",
            "{mask}",
            "Masks in the directory. Counted once a minute; every replica tells the same.",
            {"state": "`enabled`, `disabled`"},
        ),
        # What keeps mail from being lost or doubled.
        names.IN_DOUBT: Instrument(
            "counter", "{delivery}", "Sends whose end is not known.", {"event": "`doubt`, `resend`, `given_up`"}
        ),
        names.DUPLICATES: Instrument(
            "counter",
            "{delivery}",
            "Duplicates avoided: a redelivery met a delivery that had ended (`settled`), or a live claim of another "
            "worker or replica (`claimed`), or was a message whose delete alone had failed (`undeleted`).",
            {"met": "`settled`, `claimed`, `undeleted`"},
        ),
        names.LEASES: Instrument(
            "counter",
            "{lease}",
            "Leases extended, and leases that ended while their messages were in hand.",
            {**_ENGINE, "event": "`extended`, `lost`"},
        ),
        names.UNSETTLED_FAILURES: Instrument(
            "counter",
            "{message}",
            "Messages that SQS did not let be deleted, or handed back, before their leases ended: they come again.",
            {**_ENGINE, "operation": "`delete`, `change_visibility`", "reason": "`lease_gone`, `lease_lapsed`"},
        ),
        names.LEDGER_DEBTS: Instrument("gauge", "{change}", "Changes that the ledger could not be told yet."),
        names.LEDGER_PRUNED: Instrument("counter", "{delivery}", "Deliveries forgotten because of RELAYD_LEDGER_DAYS."),
        # The engine.
        names.IN_FLIGHT: Instrument("gauge", "{message}", "Messages in hand now.", _ENGINE),
        names.SLOTS: Instrument("gauge", "{message}", "Messages that may be in hand at most.", _ENGINE),
        names.UNSETTLED: Instrument("gauge", "{message}", "Messages that are done and not yet settled.", _ENGINE),
        names.WEDGED: Instrument(
            "gauge", "{message}", "Messages long past their deadline that are still being worked on.", _ENGINE
        ),
        names.POLL_AGE: Instrument(
            "gauge",
            "s",
            "Time since the poll loop last turned. It turns in pauses and while breakers are open, too.",
            _ENGINE,
        ),
        names.UNREADY: Instrument(
            "gauge",
            "1",
            "1 for each thing that stands against being ready.",
            {
                "condition": "`queue`, `dead_letter_queue`, `poller`, `stopping`, a dependency; `events_` before those "
                "of the events"
            },
        ),
        names.LIMIT: Instrument(
            "gauge", "{message}", "Messages that may be in hand for a dependency's sake.", _ENGINE | _DEPENDENCY
        ),
        names.BREAKER: Instrument("gauge", "1", "Breakers: 0 closed, 1 half open, 2 open.", _ENGINE | _DEPENDENCY),
        names.BREAKER_CHANGES: Instrument(
            "counter",
            "{change}",
            "Changes of breakers.",
            _ENGINE | _DEPENDENCY | {"state": "`open`, `half_open`, `closed`"},
        ),
        names.MEMORY_RESERVED: Instrument("gauge", "By", "Memory that mails in hand have reserved."),
        names.MEMORY_BUDGET: Instrument("gauge", "By", "Memory that they may reserve: RELAYD_MEMORY_BUDGET_MB."),
        names.MEMORY_WAITING: Instrument("gauge", "{mail}", "Mails that wait for memory now."),
        names.PACE: Instrument(
            "gauge", "{mail}/s", "Mails that are sent at most; 0 while nobody knows what the account may send."
        ),
        names.PACE_ACCOUNT: Instrument("gauge", "{mail}/s", "What the account may send; 0 while nobody knows."),
        names.PACE_WAITING: Instrument("gauge", "{mail}", "Sends that wait for the pace now."),
        names.PACE_TIME: Instrument(
            "counter", "s", "Time that sends waited for the pace. Its rate is how many wait on average."
        ),
        names.PAUSED: Instrument(
            "gauge", "{pause}", "Pauses by operators that are in force.", {"scope": "`all`, `domain`, `owner`"}
        ),
        # Queues, as SQS tells.
        names.QUEUE_DEPTH: Instrument(
            "gauge",
            "{message}",
            "Messages in a queue, as SQS counts them. Asked every 15 s by every replica; absent where SQS has not said "
            "for a minute.",
            {
                "queue": "`mail`, `events`, `dead_letters`, and `events_dead_letters` where the events have their own",
                "state": "`visible`, `in_flight`, `delayed`",
            },
        ),
        names.QUEUE_OLDEST: Instrument(
            "gauge",
            "s",
            "Age of the oldest message in hand now or received in the last minute, 0 where there was none; absent "
            "where nothing was asked of SQS for a minute. `again`: it had been received before.",
            {**_ENGINE, "received": "`first`, `again`"},
        ),
        # The database's pool, by OpenTelemetry's conventions.
        names.CONNECTIONS: Instrument(
            "sum", "{connection}", "Connections of the pool.", {**_POOL, names.CONNECTION_STATE: "`used`, `idle`"}
        ),
        names.CONNECTIONS_MAX: Instrument("sum", "{connection}", "Connections that there may be at most.", _POOL),
        names.CONNECTIONS_PENDING: Instrument(
            "sum",
            "{request}",
            "Threads that wait for a connection now; on SQLite, also for their turn to write.",
            _POOL,
        ),
        names.CONNECTION_WAIT: Instrument(
            "histogram", "s", "How long they waited, where that was a millisecond or more.", _POOL, WAIT_SECONDS
        ),
    }
)

_UNITS = {"s": "_seconds", "By": "_bytes", "{mail}/s": "_per_second"}


def prometheus_name(name: str) -> str:
    """What an instrument is called on /metrics. A histogram has `_bucket`, `_sum` and `_count` behind that."""
    made = INSTRUMENTS[name]
    whole = name.replace(".", "_") + _UNITS.get(made.unit, "")
    return f"{whole}_total" if made.kind == "counter" else whole


def prometheus_label(label: str) -> str:
    """What a label is called on /metrics."""
    return label.replace(".", "_")
