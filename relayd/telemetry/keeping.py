"""Traces that turn out to be worth having after they began: held in memory until their end, and then exported whole.

Which mask a mail is for, or that it fails, shows only when its spans are on their way, and a sampler decides before.
While `HeldTraces.recording` is on, spans of messages that the configured sampler drops are recorded all the same, not
sampled. When the message's span ends they leave, as sampled ones, if it carries `relayd.kept`; else they are forgotten.
While it is off, and no trace is held any more, the configured sampler's word is all there is.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanContext, SpanKind, TraceFlags, TraceState, get_current_span
from opentelemetry.util.types import Attributes

from relayd.telemetry import batches, names
from relayd.telemetry.scrubbing import copied

MAX_TRACES = 1_000
"""As many as RELAYD_CONCURRENCY may be."""
MAX_SPANS = 10_000
"""Of all traces: 30 MB, as measured. A mail with one recipient has a dozen."""
MAX_SPANS_OF_ONE = 500
"""A mail with fifty recipients has two hundred, and each further try of a send one more."""


@dataclass(slots=True)
class _Trace:
    """One message's."""

    open: int = 0
    """Spans that have not ended."""
    wanted: bool | None = None
    """Whether it is exported; None as long as the message's own span has not ended."""
    spans: list[ReadableSpan] = field(default_factory=list)


class HeldTraces(SpanProcessor):
    """Holds the recorded spans of messages whose traces nobody has sampled. The oldest traces go where there are too
    many.
    """

    def __init__(
        self,
        export: Callable[[ReadableSpan], None],
        *,
        max_traces: int = MAX_TRACES,
        max_spans: int = MAX_SPANS,
        max_spans_of_one: int = MAX_SPANS_OF_ONE,
    ) -> None:
        """`export` is given each span of a trace that is kept, with the flag that says that it is sampled."""
        self.recording = False
        """Whether messages' traces that begin from now on are held."""
        self._export = export
        self._max_traces = max_traces
        self._max_spans = max_spans
        self._max_spans_of_one = max_spans_of_one
        # In the order in which they began.
        self._traces: dict[int, _Trace] = {}
        self._spans = 0
        self._lock = threading.Lock()

    def takes(self, trace_id: int, attributes: Attributes) -> bool:
        """Whether a span that nobody samples is to be recorded: a message's own, or one below it."""
        if self.recording and attributes and attributes.get(names.MESSAGING_OPERATION_TYPE) == "process":
            return True
        return trace_id in self._traces

    def held(self) -> tuple[int, int]:
        """How many traces and how many ended spans are in memory."""
        with self._lock:
            return len(self._traces), self._spans

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002 - the library's
        """A span began."""
        context = span.get_span_context()
        if context is None or context.trace_flags.sampled:
            return
        with self._lock:
            if span.parent is None:
                self._traces[context.trace_id] = _Trace()
                self._let_go()
            if (trace := self._traces.get(context.trace_id)) is not None:
                trace.open += 1

    def on_end(self, span: ReadableSpan) -> None:
        """A span ended. Whatever leaves with it leaves at once, in order."""
        context = span.get_span_context()
        if context is None or context.trace_flags.sampled:
            return
        with self._lock:
            trace = self._traces.get(context.trace_id)
            leaving = [] if trace is None else self._ended(context.trace_id, trace, span)
        for one in leaving:
            self._export(_as_sampled(one))

    def _ended(self, trace_id: int, trace: _Trace, span: ReadableSpan) -> list[ReadableSpan]:
        """Put the span where it belongs, and tell what leaves."""
        trace.open -= 1
        leaving: list[ReadableSpan] = []
        if span.parent is None:
            trace.wanted = names.KEPT in (span.attributes or {})
            leaving = [*trace.spans, span] if trace.wanted else []
            self._forget(trace)
        elif trace.wanted is None and len(trace.spans) < self._max_spans_of_one:
            trace.spans.append(span)
            self._spans += 1
            self._let_go()
        elif trace.wanted:
            # What outlasts the message's own span: its settlement.
            leaving = [span]
        if trace.wanted is not None and trace.open <= 0:
            self._traces.pop(trace_id, None)
        return leaving

    def _let_go(self) -> None:
        """Of what is too much."""
        while len(self._traces) > self._max_traces or self._spans > self._max_spans:
            self._forget(self._traces.pop(next(iter(self._traces))))

    def _forget(self, trace: _Trace) -> None:
        self._spans -= len(trace.spans)
        trace.spans = []


class KeepingSampler(Sampler):
    """The configured sampler, but for traces that may yet be wanted: their spans are recorded where it drops them. And
    for calls that serve several messages at once: they are sampled where one of those is.
    """

    def __init__(self, configured: Sampler, traces: HeldTraces) -> None:
        self._configured = configured
        self._traces = traces

    def use(self, configured: Sampler) -> None:
        """Ask this one from now on."""
        self._configured = configured

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """Its decision, or to record without sampling."""
        result = self._configured.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)
        if result.decision is not Decision.DROP:
            return result
        if self._traces.takes(trace_id, attributes):
            return SamplingResult(Decision.RECORD_ONLY, attributes, result.trace_state)
        if batches.under_way(parent_context) and not get_current_span(parent_context).get_span_context().is_valid:
            return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes, result.trace_state)
        return result

    def get_description(self) -> str:
        """The configured one's: it is what decides about all other traces."""
        return self._configured.get_description()


def _as_sampled(span: ReadableSpan) -> ReadableSpan:
    """The span, with the flag that processors look at before they export."""
    context, parent = _flagged(span.get_span_context()), _flagged(span.parent)
    return copied(span, context, parent, span.attributes, span.events, span.status)


def _flagged(context: SpanContext | None) -> SpanContext | None:
    if context is None:
        return None
    flags = TraceFlags(context.trace_flags | TraceFlags.SAMPLED)
    return SpanContext(context.trace_id, context.span_id, context.is_remote, flags, context.trace_state)
