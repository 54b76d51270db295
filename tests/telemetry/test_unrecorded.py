"""A trace that nobody will see costs next to nothing, and calls for many messages are traced where one of those is."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

_START = """
import json
from opentelemetry import trace
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from relayd.model.message import Message
from relayd.telemetry import batches, otel, spans
from relayd.telemetry.calls import TracedCall

telemetry = otel.configure(version="0", instance="test", environ={})
MESSAGE = Message("m-1", "handle", "body", trace_header="Root=1-" + "1" * 8 + "-" + "2" * 24 + ";Parent=" + "3" * 16)
"""

_ONE_MESSAGE = (
    _START
    + """
asked = []
def about():
    asked.append(1)
    return {}

with spans.process_span("mail", MESSAGE, about=about) as process:
    root = trace.get_current_span()
    ids = spans.current_ids()
    with spans.step("decode") as step:
        told = spans.current_ids()
        with TracedCall("database", "claim", "db claim") as call:
            inside = trace.get_current_span()
    settle = spans.begin("settle")
    enabled = is_instrumentation_enabled()
    parent = spans.traceparent()
    spans.surprise("loop")
    spans.outcome("rejected", "too_large")
with spans.batch([settle, process.handle]):
    batch = is_instrumentation_enabled()
print(json.dumps({
    "has an id": bool(ids["trace_id"]),
    "same id in a step": ids == told,
    "recording": root.is_recording(),
    "no span for a step": step is root,
    "no span for a call": call._span is None and inside is root,
    "no span for a settlement": settle is spans.NOTHING and process.handle is spans.NOTHING,
    "asked": len(asked),
    "clients are traced": enabled,
    "a batch is traced": batch,
    "sampled": bool(int(parent[-2:], 16) & 1),
}))
"""
)

_BATCHES = (
    _START
    + """
exporter = InMemorySpanExporter()
telemetry.export_to(exporter)
tracer = trace.get_tracer("client")
batches_of = []
for number in range(200):
    settles = []
    for _ in range(3):
        with spans.process_span("mail", MESSAGE):
            settles.append(spans.begin("settle"))
    with spans.batch(settles):
        enabled = is_instrumentation_enabled()
        if enabled:
            with tracer.start_as_current_span(f"delete {number}") as span:
                batches.called(span)
    wanted = [f"{one.context.span_id:x}" for one in settles if one.context]
    batches_of.append((number, enabled, wanted))
    for one in settles:
        one.end()
calls = {
    span.name: [f"{link.context.span_id:x}" for link in span.links]
    for span in exporter.get_finished_spans() if span.name.startswith("delete")
}
print(json.dumps({"batches": batches_of, "calls": calls}))
"""
)


def run(script: str, **environ: str) -> Any:
    """In a process of its own, as only one sampler can be set in each."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=ours | environ
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    "environ",
    [{}, {"OTEL_TRACES_SAMPLER": "always_on"}, {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio"}],
    ids=["default", "always_on", "ratio"],
)
def test_without_an_exporter_only_ids_are_made(environ: dict[str, str]) -> None:
    """They join log lines; nothing is described, linked, or given to the client's instrumentation."""
    assert run(_ONE_MESSAGE, **environ) == {
        "has an id": True,
        "same id in a step": True,
        "recording": False,
        "no span for a step": True,
        "no span for a call": True,
        "no span for a settlement": True,
        "asked": 0,
        "clients are traced": False,
        "a batch is traced": False,
        "sampled": False,
    }


def test_a_batch_is_traced_if_one_of_its_messages_is() -> None:
    """A sampler that threw dice for it would leave most mails' settlements leading nowhere."""
    told = run(_BATCHES, OTEL_TRACES_SAMPLER="parentbased_traceidratio", OTEL_TRACES_SAMPLER_ARG="0.3")
    sampled = {number: wanted for number, _, wanted in told["batches"] if wanted}
    assert 80 < len(sampled) < 180
    assert {number for number, enabled, _ in told["batches"] if enabled} == set(sampled)
    assert told["calls"] == {f"delete {number}": wanted for number, wanted in sampled.items()}
