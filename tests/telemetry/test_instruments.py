"""What is counted: under the names, units and labels that the catalogue promises, and in few time series."""

import inspect
import random
import string
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from relayd.errors import TransientError
from relayd.telemetry import instruments, names, watched
from relayd.telemetry.calls import Call, QueueCall
from relayd.telemetry.catalogue import INSTRUMENTS, prometheus_label, prometheus_name
from relayd.telemetry.otel import Telemetry, configure
from relayd.telemetry.words import MOST_WORDS, OTHER

ROOT = Path(__file__).parent.parent.parent
STANDARD = ("process_", "target_info")
"""What Prometheus's own library says of a process, and OpenTelemetry's of the resource."""


def families(telemetry: Telemetry) -> dict[str, Metric]:
    """By the name that /metrics has them under."""
    found = text_string_to_metric_families(telemetry.metrics_text().decode())
    return {f"{one.name}_total" if one.type == "counter" else one.name: one for one in found}


def value(telemetry: Telemetry, name: str, **labels: str) -> float:
    """Of one sample; 0 where there is none."""
    for family in families(telemetry).values():
        for sample in family.samples:
            # As Prometheus has it: a label that is not there is empty.
            if sample.name == name and all(sample.labels.get(label, "") == found for label, found in labels.items()):
                return float(sample.value)
    return 0.0


def count_everything() -> None:
    """Something of each kind."""
    instruments.begin("mail", "events")
    instruments.messages_consumed(2, "incoming")
    instruments.message_taken("mail", 1.5)
    instruments.message_settled("mail", "incoming", "rejected", "no_such_thing", 0.2)
    instruments.delivery("sent", "forwarded")
    instruments.mail_fetched(10_000)
    instruments.mail_sent("forward", 12_000, 0.7)
    instruments.verdicts({"spam": "GRAY", "virus": "PASS"})
    instruments.trackers(2)
    instruments.feedback("bounce", matched=True, bounce_type="Permanent")
    instruments.alert("suppressed")
    instruments.notice("mask_disabled", "sent")
    instruments.in_doubt("doubt")
    instruments.duplicate("claimed")
    instruments.leases_extended("mail", 1)
    instruments.leases_lost("mail", 1)
    instruments.settlement_failed("mail", "delete", "lease_gone")
    instruments.pruned(3)
    instruments.breaker("mail", "s3", "open")
    instruments.pace_waited(0.5)
    instruments.connection_waited(0.001)
    with Call("s3", "fetch"):
        pass
    with suppress(TransientError), QueueCall("dead_letter", "dead"):
        raise TransientError("queue_timeout")
    with QueueCall("receive", "incoming"):
        pass


def watch_everything() -> None:
    """Each gauge, with every label that it has."""
    for name, made in INSTRUMENTS.items():
        if made.kind in ("gauge", "sum"):
            by, *fixed = list(made.labels) or [""]
            figures = {"open" if by else "": 3.0}
            watched.watch(name, partial(dict, figures), by, **dict.fromkeys(fixed, "mail"))


def test_every_instrument_is_served_as_the_catalogue_says(telemetry: Telemetry) -> None:
    """/metrics shows what dashboards and alerts ask for, and nothing that nobody explained: name, kind and labels."""
    count_everything()
    watch_everything()
    served = {name: one for name, one in families(telemetry).items() if not name.startswith(STANDARD)}
    assert set(served) == {prometheus_name(name) for name in INSTRUMENTS}
    for name, made in INSTRUMENTS.items():
        family = served[prometheus_name(name)]
        assert family.type == {"sum": "gauge"}.get(made.kind, made.kind), name
        labels = {label for sample in family.samples for label in sample.labels if label != "le"}
        assert labels == {prometheus_label(label) for label in made.labels}, name


def test_histograms_have_boundaries_that_suit_their_unit(telemetry: Telemetry) -> None:
    """The library's own begin at 5 and end at 10 000, which are milliseconds."""
    count_everything()
    for name, made in INSTRUMENTS.items():
        if made.kind == "histogram":
            family = families(telemetry)[prometheus_name(name)]
            bounds = {float(sample.labels["le"]) for sample in family.samples if "le" in sample.labels}
            assert bounds == {*made.boundaries, float("inf")}, name


