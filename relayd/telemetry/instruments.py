"""Counters and histograms, one function for each thing that happens. Labels have few values, and none is personal."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import product
from typing import Literal

from opentelemetry import metrics

from relayd.telemetry import names
from relayd.telemetry.catalogue import INSTRUMENTS
from relayd.telemetry.words import bounded, label

Engine = Literal["mail", "events"]
"""Whose queue it is: what the label `queue` says of an engine."""

_DONE = ("accepted", "released")
"""Outcomes that are not failures of the message."""
WAITS = frozenset({"claimed_elsewhere", "mailbox_full", "memory_full", "ses_paced"})
"""Reasons of a deferral that is nobody's failure: there was nothing to be tried yet."""
_OPERATION_TYPES = {
    "receive": "receive",
    "delete": "settle",
    "change_visibility": "settle",
    "dead_letter": "send",
}
_BOUNCES = {"Permanent": "permanent", "Transient": "transient"}

_FEW = 500
"""Sets of labels that are kept: every mail makes a dozen calls, and they are always the same ones."""

POOL = {names.POOL: "relayd"}
"""What the conventions have a database's pool say of itself."""

_meter = metrics.get_meter(names.SCOPE)


def _counter(name: str) -> metrics.Counter:
    return _meter.create_counter(name, unit=INSTRUMENTS[name].unit, description=INSTRUMENTS[name].meaning)


def _histogram(name: str) -> metrics.Histogram:
    made = INSTRUMENTS[name]
    return _meter.create_histogram(
        name, unit=made.unit, description=made.meaning, explicit_bucket_boundaries_advisory=made.boundaries
    )


_consumed = _counter(names.CONSUMED)
_copied = _counter(names.COPIED)
_messages = _counter(names.MESSAGES)
_deliveries = _counter(names.DELIVERIES)
_verdicts = _counter(names.VERDICTS)
_trackers = _counter(names.TRACKERS)
_feedback = _counter(names.FEEDBACK)
_alerts = _counter(names.ALERTS)
_notices = _counter(names.NOTICES)
_in_doubt = _counter(names.IN_DOUBT)
_duplicates = _counter(names.DUPLICATES)
_leases = _counter(names.LEASES)
_unsettled_failures = _counter(names.UNSETTLED_FAILURES)
_pruned = _counter(names.LEDGER_PRUNED)
_breaker_changes = _counter(names.BREAKER_CHANGES)
_pace_time = _counter(names.PACE_TIME)
_process_duration = _histogram(names.PROCESS_DURATION)
_operation_duration = _histogram(names.OPERATION_DURATION)
_dependency_duration = _histogram(names.DEPENDENCY_DURATION)
_mail_duration = _histogram(names.MAIL_DURATION)
_mail_size = _histogram(names.MAIL_SIZE)
_queue_time = _histogram(names.QUEUE_TIME)
_connection_wait = _histogram(names.CONNECTION_WAIT)


def begin(*engines: Engine) -> None:
    """Let what alerts wait for stand at 0 from the start: Prometheus sees no rise in a counter that was not there
    before its first event.
    """
    _zero(_leases, queue=engines, event=("extended", "lost"))
    operations = ("delete", "change_visibility")
    _zero(_unsettled_failures, queue=engines, operation=operations, reason=("lease_gone", "lease_lapsed"))
    dependencies = ("s3", "ses", "database", "certificates")
    _zero(_breaker_changes, queue=engines, dependency=dependencies, state=("open", "half_open", "closed"))
    _zero(_in_doubt, event=("doubt", "resend", "given_up"))
    _zero(_duplicates, met=("settled", "claimed", "undeleted"))
    _zero(_alerts, word=("suppressed", "rendering_failure"))
    _zero(_feedback, kind=("send", "delivery", "complaint", "reject"), type=("",), matched=("true",))
    _zero(_feedback, kind=("bounce",), type=("permanent", "transient", "undetermined"), matched=("true",))
    _zero(_deliveries, state=("sent",), reason=("forwarded",))
    _zero(_deliveries, state=("discarded",), reason=("unknown_mask",))
    for counter in (_trackers, _pruned, _pace_time):
        _zero(counter)


def _zero(counter: metrics.Counter, **labels: Sequence[str]) -> None:
    for values in product(*labels.values()):
        counter.add(0, {kind: bounded(kind, word) for kind, word in zip(labels, values, strict=True)})


# Messages and mail.


def messages_consumed(count: int, destination: str) -> None:
    """So many messages came with one receive from a queue."""
    _consumed.add(count, _messaging(destination) | {names.MESSAGING_OPERATION: "receive"})


def message_taken(queue: Engine, waited: float) -> None:
    """A message was taken in hand, so many seconds after it was sent."""
    # The sender's clock may be ahead of ours: never below zero.
    _queue_time.record(max(0.0, waited), {"queue": queue})


def message_settled(queue: Engine, destination: str, outcome: str, reason: str, seconds: float) -> None:
    """A message was settled after `seconds` of work."""
    reason = bounded("reason", reason)
    _messages.add(1, {"queue": queue, "outcome": label(outcome), "reason": reason})
    attributes = _messaging(destination) | {names.MESSAGING_OPERATION: "process"}
    if is_failure(outcome, reason):
        attributes[names.ERROR_TYPE] = reason
    _process_duration.record(seconds, attributes)


