"""A message's way as spans. Only these functions start spans, so that none is named twice or ends in a wrong place."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from relayd.errors import Dependency
from relayd.model.message import Message
from relayd.telemetry import instruments, names
from relayd.telemetry.instruments import error_type, label

measure = instruments.measure
"""Time a call to a dependency without a span of its own: the instrumented client makes one."""

tracer = trace.get_tracer(names.SCOPE)

Attribute = str | int | float | bool

_W3C = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.{0,200})?")
_XRAY = re.compile(r"Root=1-([0-9a-f]{8})-([0-9a-f]{24})(?:;.*?)?;Parent=([0-9a-f]{16})")
_PROCESS_KEY = otel_context.create_key("relayd-process-span")


class ProcessSpan:
    """The root span of one try of one message."""

    def __init__(self, span: Span) -> None:
        self._span = span
        self._linked: set[tuple[int, int]] = set()

    def link(self, other: str | None) -> None:
        """Link to another trace, by its traceparent or X-Ray header. Anything else is no link, nor is a second time."""
        context = _remote_end(other)
        if context is not None and (context.trace_id, context.span_id) not in self._linked:
            self._linked.add((context.trace_id, context.span_id))
            self._span.add_link(context)

    def ended(self, outcome: str, reason: str) -> None:
        """Say how the try ended."""
        self._span.set_attributes({names.OUTCOME: outcome, names.REASON: label(reason)})
        if outcome in _FAILED:
            _fail(self._span, reason)


_FAILED = ("rejected", "deferred")


@contextmanager
def process_span(queue_name: str, message: Message, producer: str | None = None) -> Iterator[ProcessSpan]:
    """The root span of one try of one message, current while it lasts.

    It links to its producer and never has it as a parent: a parent that was not sampled (X-Ray's, say) would switch
    recording off. A producer that is known only after decoding is added with `link`.
    """
    span = tracer.start_span(
        f"{names.PROCESS} {queue_name}",
        context=Context(),
        kind=SpanKind.CONSUMER,
        attributes={
            names.MESSAGING_SYSTEM: "aws_sqs",
            names.MESSAGING_OPERATION: "process",
            names.MESSAGING_OPERATION_TYPE: "process",
            names.MESSAGING_DESTINATION: queue_name,
            names.MESSAGING_MESSAGE_ID: message.message_id,
            names.RECEIVE_COUNT: message.receive_count,
        },
    )
    process = ProcessSpan(span)
    process.link(producer)
    process.link(message.trace_header)
    token = otel_context.attach(otel_context.set_value(_PROCESS_KEY, process, trace.set_span_in_context(span)))
    try:
        yield process
    except BaseException as error:
        _fail(span, error_type(error))
        raise
    finally:
        otel_context.detach(token)
        span.end()


def received(queue_name: str, count: int, began: float) -> None:
    """The receive that brought `count` messages, begun at `began` (epoch seconds). An empty long poll is no span."""
    attributes: dict[str, Attribute] = {
        names.MESSAGING_SYSTEM: "aws_sqs",
        names.MESSAGING_OPERATION: "receive",
        names.MESSAGING_OPERATION_TYPE: "receive",
        names.MESSAGING_DESTINATION: queue_name,
        names.MESSAGING_BATCH_COUNT: count,
    }
    tracer.start_span(
        f"{names.RECEIVE} {queue_name}",
        context=Context(),
        kind=SpanKind.CLIENT,
        attributes=attributes,
        start_time=int(began * 1e9),
    ).end()


def link(other: str | None) -> None:
    """Link the message's span, from wherever below it we are: to the producer's, or to an earlier attempt's."""
    process = otel_context.get_value(_PROCESS_KEY)
    if isinstance(process, ProcessSpan):
        process.link(other)


def outcome(kind: str, reason: str) -> None:
    """Say on the message's span how the try ended."""
    process = otel_context.get_value(_PROCESS_KEY)
    if isinstance(process, ProcessSpan):
        process.ended(kind, reason)


@contextmanager
def step(
    name: str,
    attributes: Mapping[str, Attribute] | None = None,
    *,
    measure: tuple[Dependency, str] | None = None,
) -> Iterator[Span]:
    """A step of the work as a child span. An error leaves its reason on the span, and no text.

    With `measure` (dependency, operation), the step's duration is the dependency's too.
    """
    timer = nullcontext() if measure is None else instruments.measure(*measure)
    with (
        timer,
        tracer.start_as_current_span(
            name, attributes=attributes, record_exception=False, set_status_on_exception=False
        ) as span,
    ):
        try:
            yield span
        except BaseException as error:
            _fail(span, error_type(error))
            raise


class Handle:
    """A span that is ended by another thread than the one that began it."""

    def __init__(self, span: Span) -> None:
        self._span = span

    def end(self, error: str | None = None) -> None:
        """End the span, failed with the reason `error` if that is given. Ending twice is harmless."""
        if self._span.is_recording():
            if error is not None:
                _fail(self._span, error)
            self._span.end()


def begin(name: str, attributes: Mapping[str, Attribute] | None = None) -> Handle:
    """Begin a child of the current span that does not become current, to be ended elsewhere (`settle`)."""
    return Handle(tracer.start_span(name, attributes=attributes))


def current_ids() -> dict[str, str]:
    """The ids of the current span as log fields, for a line that another thread will write; empty outside of one."""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return {}
    return {"trace_id": trace.format_trace_id(context.trace_id), "span_id": trace.format_span_id(context.span_id)}


def traceparent() -> str | None:
    """The current span as W3C trace context, for the ledger and for whoever is called; None outside of any span."""
    ids = current_ids()
    if not ids:
        return None
    flags = trace.get_current_span().get_span_context().trace_flags
    return f"00-{ids['trace_id']}-{ids['span_id']}-{int(flags):02x}"


def _fail(span: Span, word: str) -> None:
    span.set_attribute(names.ERROR_TYPE, label(word))
    span.set_status(Status(StatusCode.ERROR))


def _remote_end(text: str | None) -> SpanContext | None:
    """A link's other end, from a traceparent or from an X-Ray header."""
    return (_from_traceparent(text) or _from_xray(text)) if text else None


def _from_traceparent(text: str) -> SpanContext | None:
    match = _W3C.fullmatch(text.strip())
    return _remote(match[1], match[2], int(match[3], 16) & TraceFlags.SAMPLED) if match else None


def _from_xray(header: str) -> SpanContext | None:
    match = _XRAY.search(header[:500])
    return _remote(match[1] + match[2], match[3], 0) if match else None


def _remote(trace_id: str, span_id: str, flags: int) -> SpanContext | None:
    context = SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(flags))
    return context if context.is_valid else None