def test_what_alerts_wait_for_is_there_before_it_happens(telemetry: Telemetry) -> None:
    """A counter that appears with its first event has not risen, as far as Prometheus can see."""
    instruments.begin("mail", "events")
    samples = [sample for family in families(telemetry).values() for sample in family.samples]
    there = {(sample.name, *sorted(sample.labels.items())) for sample in samples}
    assert ("relayd_leases_total", ("event", "lost"), ("queue", "events")) in there
    assert ("relayd_in_doubt_total", ("event", "given_up")) in there
    assert ("relayd_alerts_total", ("word", "suppressed")) in there
    assert ("relayd_deliveries_total", ("reason", "unknown_mask"), ("state", "discarded")) in there


def test_what_went_wrong_is_told_by_its_word(telemetry: Telemetry) -> None:
    """Each call in one histogram for all dependencies; calls to SQS also by the conventions."""
    before = value(
        telemetry, "relayd_dependency_duration_seconds_count", operation="delete", error_type="queue_timeout"
    )
    with suppress(TransientError), QueueCall("delete", "incoming"):
        raise TransientError("queue_timeout", "me@example.org")
    told = {"operation": "delete", "dependency": "queue", "error_type": "queue_timeout"}
    assert value(telemetry, "relayd_dependency_duration_seconds_count", **told) == before + 1
    told = {
        "messaging_operation_name": "delete",
        "messaging_operation_type": "settle",
        "messaging_destination_name": "incoming",
        "error_type": "queue_timeout",
    }
    assert value(telemetry, "messaging_client_operation_duration_seconds_count", **told) == before + 1
    assert "example.org" not in telemetry.metrics_text().decode()


@pytest.mark.parametrize(
    ("outcome", "reason", "failed"),
    [
        ("accepted", "unknown_mask", False),
        ("released", "s3_unavailable", False),
        ("deferred", "ses_paced", False),
        ("deferred", "claimed_elsewhere", False),
        ("deferred", "ses_timeout", True),
        ("rejected", "too_large", True),
        ("abandoned", "lease_lost", True),
    ],
)
def test_what_only_waits_has_not_failed(telemetry: Telemetry, outcome: str, reason: str, failed: bool) -> None:
    """Or an hour at SES's pace would look like an hour of failures."""
    name = "messaging_process_duration_seconds_count"
    before = value(telemetry, name, error_type=reason)
    instruments.message_settled("mail", "incoming", outcome, reason, 0.1)
    assert value(telemetry, name, error_type=reason) == before + failed
    assert value(telemetry, "relayd_messages_total", outcome=outcome, reason=reason, queue="mail") >= 1


def test_bounces_are_told_apart(telemetry: Telemetry) -> None:
    """SES holds an account to the permanent ones alone."""
    name = "relayd_feedback_total"
    before = {
        kind: value(telemetry, name, kind="bounce", type=kind, matched="true") for kind in ("permanent", "undetermined")
    }
    instruments.feedback("bounce", matched=True, bounce_type="Permanent")
    instruments.feedback("bounce", matched=True, bounce_type="Something new")
    for kind, count in before.items():
        assert value(telemetry, name, kind="bounce", type=kind, matched="true") == count + 1
    instruments.feedback("complaint", matched=False, bounce_type="abuse")
    assert value(telemetry, name, kind="complaint", type="", matched="false") >= 1


def test_a_clock_that_runs_ahead_gives_no_negative_time(telemetry: Telemetry) -> None:
    """SQS's clock and ours differ, and so do SES's; a histogram must not get less than nothing."""
    names_ = ("relayd_queue_time_seconds_sum", "relayd_mail_duration_seconds_sum")
    before = [value(telemetry, name) for name in names_]
    instruments.message_taken("mail", -5.0)
    instruments.mail_sent("forward", 1, -5.0)
    assert [value(telemetry, name) for name in names_] == before


def test_a_gauge_that_cannot_be_told_leaves_the_others_alone(telemetry: Telemetry) -> None:
    """A bug behind one of them must not take /metrics away when it is needed most."""

    def broken() -> dict[str, float]:
        raise KeyError("bug")

    watched.watch(names.SLOTS, broken, queue="mail")
    watched.watch(names.IN_FLIGHT, lambda: {"": 7.0}, queue="mail")
    assert value(telemetry, "relayd_in_flight", queue="mail") == 7
    assert value(telemetry, "relayd_slots", queue="mail") == 0


