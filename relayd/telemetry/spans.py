"""A message's way as spans. Only these functions start spans, so that none is named twice or ends in a wrong place.

A trace that nobody samples costs next to nothing: its root alone exists, for the ids that join log lines, and nothing
below it is made, described or linked.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import Token
from time import perf_counter
from types import TracebackType

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.trace import Span, SpanContext, SpanKind, TraceFlags

from relayd.model.message import Message
from relayd.telemetry import batches, contexts, names
from relayd.telemetry.calls import Call, error_type, fail
from relayd.telemetry.instruments import is_failure
from relayd.telemetry.words import label

measure = Call
"""Time a call to a dependency without a span of its own: the instrumented client makes one."""

tracer = trace.get_tracer(names.SCOPE)

Attribute = str | int | float | bool
Reference = SpanContext
"""What names a span to whoever links to it."""
Handle = batches.Handle
NOTHING = batches.NOTHING
batch = batches.batch

_PROCESS_KEY = otel_context.create_key("relayd-process-span")


SLOW_SECONDS = 5.0
"""A message that takes longer is worth its trace. Ordinary ones take a fifth of a second."""


StepListener = Callable[[str, float, str], None]
"""Told of each step when it has ended: its name, how many seconds it took, and its trace's id (empty without one). It
is called by the thread that did the step, so it must not block."""

_step_listeners: list[StepListener] = []


class ProcessSpan:
    """The root span of one try of one message."""

    def __init__(self, span: Span) -> None:
        self._span = span
        self._linked: set[tuple[int, int]] = set()
        self.recording = span.is_recording()
        self.kept = False
        self.handle = Handle(span) if self.recording else NOTHING

    def keep(self, reason: str) -> None:
        """Have the trace exported whole though the sampler did not choose it. It changes nothing where the sampler did,
        or where nothing is recorded; the first reason stays.
        """
        if not self.kept and self._span.is_recording() and not self._span.get_span_context().trace_flags.sampled:
            self.kept = True
            self._span.set_attribute(names.KEPT, label(reason))

    def link(self, other: str | None) -> None:
        """Link to another trace, by its traceparent or X-Ray header. Anything else is no link, nor is a second time."""
        if self.recording and other:
            self.link_to(contexts.remote(other))

    def link_to(self, context: SpanContext | None) -> None:
        """Link to another span, once."""
        if context is not None and (context.trace_id, context.span_id) not in self._linked:
            self._linked.add((context.trace_id, context.span_id))
            self._span.add_link(context)

    def masks(self, pseudonyms: Sequence[str]) -> None:
        """Say which masks the mail is for, by their hashes: text, because few backends search in lists."""
        if self.recording:
            self._span.set_attribute(names.MASK, ",".join(dict.fromkeys(pseudonyms)))

    def delivery(self, delivery_id: str) -> None:
        """Say which delivery the message tells about: that of a mail that was sent before."""
        if self.recording:
            self._span.set_attribute(names.DELIVERY, delivery_id)

    def surprise(self, reason: str) -> None:
        """Something ended in a way that nobody meant. The last one is told."""
        if self.recording:
            self._span.set_attribute(names.SURPRISE, label(reason))
            self.keep("surprise")

    def ended(self, outcome: str, reason: str) -> None:
        """Say how the try ended."""
        if not self.recording:
            return
        self._span.set_attributes({names.OUTCOME: outcome, names.REASON: label(reason)})
        if is_failure(outcome, reason):
            fail(self._span, reason)
        if outcome == "rejected":
            self.keep(outcome)


@contextmanager
def process_span(
    queue_name: str,
    message: Message,
    producer: str | None = None,
    *,
    received: Reference | None = None,
    about: Callable[[], Mapping[str, Attribute]] = dict,
    slow_seconds: float = SLOW_SECONDS,
) -> Iterator[ProcessSpan]:
    """The root span of one try of one message, current while it lasts.

    It links to its producer and never has it as a parent: a parent that was not sampled (X-Ray's, say) would switch
    recording off. A producer that is known only after decoding is added with `link`. `received`: the receive that
    brought the message; `about`: asked for what else there is to say of this moment, where the span is recorded.
    """
    span = tracer.start_span(
        f"{names.PROCESS} {queue_name}",
        context=Context(),
        kind=SpanKind.CONSUMER,
        attributes=_messaging(names.PROCESS, queue_name),
    )
    process = ProcessSpan(span)
    if process.recording:
        span.set_attributes(
            {names.MESSAGING_MESSAGE_ID: message.message_id, names.RECEIVE_COUNT: message.receive_count, **about()}
        )
        process.link(producer)
        process.link(message.trace_header)
        process.link_to(received)
    token = otel_context.attach(otel_context.set_value(_PROCESS_KEY, process, trace.set_span_in_context(span)))
    began = perf_counter()
    try:
        with nullcontext() if process.recording else suppress_instrumentation():
            yield process
    except BaseException as error:
        fail(span, error_type(error))
        process.keep("bug")
        raise
    finally:
        if perf_counter() - began >= slow_seconds:
            process.keep("slow")
        otel_context.detach(token)
        span.end()


def received(queue_name: str, messages: Sequence[Message], began: float) -> Reference | None:
    """The receive that brought these messages, begun at `began` (epoch seconds). An empty long poll is no span.

    It links to the producers that SQS names beside the message; others are known only after decoding. Returns what the
    messages' own spans link to: they are children of nobody, as one message is one trace.
    """
    span = tracer.start_span(
        f"{names.RECEIVE} {queue_name}",
        context=Context(),
        kind=SpanKind.CLIENT,
        attributes=_messaging(names.RECEIVE, queue_name),
        start_time=int(began * 1e9),
    )
    if span.is_recording():
        span.set_attribute(names.MESSAGING_BATCH_COUNT, len(messages))
        for message in messages:
            if (producer := contexts.remote(message.attributes.get("traceparent") or message.trace_header)) is not None:
                span.add_link(producer)
    span.end()
    context = span.get_span_context()
    return context if context.trace_flags.sampled else None


def _messaging(operation: str, queue_name: str) -> dict[str, Attribute]:
    return {
        names.MESSAGING_SYSTEM: "aws_sqs",
        names.MESSAGING_OPERATION: operation,
        names.MESSAGING_OPERATION_TYPE: operation,
        names.MESSAGING_DESTINATION: queue_name,
    }


def link(other: str | None) -> None:
    """Link the message's span, from wherever below it we are: to the producer's, or to an earlier attempt's."""
    if (process := _process()) is not None:
        process.link(other)


def keep(reason: str) -> None:
    """Have the message's trace exported whole, from wherever below it we are, though the sampler did not choose it."""
    if (process := _process()) is not None:
        process.keep(reason)


def masks(pseudonyms: Sequence[str]) -> None:
    """Say on the message's span which masks the mail is for."""
    if (process := _process()) is not None:
        process.masks(pseudonyms)


def delivery(delivery_id: str) -> None:
    """Say on the message's span which delivery it tells about."""
    if (process := _process()) is not None:
        process.delivery(delivery_id)


def surprise(reason: str) -> None:
    """Say on the message's span that something ended in a way that nobody meant."""
    if (process := _process()) is not None:
        process.surprise(reason)


def outcome(kind: str, reason: str) -> None:
    """Say on the message's span how the try ended."""
    if (process := _process()) is not None:
        process.ended(kind, reason)


def _process() -> ProcessSpan | None:
    process = otel_context.get_value(_PROCESS_KEY)
    return process if isinstance(process, ProcessSpan) else None


class Step:
    """See `step`."""

    __slots__ = ("_attributes", "_began", "_name", "_span", "_token")

    def __init__(self, name: str, attributes: Mapping[str, Attribute] | None) -> None:
        self._name = name
        self._attributes = attributes

    def __enter__(self) -> Span:
        current = trace.get_current_span()
        self._span = current
        self._token: Token[Context] | None = None
        if current.is_recording() or not current.get_span_context().is_valid:
            self._span = tracer.start_span(self._name, attributes=self._attributes)
            self._token = otel_context.attach(trace.set_span_in_context(self._span))
        self._began = perf_counter()
        return self._span

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for listener in _step_listeners:
            listener(self._name, perf_counter() - self._began, current_ids().get("trace_id", ""))
        if self._token is not None:
            if error is not None:
                fail(self._span, error_type(error))
            otel_context.detach(self._token)
            self._span.end()


def step(name: str, attributes: Mapping[str, Attribute] | None = None) -> Step:
    """A step of the work as a child span, as a context. An error leaves its reason on the span, and no text."""
    return Step(name, attributes)


def hear_steps(listener: StepListener) -> Callable[[], None]:
    """Tell `listener` of every step, sampled or not. Returns what stops the telling."""
    _step_listeners.append(listener)
    return lambda: _step_listeners.remove(listener)


def begin(name: str) -> Handle:
    """Begin a child of the current span that does not become current, to be ended elsewhere (`settle`)."""
    return Handle(tracer.start_span(name)) if trace.get_current_span().is_recording() else NOTHING


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
    process = _process()
    flags = int(trace.get_current_span().get_span_context().trace_flags)
    if process is not None and process.kept:
        # Whoever links to it will find it.
        flags |= TraceFlags.SAMPLED
    return f"00-{ids['trace_id']}-{ids['span_id']}-{flags:02x}"
