"""Traces that are kept though nobody sampled them: whole, or not at all, in bounded memory, and free while unused."""

import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, SynchronousMultiSpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, DEFAULT_OFF, ParentBased, Sampler, TraceIdRatioBased
from opentelemetry.trace import Link, Span, SpanContext, Status, StatusCode, TraceFlags

from relayd.telemetry import names
from relayd.telemetry.keeping import HeldTraces, KeepingSampler
from relayd.telemetry.scrubbing import ScrubbingExporter
from tests.process.collector import Collector

MESSAGE = {names.MESSAGING_OPERATION_TYPE: "process"}
SAMPLERS: list[Sampler] = [
    ALWAYS_ON,
    ALWAYS_OFF,
    DEFAULT_OFF,
    TraceIdRatioBased(0.5),
    ParentBased(TraceIdRatioBased(0.5)),
]


@dataclass
class Tracing:
    """A provider of its own, with the sampler that was configured for it."""

    configured: Sampler = field(default_factory=lambda: ALWAYS_OFF)
    recording: bool = True
    limits: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        processors = SynchronousMultiSpanProcessor()  # type: ignore[no-untyped-call]
        self.held = HeldTraces(processors.on_end, **self.limits)
        self.held.recording = self.recording
        self.sampler = KeepingSampler(self.configured, self.held)
        self.provider = TracerProvider(self.sampler, shutdown_on_exit=False, active_span_processor=processors)
        self.provider.add_span_processor(self.held)
        self.exporter = InMemorySpanExporter()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = self.provider.get_tracer("test")

    @contextmanager
    def message(self) -> Iterator[Span]:
        with self.tracer.start_as_current_span("process", context=Context(), attributes=MESSAGE) as root:
            yield root

    def step(self, name: str) -> None:
        with self.tracer.start_as_current_span(name):
            pass

    def exported(self) -> list[ReadableSpan]:
        return list(self.exporter.get_finished_spans())

    def names(self) -> list[str]:
        return [span.name for span in self.exported()]


def keep(span: Span) -> None:
    span.set_attribute(names.KEPT, "traced")


def sampled(span: ReadableSpan) -> bool:
    context = span.get_span_context()
    return context is not None and context.trace_flags.sampled


@pytest.mark.parametrize("configured", SAMPLERS, ids=lambda sampler: sampler.get_description()[:30])
def test_while_off_the_configured_sampler_decides_alone(configured: Sampler) -> None:
    """Its very answers are handed on, nothing more is recorded than without us, and nothing is held."""
    answers = []

    class Noting(Sampler):
        def should_sample(self, *args: object, **named: object) -> object:  # type: ignore[override]
            answers.append(configured.should_sample(*args, **named))  # type: ignore[arg-type]
            return answers[-1]

        def get_description(self) -> str:
            return "noting"

    tracing = Tracing(Noting(), recording=False)
    drawn = random.Random(1)
    for _ in range(50):
        trace_id = drawn.getrandbits(128)
        answer = tracing.sampler.should_sample(None, trace_id, "process", attributes=MESSAGE)
        assert answer is answers[-1]
    for _ in range(50):
        with tracing.message() as root:
            keep(root)
            tracing.step("decide")
            chosen = root.get_span_context().trace_flags.sampled
            assert root.is_recording() is chosen
            assert tracing.held.held() == (0, 0)
        assert len(tracing.exported()) == 2 * chosen
        tracing.exporter.clear()
    assert tracing.sampler.get_description() == "noting"


def test_a_trace_that_is_wanted_leaves_whole() -> None:
    """Flagged as sampled, in the order in which the spans ended, the settlement that ends later included; with all that
    they carry.
    """
    tracing = Tracing()
    other = SpanContext(7, 8, is_remote=True, trace_flags=TraceFlags(1))
    with tracing.message() as root:
        tracing.step("decode")
        with tracing.tracer.start_as_current_span("decide", links=[Link(other)]) as decide:
            decide.set_attribute("a", 1)
            decide.add_event("noted", {"b": 2})
            decide.set_status(Status(StatusCode.ERROR))
            keep(root)
        settle = tracing.tracer.start_span("settle")
        assert tracing.names() == []
    assert tracing.names() == ["decode", "decide", "process"]
    thread = threading.Thread(target=settle.end)
    thread.start()
    thread.join()
    assert tracing.names() == ["decode", "decide", "process", "settle"]
    assert tracing.held.held() == (0, 0)
    by_name = {span.name: span for span in tracing.exported()}
    assert all(sampled(span) for span in by_name.values())
    told = by_name["decide"]
    assert (dict(told.attributes or {}), told.status.status_code) == ({"a": 1}, StatusCode.ERROR)
    assert [link.context for link in told.links] == [other]
    assert [(event.name, dict(event.attributes or {})) for event in told.events] == [("noted", {"b": 2})]
    assert (told.start_time, told.end_time) == (decide.start_time, decide.end_time)  # type: ignore[attr-defined]
    assert told.parent is not None
    assert told.parent.span_id == root.get_span_context().span_id
    assert {span.get_span_context().trace_id for span in by_name.values()} == {  # type: ignore[union-attr]
        root.get_span_context().trace_id
    }