def is_failure(outcome: str, reason: str) -> bool:
    """Whether a message that ended so, failed. To have been handed back untried, or to wait for its turn, is no
    failure.
    """
    return outcome not in _DONE and reason not in WAITS


def _messaging(destination: str) -> dict[str, str]:
    return {names.MESSAGING_SYSTEM: "aws_sqs", names.MESSAGING_DESTINATION: destination}


def delivery(state: str, reason: str) -> None:
    """A delivery of a mail ended, or was left open."""
    _deliveries.add(1, {"state": label(state), "reason": bounded("reason", reason)})


def mail_fetched(size: int) -> None:
    """A mail of so many bytes came from S3, or with its notification."""
    _mail_size.record(size, {"direction": "received"})


def mail_sent(kind: Literal["forward", "reply"], size: int, seconds: float | None) -> None:
    """SES took a mail of so many bytes, `seconds` after it had received the one that it was made from; None where that
    is not known, or says nothing.
    """
    _mail_size.record(size, {"direction": "sent"})
    if seconds is not None:
        _mail_duration.record(max(0.0, seconds), {"kind": kind})


def verdicts(found: Mapping[str, str]) -> None:
    """What SES found about a mail, by the verdict's name. PASS is the rule, and every mail is counted anyway."""
    for name, word in found.items():
        if word != "PASS":
            _verdicts.add(1, {"verdict": label(name), "status": label(word.lower())})


def trackers(count: int) -> None:
    """So many trackers were taken out of a mail that was sent."""
    if count:
        _trackers.add(count)


def feedback(kind: str, *, matched: bool, bounce_type: str = "") -> None:
    """An event of SES was learned from; `matched`: about a delivery that the ledger knows. `bounce_type` is SES's."""
    shown = _BOUNCES.get(bounce_type, "undetermined") if kind == "bounce" else ""
    _feedback.add(1, {"kind": label(kind), "type": shown, "matched": "true" if matched else "false"})


def alert(word: str) -> None:
    """Something that an operator should look into came up."""
    _alerts.add(1, {"word": bounded("word", word)})


def notice(kind: str, outcome: str) -> None:
    """A notice to an owner was sent, or never will be."""
    _notices.add(1, {"kind": bounded("kind", kind), "outcome": bounded("reason", outcome)})


# What keeps mail from being lost or doubled.


def in_doubt(event: Literal["doubt", "resend", "given_up"]) -> None:
    """A send whose end is not known came up, was repeated, or was given up."""
    _in_doubt.add(1, {"event": event})


def duplicate(met: Literal["settled", "claimed", "undeleted"]) -> None:
    """A message came a second time, and the mail did not go out a second time."""
    _duplicates.add(1, {"met": met})


def leases_extended(queue: Engine, count: int) -> None:
    """So many leases were extended by one call."""
    _leases.add(count, {"queue": queue, "event": "extended"})


def leases_lost(queue: Engine, count: int) -> None:
    """So many leases ended while their messages were in hand."""
    _leases.add(count, {"queue": queue, "event": "lost"})


def settlement_failed(queue: Engine, operation: Literal["delete", "change_visibility"], reason: str) -> None:
    """SQS did not let a message be settled while its lease ran."""
    _unsettled_failures.add(1, {"queue": queue, "operation": operation, "reason": bounded("reason", reason)})


def pruned(rows: int) -> None:
    """So many deliveries were forgotten."""
    _pruned.add(rows)


def breaker(queue: Engine, dependency: str, state: str) -> None:
    """A dependency's breaker changed to this state."""
    _breaker_changes.add(1, {"queue": queue, "dependency": label(dependency), "state": label(state)})


def pace_waited(seconds: float) -> None:
    """A send has waited so long for its turn."""
    _pace_time.add(max(0.0, seconds))


def connection_waited(seconds: float) -> None:
    """A thread got its connection after so many seconds."""
    _connection_wait.record(seconds, POOL)


# Calls to dependencies: `relayd.telemetry.calls` times them.


def call_ended(dependency: str, operation: str, seconds: float, error: str | None) -> None:
    """A call to a dependency ended; `error`: the word for what went wrong."""
    _dependency_duration.record(seconds, _of_call(dependency, operation, error))


@lru_cache(maxsize=_FEW)
def _of_call(dependency: str, operation: str, error: str | None) -> Mapping[str, str]:
    attributes = {"dependency": dependency, "operation": bounded("operation", operation)}
    if error is not None:
        attributes[names.ERROR_TYPE] = bounded(names.ERROR_TYPE, error)
    return attributes


def queue_call_ended(operation: str, destination: str, seconds: float, error: str | None) -> None:
    """A call to SQS about the queue of this name ended."""
    attributes = _messaging(destination) | {names.MESSAGING_OPERATION: bounded("operation", operation)}
    if error is not None:
        attributes[names.ERROR_TYPE] = bounded(names.ERROR_TYPE, error)
    if operation == "dead_letter":
        _copied.add(1, attributes)
    if operation_type := _OPERATION_TYPES.get(operation):
        attributes[names.MESSAGING_OPERATION_TYPE] = operation_type
    _operation_duration.record(seconds, attributes)
