"""What the engine tells of a mail's way as spans: tries that link to one another and to their producers, and its waits.

Fakes and virtual time; the spans are real.
"""

import json
from itertools import pairwise
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from relayd.errors import HoldError, TransientError
from relayd.model.decision import Discard
from relayd.rules.inbound import REASONS, SURPRISES
from relayd.runtime.memory import PER_BYTE
from relayd.telemetry import names
from relayd.wire import own
from tests.engine.world import MAIL, SECRET, World, notification

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{SPAN}-01"
XRAY = f"Root=1-{TRACE[:8]}-{TRACE[8:]};Parent={SPAN};Sampled=0"
PRODUCER = f"{TRACE}-{SPAN}"


def run(world: World) -> None:
    """The engine, until nothing is left in the queue."""
    daemon = world.daemon()
    daemon.start()
    assert world.until(lambda: not world.queue.left)
    assert daemon.stop()


def named(exported: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    """In the order of their beginning."""
    found = [span for span in exported.get_finished_spans() if span.name == name]
    return sorted(found, key=lambda span: span.start_time or 0)


def attributes(span: ReadableSpan) -> dict[str, object]:
    return dict(span.attributes or {})


def links(span: ReadableSpan) -> set[str]:
    return {f"{link.context.trace_id:032x}-{link.context.span_id:016x}" for link in span.links}


def end_of(span: ReadableSpan) -> str:
    """What a link to it looks like."""
    assert span.context
    return f"{span.context.trace_id:032x}-{span.context.span_id:016x}"


def trace_of(span: ReadableSpan) -> int:
    assert span.context
    return int(span.context.trace_id)


def with_traceparent(body: str) -> str:
    """As SNS hands on what a publisher gave beside its message."""
    told = {"traceparent": {"Type": "String", "Value": TRACEPARENT}}
    return json.dumps(json.loads(body) | {"MessageAttributes": told})


def test_a_retry_links_to_the_try_before(exported: InMemorySpanExporter) -> None:
    """Each try is a trace, and the ledger is what leads from one to the next."""
    world = World()
    world.mailer.fail_with(TransientError("ses_unavailable", dependency="ses"), times=2)
    world.mail("retried")
    run(world)
    tries = named(exported, "process mail")
    assert [attributes(one)["relayd.outcome"] for one in tries] == ["deferred", "deferred", "accepted"]
    assert [attributes(one)["relayd.receive_count"] for one in tries] == [1, 2, 3]
    assert [one.status.status_code for one in tries] == [StatusCode.ERROR, StatusCode.ERROR, StatusCode.UNSET]
    assert len({trace_of(one) for one in tries}) == 3
    for before, after in pairwise(tries):
        # To a span of that try: the one that had claimed the delivery.
        assert f"{trace_of(before):032x}" in {link.partition("-")[0] for link in links(after)}


def in_the_envelope(world: World) -> None:
    world.mail("mail-0", body=with_traceparent(notification("mail-0")))


def as_a_raw_attribute(world: World) -> None:
    world.store.put("in/mail-0", MAIL)
    world.queue.publish(json.loads(notification("mail-0"))["Message"], {"traceparent": TRACEPARENT})


def in_the_trace_header(world: World) -> None:
    world.store.put("in/mail-0", MAIL)
    world.queue.publish(notification("mail-0"), trace_header=XRAY)


def in_a_sealed_message(world: World) -> None:
    world.store.put("in/mail-0", MAIL)
    text = json.loads(notification("mail-0"))["Message"]
    sealed = own.seal(text, secrets=(SECRET,), now=world.clock.time())
    world.queue.publish(sealed, {"traceparent": TRACEPARENT})


@pytest.mark.parametrize("how", [in_the_envelope, as_a_raw_attribute, in_the_trace_header, in_a_sealed_message])
def test_a_mail_links_to_its_producer(exported: InMemorySpanExporter, how: object) -> None:
    """SNS hands a traceparent on in its envelope, or raw beside the message; X-Ray's header is SQS's own."""
    world = World()
    how(world)  # type: ignore[operator]
    run(world)
    assert len(world.mailer.sent) == 1
    (process,) = named(exported, "process mail")
    assert PRODUCER in links(process)
    assert process.parent is None
    # What SQS itself shows, the receive knows too; the envelope is opened later, by a worker.
    (received,) = named(exported, "receive mail")
    assert (PRODUCER in links(received)) == (how is not in_the_envelope)


def test_a_receive_and_its_messages_are_linked(exported: InMemorySpanExporter) -> None:
    """Traces of their own, as one receive brings up to ten mails; each of those says which one brought it."""
    world = World()
    world.mails(3)
    run(world)
    (received,) = named(exported, "receive mail")
    assert received.kind is SpanKind.CLIENT
    assert attributes(received)["messaging.batch.message_count"] == 3
    processes = named(exported, "process mail")
    assert len(processes) == 3
    for process in processes:
        assert links(process) == {end_of(received)}
        assert process.kind is SpanKind.CONSUMER


def test_a_try_tells_what_it_was_like(exported: InMemorySpanExporter) -> None:
    """How long it had waited, how much might be in hand, and which breaker was not closed then."""
    world = World()
    world.store.fail_with(HoldError("s3", "access_denied"), times=1)
    world.mail("first")
    daemon = world.daemon()
    daemon.start()
    assert world.until(lambda: len(named(exported, "process mail")) == 1)
    world.clock.sleep(1.0)
    assert world.until(lambda: not world.queue.left)
    assert daemon.stop()
    first, last = (attributes(one) for one in (named(exported, "process mail")[0], named(exported, "process mail")[-1]))
    assert (first["relayd.limit"], first["relayd.in_flight"]) == (world.concurrency, 1)
    assert "relayd.breakers" not in first
    assert first["relayd.queue.seconds"] == 0
    assert (last["relayd.breakers"], last["relayd.limit"]) == ("s3=half_open", 1)
    assert float(str(last["relayd.queue.seconds"])) > 5


def test_every_wait_has_a_span(exported: InMemorySpanExporter) -> None:
    """For memory, and for the right to send: else a slow mail would be slow for no reason that anybody can see."""
    large = MAIL + b"x" * 1_000_000
    world = World(memory_budget=PER_BYTE * len(large), rate=0.5)
    world.mailer.latency = 1.0
    for number in range(3):
        world.mail(f"mail-{number}", data=large)
    run(world)
    for name in (names.MEMORY_WAIT, names.PACE_WAIT):
        waits = named(exported, name)
        assert waits, name
        assert {trace_of(wait) for wait in waits} <= {trace_of(one) for one in named(exported, "process mail")}


def test_a_mail_that_waits_for_nothing_says_nothing_of_waiting(exported: InMemorySpanExporter) -> None:
    """Spans that are always there would say nothing."""
    world = World(rate=100.0)
    world.mail("quick")
    run(world)
    assert {span.name for span in exported.get_finished_spans()} == {
        "receive mail",
        "process mail",
        "decode",
        "decide",
        "claim",
        "s3.fetch",
        "rewrite",
        "record",
        "settle",
    }


def test_a_settlement_tells_of_its_tries(exported: InMemorySpanExporter) -> None:
    """A delete that failed and was tried again is seen where somebody looks for the time that it took."""
    world = World()
    world.queue.fail_entries("delete", times=2)
    world.mail("twice")
    run(world)
    (settle,) = named(exported, "settle")
    assert [(event.name, dict(event.attributes or {})) for event in settle.events] == [
        ("settle_failed", {"error.type": "InternalError"})
    ] * 2
    assert settle.status.status_code is StatusCode.UNSET


@pytest.mark.parametrize(
    ("recipients", "verdicts", "surprise"),
    [
        (("nobody@mask.example",), {}, None),
        (("shop@mask.example",), {"virus": "FAIL"}, None),
        (("other@elsewhere.example",), {}, "no_recipient"),
    ],
)
def test_a_discard_that_nobody_meant_is_marked(
    exported: InMemorySpanExporter, recipients: tuple[str, ...], verdicts: dict[str, Any], surprise: str | None
) -> None:
    """A collector keeps the traces of those; of what was to be expected it keeps a share."""
    world = World()
    world.mail("odd", body=notification("odd", recipients, **verdicts))
    run(world)
    (process,) = named(exported, "process mail")
    assert attributes(process)["relayd.outcome"] == "accepted"
    assert attributes(process).get("relayd.surprise") == surprise


def test_surprises_are_reasons() -> None:
    """A word that no rule gives would never be seen."""
    assert SURPRISES.issubset(REASONS)
    assert Discard("loop").reason in SURPRISES
    assert "unknown_mask" not in SURPRISES
