"""What leaves with a span: the words that we chose, and no error text of anybody else."""

from collections.abc import Sequence
from typing import Any

from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import SpanContext, Status
from opentelemetry.util.types import Attributes

from relayd.telemetry import names
from relayd.telemetry.redaction import redact_value

EXCEPTION_TYPE = "exception.type"


class ScrubbingExporter(SpanExporter):
    """Hands on copies of spans whose statuses and events carry no text.

    The botocore instrumentation writes the error's text into the status and into an `exception` event, and SES's
    error texts repeat addresses. Done here, on the exporting thread, no span can go around it and no call waits for it.
    """

    def __init__(self, inner: SpanExporter) -> None:
        self._inner = inner

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return self._inner.export([scrub(span) for span in spans])

    def shutdown(self) -> None:
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._inner.force_flush(timeout_millis)


def scrub(span: ReadableSpan) -> ReadableSpan:
    """The span as it may leave."""
    events = tuple(_scrub_event(event) for event in span.events)
    attributes = _redacted(span.attributes)
    types = [
        event.attributes[EXCEPTION_TYPE] for event in events if event.attributes and EXCEPTION_TYPE in event.attributes
    ]
    if types:
        # Transport errors have no code, and the hooks are not told of them: the exception's type is all there is.
        attributes.setdefault(names.ERROR_TYPE, types[-1])
    status = span.status if span.status.description is None else Status(span.status.status_code)
    return copied(span, span.context, span.parent, attributes, events, status)


def copied(
    span: ReadableSpan,
    context: SpanContext | None,
    parent: SpanContext | None,
    attributes: Attributes,
    events: Sequence[Event],
    status: Status,
) -> ReadableSpan:
    """A copy of an ended span, with these parts in place of its own. Each is read but once: the library copies what it
    shows, under a lock, and every exported span comes this way.
    """
    return ReadableSpan(
        name=span.name,
        context=context,
        parent=parent,
        resource=span.resource,
        attributes=attributes,
        events=events,
        links=span.links,
        kind=span.kind,
        status=status,
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def _scrub_event(event: Event) -> Event:
    kept = {k: v for k, v in (event.attributes or {}).items() if not k.startswith("exception.") or k == EXCEPTION_TYPE}
    return Event(event.name, _redacted(kept), event.timestamp)


def _redacted(attributes: Attributes) -> dict[str, Any]:
    return {name: redact_value(value) for name, value in (attributes or {}).items()}