def test_a_trace_that_nobody_wants_is_forgotten() -> None:
    """With what ends after it."""
    tracing = Tracing()
    with tracing.message():
        tracing.step("decode")
        settle = tracing.tracer.start_span("settle")
        assert tracing.held.held() == (1, 1)
    assert tracing.held.held() == (1, 0)
    settle.end()
    assert (tracing.exported(), tracing.held.held()) == ([], (0, 0))


def test_a_sampled_trace_is_exported_once() -> None:
    """Wanted or not, it goes the ordinary way."""
    tracing = Tracing(ALWAYS_ON)
    with tracing.message() as root:
        keep(root)
        tracing.step("decode")
        assert tracing.held.held() == (0, 0)
    assert tracing.names() == ["decode", "process"]


def test_a_ratio_keeps_its_share_and_what_is_wanted() -> None:
    """Half are sampled, every tenth is wanted; each trace that leaves is whole and comes once."""
    tracing = Tracing(ParentBased(TraceIdRatioBased(0.5)))
    expected = set()
    for number in range(200):
        with tracing.message() as root:
            tracing.step("decode")
            wanted = number % 10 == 0
            if wanted:
                keep(root)
            context = root.get_span_context()
            if wanted or context.trace_flags.sampled:
                expected.add(context.trace_id)
    exported = [span.get_span_context().trace_id for span in tracing.exported()]  # type: ignore[union-attr]
    assert set(exported) == expected
    assert len(exported) == 2 * len(expected)
    assert 60 < len(expected) < 160


def test_only_messages_are_recorded() -> None:
    """Probes, chores and receives have traces of their own that nobody would ask for."""
    tracing = Tracing()
    with tracing.tracer.start_as_current_span("probe", context=Context()) as probe:
        keep(probe)
        tracing.step("S3.HeadBucket")
    assert not probe.is_recording()
    assert (tracing.exported(), tracing.held.held()) == ([], (0, 0))


def test_a_message_that_began_before_is_left_alone_and_one_that_began_meanwhile_is_kept_whole() -> None:
    """Half a trace would be worse than none."""
    tracing = Tracing(recording=False)
    with tracing.message() as early:
        tracing.held.recording = True
        keep(early)
        tracing.step("decode")
    assert (tracing.exported(), tracing.held.held()) == ([], (0, 0))
    with tracing.message() as late:
        tracing.held.recording = False
        keep(late)
        tracing.step("decode")
    assert tracing.names() == ["decode", "process"]


def test_the_oldest_traces_go_where_there_are_too_many() -> None:
    """Spans that never end cannot fill the memory: the newest messages are still held whole."""
    tracing = Tracing(limits={"max_traces": 3})
    stuck = [tracing.tracer.start_span("process", context=Context(), attributes=MESSAGE) for _ in range(50)]
    assert tracing.held.held() == (3, 0)
    with tracing.message() as root:
        keep(root)
        tracing.step("decode")
    assert tracing.names() == ["decode", "process"]
    for one in stuck:
        keep(one)
        one.end()
    assert tracing.names() == ["decode", "process", "process", "process"]
    assert tracing.held.held() == (0, 0)


def test_spans_are_bounded_for_one_trace_and_for_all() -> None:
    """A trace of a thousand steps keeps its first ones and its root; many traces make room for the newest."""
    tracing = Tracing(limits={"max_spans_of_one": 10, "max_spans": 25})
    with tracing.message() as root:
        keep(root)
        for number in range(1000):
            tracing.step(f"step {number}")
        assert tracing.held.held() == (1, 10)
    assert tracing.names() == [*(f"step {number}" for number in range(10)), "process"]
    tracing.exporter.clear()
    roots = [tracing.tracer.start_span("process", context=Context(), attributes=MESSAGE) for _ in range(5)]
    for root in roots:
        context = trace_context(root)
        for _ in range(10):
            tracing.tracer.start_span("step", context=context).end()
        assert tracing.held.held()[1] <= 25
    for root in roots:
        keep(root)
        root.end()
    assert tracing.names() == [*["step"] * 10, "process", *["step"] * 10, "process"]
    assert tracing.held.held() == (0, 0)


def trace_context(span: Span) -> Context:
    from opentelemetry.trace import set_span_in_context

    return set_span_in_context(span, Context())


