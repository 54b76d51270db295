"""Counters and histograms, one function for each thing that happens. Labels have few values, and none is personal."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from time import perf_counter
from typing import Literal

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Observation

from relayd.errors import Dependency, RelaydError
from relayd.telemetry import names

CALL_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0)
"""Bucket boundaries; the library's own suit milliseconds. They go as far as timeouts and deadlines do."""
QUEUE_SECONDS = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0)

_WORD = re.compile(r"[A-Za-z0-9_.:-]{1,64}")

_SQS = {names.MESSAGING_SYSTEM: "aws_sqs"}
_DONE = ("accepted", "released")
"""Outcomes that are not failures of the message."""

_meter = metrics.get_meter(names.SCOPE)


def _counter(name: str, unit: str) -> metrics.Counter:
    return _meter.create_counter(name, unit=unit, description=names.INSTRUMENTS[name])


def _histogram(name: str, boundaries: tuple[float, ...]) -> metrics.Histogram:
    return _meter.create_histogram(
        name, unit="s", description=names.INSTRUMENTS[name], explicit_bucket_boundaries_advisory=boundaries
    )


_consumed = _counter(names.CONSUMED, "{message}")
_deliveries = _counter(names.DELIVERIES, "{delivery}")
_messages = _counter(names.MESSAGES, "{message}")
_leases = _counter(names.LEASES, "{lease}")
_in_doubt = _counter(names.IN_DOUBT, "{delivery}")
_feedback = _counter(names.FEEDBACK, "{event}")
_alerts = _counter(names.ALERTS, "{alert}")
_notices = _counter(names.NOTICES, "{notice}")
_verdicts = _counter(names.VERDICTS, "{mail}")
_trackers = _counter(names.TRACKERS, "{tracker}")
_process_duration = _histogram(names.PROCESS_DURATION, CALL_SECONDS)
_operation_duration = _histogram(names.OPERATION_DURATION, CALL_SECONDS)
_dependency_duration = _histogram(names.DEPENDENCY_DURATION, CALL_SECONDS)
_queue_time = _histogram(names.QUEUE_TIME, QUEUE_SECONDS)

_breaker_changes = _counter(names.BREAKER_CHANGES, "{change}")

_in_flight_sources: list[Callable[[], int]] = []
_gauge_sources: dict[str, Callable[[], Mapping[str, float]]] = {}


def _observe_in_flight(_options: CallbackOptions) -> Iterable[Observation]:
    return [Observation(sum(source() for source in _in_flight_sources))]


_meter.create_observable_gauge(
    names.IN_FLIGHT, [_observe_in_flight], unit="{message}", description=names.INSTRUMENTS[names.IN_FLIGHT]
)


def _watched(name: str, unit: str) -> None:
    def observe(_options: CallbackOptions) -> Iterable[Observation]:
        source = _gauge_sources.get(name)
        found = source() if source is not None else {}
        return [Observation(value, {"dependency": label} if label else {}) for label, value in found.items()]

    _meter.create_observable_gauge(name, [observe], unit=unit, description=names.INSTRUMENTS[name])


_watched(names.LIMIT, "{message}")
_watched(names.BREAKER, "1")
_watched(names.MEMORY_RESERVED, "By")
_watched(names.PACE, "{mail}/s")


def watch(name: str, source: Callable[[], Mapping[str, float]]) -> None:
    """Ask `source` at each collection for a gauge's values, by dependency; the key is empty where there is but one."""
    _gauge_sources[name] = source


def breaker(dependency: str, state: str) -> None:
    """A dependency's breaker changed to this state."""
    _breaker_changes.add(1, {"dependency": label(dependency), "state": label(state)})


def messages_consumed(count: int) -> None:
    """So many messages came with one receive."""
    _consumed.add(count, _SQS)


def message_settled(queue: str, outcome: str, reason: str, seconds: float, waited: float | None = None) -> None:
    """A message was settled after `seconds` of work, having `waited` in the queue since it was sent."""
    failed = {} if outcome in _DONE else {names.ERROR_TYPE: label(reason)}
    _messages.add(1, {"outcome": label(outcome), "reason": label(reason)})
    _process_duration.record(seconds, _SQS | {names.MESSAGING_DESTINATION: queue} | failed)
    if waited is not None:
        # The sender's clock may be ahead of ours: never below zero.
        _queue_time.record(max(0.0, waited))


def delivery(state: str, reason: str) -> None:
    """A delivery of a message ended, or was left open."""
    _deliveries.add(1, {"state": label(state), "reason": label(reason)})


def leases_extended(count: int) -> None:
    """So many leases were extended by one call."""
    _leases.add(count, {"event": "extended"})


def leases_lost(count: int) -> None:
    """So many leases ended while their messages were in hand."""
    _leases.add(count, {"event": "lost"})


def in_doubt(event: Literal["doubt", "resend", "given_up"]) -> None:
    """A send whose end is not known came up, was repeated, or was given up."""
    _in_doubt.add(1, {"event": event})


def feedback(kind: str, *, matched: bool) -> None:
    """An event of SES was learned from; `matched`: about a delivery that the ledger knows."""
    _feedback.add(1, {"kind": label(kind), "matched": matched})


def alert(word: str) -> None:
    """Something that an operator should look into came up."""
    _alerts.add(1, {"word": label(word)})


def notice(kind: str, outcome: str) -> None:
    """A notice to an owner was sent, or never will be."""
    _notices.add(1, {"kind": label(kind), "outcome": label(outcome)})


def verdicts(found: Mapping[str, str]) -> None:
    """What SES found about a mail, by the verdict's name. PASS is the rule, and every mail is counted anyway."""
    for name, word in found.items():
        if word != "PASS":
            _verdicts.add(1, {"verdict": label(name), "status": label(word.lower())})


def trackers(count: int) -> None:
    """So many trackers were taken out of a mail that was sent."""
    if count:
        _trackers.add(count)


def watch_in_flight(source: Callable[[], int]) -> Callable[[], None]:
    """Ask `source` at each collection how many messages are in hand. Returns what stops the asking."""
    _in_flight_sources.append(source)
    return lambda: _in_flight_sources.remove(source)


@contextmanager
def measure(dependency: Dependency, operation: str) -> Iterator[None]:
    """Time one call to a dependency, failed or not."""
    began = perf_counter()
    failed: dict[str, str] = {}
    try:
        yield
    except BaseException as error:
        failed = {names.ERROR_TYPE: error_type(error)}
        raise
    finally:
        seconds = perf_counter() - began
        _dependency_duration.record(seconds, {"dependency": dependency, "operation": label(operation)} | failed)
        if dependency == "queue":
            _operation_duration.record(seconds, _SQS | {names.MESSAGING_OPERATION: label(operation)} | failed)


def error_type(error: BaseException) -> str:
    """What may be told about an error in one word: our reason, else its type."""
    return label(error.reason) if isinstance(error, RelaydError) else type(error).__name__


def label(word: str) -> str:
    """The word, if it is one: a text that slipped in would be a new time series each time, and may be personal."""
    return word if _WORD.fullmatch(word) else "other"
