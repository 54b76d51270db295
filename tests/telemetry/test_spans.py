"""A message's trace: a root with links, children with reasons, and no text of any error."""

import threading

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from relayd.errors import TransientError
from relayd.model.message import Message
from relayd.telemetry import names, spans

PRODUCER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
XRAY = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0"
MESSAGE = Message("m-1", "handle", "body", receive_count=2)


def by_name(exported: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in exported.get_finished_spans()}


def attributes(span: ReadableSpan) -> dict[str, object]:
    return dict(span.attributes or {})


def links(span: ReadableSpan) -> list[str]:
    return [f"{link.context.trace_id:032x}-{link.context.span_id:016x}" for link in span.links]


def parent(span: ReadableSpan) -> int | None:
    return span.parent.span_id if span.parent else None


def span_id(span: ReadableSpan) -> int:
    context = span.get_span_context()
    assert context
    return int(context.span_id)


def test_a_message_is_a_root_span_with_its_steps_below(exported: InMemorySpanExporter) -> None:
    """Even inside of another span: one message is one trace."""
    with spans.step("outer"), spans.process_span("incoming", MESSAGE):
        with spans.step(names.DECODE):
            pass
        with spans.step(names.FETCH, {names.BUCKET: "received-mail"}):
            pass
        spans.outcome("accepted", "forwarded")
    found = by_name(exported)
    root = found["process incoming"]
    assert root.kind is SpanKind.CONSUMER
    assert root.parent is None
    assert attributes(root) == {
        "messaging.system": "aws_sqs",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "incoming",
        "messaging.message.id": "m-1",
        "relayd.receive_count": 2,
        "relayd.outcome": "accepted",
        "relayd.reason": "forwarded",
    }
    assert parent(found["decode"]) == parent(found["s3.fetch"]) == span_id(root)
    assert attributes(found["s3.fetch"]) == {"aws.s3.bucket": "received-mail"}
    assert root.status.status_code is StatusCode.UNSET


def test_producers_are_linked_and_never_parents(exported: InMemorySpanExporter) -> None:
    """An unsampled X-Ray parent would switch recording off; a traceparent is known only after decoding."""
    with spans.process_span("incoming", Message("m-1", "handle", "body", trace_header=XRAY)), spans.step("decode"):
        spans.link(PRODUCER)
        spans.link(PRODUCER)
        spans.link(XRAY)
    found = by_name(exported)
    assert links(found["process incoming"]) == [
        "5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8",
        "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
    ]
    assert found["process incoming"].parent is None
    assert links(found["decode"]) == []


@pytest.mark.parametrize(
    "other",
    [
        None,
        "",
        "garbage",
        PRODUCER[:-1],
        "ff" + PRODUCER[2:],
        f"00-{'0' * 32}-{'0' * 16}-00",
        "Root=1-5759e988-bd862e3fe1be46a994272793",
        "Root=" * 100_000,
        PRODUCER + "\n" * 3 + "x",
    ],
    ids=lambda other: repr(other)[:30],
)
def test_what_is_no_trace_context_is_no_link(exported: InMemorySpanExporter, other: str | None) -> None:
    """Whoever can send a message chooses this text."""
    with spans.process_span("incoming", MESSAGE, other):
        spans.link(other)
    assert by_name(exported)["process incoming"].links == ()


def test_linking_outside_of_a_message_does_nothing() -> None:
    """Probes and chores have no message."""
    spans.link(PRODUCER)
    spans.outcome("accepted", "forwarded")
    assert spans.traceparent() is None
    assert spans.current_ids() == {}


def test_a_failed_step_carries_its_reason_and_no_text(exported: InMemorySpanExporter) -> None:
    """Ours by reason, a bug by type; no event, no description."""
    with pytest.raises(TransientError), spans.step("rewrite"):
        raise TransientError("s3_timeout", "me@example.org")
    with pytest.raises(ValueError, match="subject"), spans.step("decide"):
        raise ValueError("a subject")
    found = by_name(exported)
    assert attributes(found["rewrite"]) == {"error.type": "s3_timeout"}
    assert attributes(found["decide"]) == {"error.type": "ValueError"}
    for span in found.values():
        assert (span.status.status_code, span.status.description, len(span.events)) == (StatusCode.ERROR, None, 0)


@pytest.mark.parametrize(
    ("outcome", "failed"), [("accepted", False), ("released", False), ("deferred", True), ("rejected", True)]
)
def test_only_failures_are_errors(exported: InMemorySpanExporter, outcome: str, failed: bool) -> None:
    """A discard by policy and a release are how things should be."""
    with spans.process_span("incoming", MESSAGE):
        spans.outcome(outcome, "some_reason")
    (span,) = exported.get_finished_spans()
    assert (span.status.status_code is StatusCode.ERROR) == failed
    assert attributes(span).get("error.type") == ("some_reason" if failed else None)


def test_a_span_begun_here_is_ended_by_another_thread(exported: InMemorySpanExporter) -> None:
    """`settle`: a child of the message, ended by the Settler after the message's span has ended."""
    with spans.process_span("incoming", MESSAGE):
        handle = spans.begin(names.SETTLE)
        ids = spans.current_ids()
    thread = threading.Thread(target=handle.end, args=("lease_lost",))
    thread.start()
    thread.join()
    handle.end()
    found = by_name(exported)
    assert parent(found["settle"]) == span_id(found["process incoming"]) == int(ids["span_id"], 16)
    assert attributes(found["settle"]) == {"error.type": "lease_lost"}
    assert len(exported.get_finished_spans()) == 2


def test_the_traceparent_names_the_current_span(exported: InMemorySpanExporter) -> None:
    """It goes to the ledger; the next attempt links back to it."""
    with spans.process_span("incoming", MESSAGE):
        first = spans.traceparent()
    with spans.process_span("incoming", MESSAGE, first):
        pass
    one, two = exported.get_finished_spans()
    assert one.context
    assert links(two) == [f"{one.context.trace_id:032x}-{one.context.span_id:016x}"]


def test_the_masks_of_a_mail_are_named_once_each(exported: InMemorySpanExporter) -> None:
    """On the root, by their hashes, in one text: few backends search in lists."""
    with spans.process_span("incoming", MESSAGE), spans.step("claim"):
        spans.masks(["00aa", "11bb", "00aa"])
    found = by_name(exported)
    assert attributes(found["process incoming"])["relayd.mask"] == "00aa,11bb"
    assert "relayd.mask" not in attributes(found["claim"])
