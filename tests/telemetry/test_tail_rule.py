"""Which traces the collector keeps: the collector.yaml of deploy/observability, asked about the engine's traces."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from relayd.errors import PermanentError, TransientError
from tests.engine.world import World, notification
from tests.telemetry.test_message_traces import named, run

CONFIGURATION = Path(__file__).parent.parent.parent / "deploy" / "observability" / "collector.yaml"


def policies() -> list[dict[str, Any]]:
    config = yaml.safe_load(CONFIGURATION.read_text())
    found: list[dict[str, Any]] = config["processors"]["tail_sampling"]["policies"]
    return found


def takes(policy: Mapping[str, Any], spans: Sequence[ReadableSpan]) -> bool:
    """What the collector's documentation says of these kinds."""
    match policy["type"]:
        case "status_code":
            return any(span.status.status_code.name in policy["status_code"]["status_codes"] for span in spans)
        case "latency":
            begin, end = min(span.start_time or 0 for span in spans), max(span.end_time or 0 for span in spans)
            return bool((end - begin) / 1e6 >= policy["latency"]["threshold_ms"])
        case "string_attribute":
            rule = policy["string_attribute"]
            assert rule["enabled_regex_matching"]
            values = [str(value) for span in spans if (value := (span.attributes or {}).get(rule["key"])) is not None]
            return any(re.search(pattern, value) for pattern in rule["values"] for value in values)
        case "probabilistic":
            # A share of all: none is kept for what it is.
            return False
    raise AssertionError(policy["type"])


def kept(spans: Sequence[ReadableSpan]) -> set[str]:
    """By which policies the first try's trace is kept, apart from the share of all."""
    root = next(span for span in spans if span.name == "process mail")
    assert root.context
    trace = [span for span in spans if span.context and span.context.trace_id == root.context.trace_id]
    return {policy["name"] for policy in policies() if takes(policy, trace)}


def forwarded(world: World) -> None:
    world.mail("ordinary")


def unknown(world: World) -> None:
    world.mail("unknown", body=notification("unknown", ("nobody@mask.example",)))


def nobodys(world: World) -> None:
    world.mail("odd", body=notification("odd", ("other@elsewhere.example",)))


def tried_again(world: World) -> None:
    world.mailer.fail_with(TransientError("ses_unavailable", dependency="ses"))
    world.mail("again")


def refused(world: World) -> None:
    world.mailer.fail_with(PermanentError("ses_rejected"))
    world.mail("refused")


def waiting(world: World) -> None:
    world.mailer.fail_with(TransientError("ses_paced", charged=False))
    world.mail("waits")


@pytest.mark.parametrize(
    ("what", "by"),
    [
        (forwarded, set()),
        (unknown, set()),
        (waiting, set()),
        (nobodys, {"surprises"}),
        (tried_again, {"errors"}),
        (refused, {"errors"}),
    ],
)
def test_what_was_not_meant_is_kept(
    exported: InMemorySpanExporter, what: Callable[[World], None], by: set[str]
) -> None:
    """Errors and surprising discards; of what was meant to be, and of what only waits, a share."""
    world = World()
    what(world)
    run(world)
    assert kept(exported.get_finished_spans()) == by


@pytest.mark.parametrize(("seconds", "by"), [(4.5, set()), (6.0, {"slow"})])
def test_a_slow_mail_is_kept(exported: InMemorySpanExporter, seconds: float, by: set[str]) -> None:
    """However well it went."""
    world = World()
    forwarded(world)
    run(world)
    spans = list(exported.get_finished_spans())
    (root,) = named(exported, "process mail")
    began = (root.end_time or 0) - int(seconds * 1e9)
    earlier = ReadableSpan(root.name, root.context, status=root.status, start_time=began, end_time=root.end_time)
    assert kept([earlier if span is root else span for span in spans]) == by