def hostile(rng: random.Random) -> str:
    """What a stranger might get to stand where a word is meant."""
    kind = rng.randrange(4)
    if kind == 0:
        return f"{rng.randrange(10**9)}@example.org"
    if kind == 1:
        return "x" * rng.randrange(65, 5000)
    if kind == 2:
        return "".join(chr(rng.randrange(0x2000)) for _ in range(rng.randrange(1, 40)))
    # Words, as many as one likes: nothing about each of them is wrong.
    return "".join(rng.choices(string.ascii_lowercase, k=12))


def _call(word: str) -> None:
    with suppress(TransientError), Call("ses", word):
        raise TransientError(word)


def _queue_call(word: str) -> None:
    with suppress(TransientError), QueueCall(word, "incoming"):
        raise TransientError(word)


_TAKES_WORDS: dict[str, Callable[[str], object]] = {
    "message_settled": lambda word: instruments.message_settled("mail", "incoming", "rejected", word, 0.1),
    "delivery": lambda word: instruments.delivery("failed", word),
    "alert": instruments.alert,
    "notice": lambda word: instruments.notice(word, word),
    "settlement_failed": lambda word: instruments.settlement_failed("mail", "delete", word),
    "feedback": lambda word: instruments.feedback("bounce", matched=True, bounce_type=word),
    "call_ended": _call,
    "queue_call_ended": _queue_call,
}
_TRUSTED = {
    "begin": "engines",
    "messages_consumed": "the queue's name",
    "message_taken": "an engine",
    "verdicts": "Verdicts.by_name, whose values wire/ses reads into a fixed set",
    "breaker": "a Dependency and a State",
    "is_failure": "no instrument",
}
"""Functions whose texts cannot come from outside: their types say so, or the configuration does."""


def test_every_function_that_takes_a_word_is_attacked() -> None:
    """A new one must be put into the table above, or be said why not."""

    def takes_words(function: Callable[..., Any]) -> bool:
        return any("str" in str(one.annotation) for one in inspect.signature(function).parameters.values())

    functions = inspect.getmembers(instruments, inspect.isfunction)
    ours = {name for name, one in functions if one.__module__ == instruments.__name__ and not name.startswith("_")}
    asking = {name for name in ours if takes_words(getattr(instruments, name))}
    assert asking <= {*_TAKES_WORDS, *_TRUSTED}
    assert {*_TAKES_WORDS} <= ours


def attack_everything() -> str:
    """/metrics after every instrument was given nothing but such words, and one that is known afterwards."""
    telemetry = configure(version="0", instance="test", environ={})
    instruments.begin("mail", "events")
    rng = random.Random(7)
    for _ in range(3 * MOST_WORDS):
        for attack in _TAKES_WORDS.values():
            attack(hostile(rng))
    instruments.delivery("sent", "forwarded")
    return telemetry.metrics_text().decode()


def test_no_sender_can_make_time_series_without_end() -> None:
    """Whatever is thrown at every instrument, its labels stay words, few of them, and nobody's address is among them.
    (In a process of its own: nobody else is to have these words.)
    """
    script = "from tests.telemetry.test_instruments import attack_everything; print(attack_everything())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    kinds: dict[tuple[str, str], set[str]] = {}
    for family in text_string_to_metric_families(done.stdout):
        for sample in family.samples:
            for label, found in sample.labels.items():
                kinds.setdefault((sample.name, label), set()).add(found)
    assert len(kinds) > len(_TAKES_WORDS)
    for (name, label), words in kinds.items():
        assert len(words) <= MOST_WORDS + 2, (name, label)
        assert all(len(word) <= 64 for word in words if not name.startswith(STANDARD))
    assert "@" not in done.stdout
    assert OTHER in kinds["relayd_deliveries_total", "reason"]
    # What was known before goes on to be counted by its name.
    assert 'relayd_deliveries_total{reason="forwarded",state="sent"} 1.0' in done.stdout
