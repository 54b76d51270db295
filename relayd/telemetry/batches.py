"""Calls that serve several messages at once: their spans belong to no message's trace, and link to each of them.

A sampler would decide about such a call on its own, so that a mail's trace would lead nowhere more often than not. Here
the messages decide: the call is traced if any of them is, and else it costs nothing.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.trace import Span, SpanContext

from relayd.telemetry.calls import fail

_KEY = otel_context.create_key("relayd-batch")


class Handle:
    """A message's span in the hands of another thread than the one that began it."""

    __slots__ = ("_span",)

    def __init__(self, span: Span | None) -> None:
        """None where nothing is recorded."""
        self._span = span

    @property
    def context(self) -> SpanContext | None:
        """What others link to; None where nobody would find it."""
        context = None if self._span is None else self._span.get_span_context()
        return context if context is not None and context.trace_flags.sampled else None

    def link(self, context: SpanContext) -> None:
        """Link to a call that was made for it."""
        if self._span is not None:
            self._span.add_link(context)

    def noted(self, event: str, error: str) -> None:
        """Something happened on the way, failed with the word `error`."""
        if self._span is not None:
            self._span.add_event(event, {"error.type": error})

    def end(self, error: str | None = None) -> None:
        """End the span, failed with the reason `error` if that is given. Ending twice is harmless."""
        if self._span is not None and self._span.is_recording():
            if error is not None:
                fail(self._span, error)
            self._span.end()


NOTHING = Handle(None)


@contextmanager
def batch(handles: Iterable[Handle]) -> Iterator[None]:
    """Around one call for the messages that these are of."""
    sampled = [handle for handle in handles if handle.context is not None]
    if not sampled and not trace.get_current_span().is_recording():
        with suppress_instrumentation():
            yield
        return
    token = otel_context.attach(otel_context.set_value(_KEY, sampled))
    try:
        yield
    finally:
        otel_context.detach(token)


def under_way(context: Context | None = None) -> bool:
    """Whether a call is being made for a message that is sampled."""
    return bool(otel_context.get_value(_KEY, context))


def called(span: Span) -> None:
    """The call's own span has begun: tie it to the messages."""
    handles = otel_context.get_value(_KEY)
    call = span.get_span_context()
    for handle in handles if isinstance(handles, list) else ():
        if (message := handle.context) is not None and message.trace_id != call.trace_id:
            span.add_link(message)
            handle.link(call)