def test_threads_do_not_mix_their_messages() -> None:
    """Eight workers, and settlements that end elsewhere: every wanted trace is whole, no other leaves a span."""
    tracing = Tracing()
    wanted: set[int] = set()

    def work(seed: int) -> None:
        drawn = random.Random(seed)
        for _ in range(100):
            with tracing.message() as root:
                tracing.step("decode")
                if drawn.random() < 0.3:
                    keep(root)
                    wanted.add(root.get_span_context().trace_id)
                settle = tracing.tracer.start_span("settle")
            threading.Thread(target=settle.end).start() if drawn.random() < 0.2 else settle.end()

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert eventually_empty(tracing)
    by_trace: dict[int, list[str]] = {}
    for span in tracing.exported():
        by_trace.setdefault(span.get_span_context().trace_id, []).append(span.name)  # type: ignore[union-attr]
    assert set(by_trace) == wanted
    assert {tuple(sorted(found)) for found in by_trace.values()} == {("decode", "process", "settle")}


def eventually_empty(tracing: Tracing) -> bool:
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join(5)
    return tracing.held.held() == (0, 0)


def test_what_is_kept_is_scrubbed_like_all_else() -> None:
    """It goes through the same batches and the same exporter: no text of an error, no address."""
    tracing = Tracing()
    inner = InMemorySpanExporter()
    batches = BatchSpanProcessor(ScrubbingExporter(inner))
    tracing.provider.add_span_processor(batches)
    with tracing.message() as root:
        keep(root)
        with tracing.tracer.start_as_current_span("SESv2.SendEmail") as call:
            call.set_attribute("who", "to me@example.org")
            call.record_exception(ValueError("Subject: hello"))
            call.set_status(Status(StatusCode.ERROR, "me@example.org"))
    batches.force_flush()
    call_told, root_told = inner.get_finished_spans()
    assert root_told.name == "process"
    assert dict(call_told.attributes or {}) == {"who": "to [address]", "error.type": "ValueError"}
    assert call_told.status.description is None
    assert [dict(event.attributes or {}) for event in call_told.events] == [{"exception.type": "ValueError"}]
    batches.shutdown()  # type: ignore[no-untyped-call]


_SCRIPT = """
import json
from relayd.model.message import Message
from relayd.telemetry import otel, spans
telemetry = otel.configure(version="1", instance="pod-1")
MESSAGE = Message("m-1", "handle", "body")
told = {}

def message(name, outcome="accepted", reason=None, error=False, **how):
    try:
        with spans.process_span(name, MESSAGE, **how):
            with spans.step("decide"):
                if reason:
                    spans.keep(reason)
                    spans.keep("another")
            told[name] = spans.traceparent()
            if error:
                raise ValueError
            spans.outcome(outcome, "why")
    except ValueError:
        pass

message("off", reason="traced")
telemetry.record_unsampled(True)
message("traced", reason="traced")
message("ordinary")
message("rejected", outcome="rejected")
message("deferred", outcome="deferred")
message("slow", slow_seconds=0.0)
message("bug", error=True)
spans.keep("nobody's")
telemetry.record_unsampled(False)
message("over", reason="traced")
telemetry.shutdown(10)
print(json.dumps(told))
"""


@pytest.mark.parametrize("sampler", ["always_off", "always_on"])
def test_what_is_kept_and_why(sampler: str) -> None:
    """What was asked for, what was rejected, what was slow and what met a bug, as soon as messages are recorded at all;
    the first reason stands on the root. Where the sampler takes everything, nothing is marked.
    """
    collector = Collector()
    environ = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    environ |= {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_TRACES_SAMPLER": sampler,
    }
    done = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, text=True, check=True, env=environ)
    collector.close()
    roots = {span.name.removeprefix("process "): span for span in collector.spans() if not span.parent_span_id}
    kept = {
        name: [one.value.string_value for one in span.attributes if one.key == names.KEPT]
        for name, span in roots.items()
    }
    flags = {name: parent.rpartition("-")[2] for name, parent in json.loads(done.stdout).items()}
    if sampler == "always_on":
        assert (len(kept), set(map(tuple, kept.values()))) == (8, {()})
        return
    assert kept == {"traced": ["traced"], "rejected": ["rejected"], "slow": ["slow"], "bug": ["bug"]}
    for name, span in roots.items():
        steps = [one for one in collector.spans() if one.parent_span_id == span.span_id]
        assert [(one.name, one.trace_id) for one in steps] == [("decide", span.trace_id)], name
    # The ledger keeps it: an attempt that links to this one says rightly that it can be found.
    sampled_flags = {name for name, flag in flags.items() if int(flag, 16) & 1}
    assert sampled_flags == {"traced"}
