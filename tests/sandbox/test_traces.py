"""The OTLP receiver, met by the real exporter and by nonsense; and the waterfall that is drawn from its spans."""

import gzip
import io
import itertools
from collections.abc import Iterator
from contextlib import suppress

import pytest
import urllib3
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from rich.console import Console

from relayd.sandbox.traces import MAX_BODY, MAX_SPANS, OtlpReceiver, Span, Traces, decode
from relayd.sandbox.waterfall import Waterfall, milliseconds, rows


@pytest.fixture
def traces() -> Traces:
    return Traces()


@pytest.fixture
def receiver(traces: Traces) -> Iterator[OtlpReceiver]:
    receiver = OtlpReceiver(traces)
    yield receiver
    receiver.close()


@pytest.mark.parametrize("compression", list(Compression))
def test_spans_of_the_real_exporter_arrive(receiver: OtlpReceiver, traces: Traces, compression: Compression) -> None:
    """Parents, links, errors and times come through, however the exporter packs them."""
    provider = TracerProvider(resource=Resource.create({"service.name": "relayd"}), shutdown_on_exit=False)
    exporter = OTLPSpanExporter(endpoint=f"{receiver.endpoint}/v1/traces", compression=compression)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("test")
    producer = trace.SpanContext(0xABC, 0xDEF, is_remote=True)
    with (
        tracer.start_as_current_span("process mail", links=[trace.Link(producer)]) as process,
        tracer.start_as_current_span("send") as send,
    ):
        send.set_status(trace.StatusCode.ERROR)
        send.set_attribute("error.type", "Throttling")
    provider.shutdown()

    story = traces.story(f"{0xABC:032x}")
    assert [span.name for span in story] == ["send", "process mail"]
    child, root = story
    assert root.span_id == f"{process.get_span_context().span_id:016x}"
    assert root.links == ((f"{0xABC:032x}", f"{0xDEF:016x}"),)
    assert (child.parent_id, child.error, child.service) == (root.span_id, "Throttling", "relayd")
    assert root.start <= child.start <= child.end <= root.end


def post(receiver: OtlpReceiver, body: bytes, path: str = "/v1/traces", **headers: str) -> int:
    with urllib3.PoolManager(retries=False, timeout=10) as http:
        return http.request("POST", receiver.endpoint + path, body=body, headers=headers).status


def test_other_signals_are_accepted_and_dropped(receiver: OtlpReceiver) -> None:
    """The daemon's metrics may come here too, and must not make its exporter complain."""
    assert post(receiver, b"whatever", "/v1/metrics") == 200


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"\xff\xff\xff", {}),
        (b"not gzip", {"Content-Encoding": "gzip"}),
        (gzip.compress(b"\0" * (MAX_BODY + 1)), {"Content-Encoding": "gzip"}),
        (gzip.compress(b"\n\0")[:-3], {"Content-Encoding": "gzip"}),
        (b"", {"Content-Encoding": "br"}),
    ],
    ids=["no protobuf", "no gzip", "a bomb", "cut off", "unknown encoding"],
)
def test_nonsense_is_refused(receiver: OtlpReceiver, body: bytes, headers: dict[str, str]) -> None:
    """400, and the receiver goes on."""
    assert post(receiver, body, **headers) == 400
    assert post(receiver, b"") == 200


def test_too_long_a_body_is_refused_unread(receiver: OtlpReceiver) -> None:
    """Memory is bounded by what the header announces."""
    with urllib3.HTTPConnectionPool("127.0.0.1", int(receiver.endpoint.rpartition(":")[2]), timeout=10) as http:
        answer = http.request("POST", "/v1/traces", headers={"Content-Length": str(MAX_BODY + 1)}, retries=False)
    assert answer.status == 413


@given(st.binary(max_size=200))
def test_any_bytes_decode_or_are_a_value_error(body: bytes) -> None:
    """No other exception may end the receiving thread."""
    with suppress(ValueError):
        decode(body)


def span(
    name: str, parent: str = "", trace_id: str = "t", start: float = 0.0, end: float = 1.0, link: str = ""
) -> Span:
    links = ((link.partition("/")[0], link.partition("/")[2]),) if link else ()
    return Span(trace_id, name, parent, name, start, end, "relayd", links)


def test_old_traces_make_room() -> None:
    """Only so many traces and so many spans of one are kept, and links to gone ones are forgotten."""
    traces = Traces(max_traces=2)
    for number in range(3):
        traces.add([span("process", trace_id=f"t{number}", link="producer/x")])
    assert [found.trace_id for found in traces.story("producer")] == ["t1", "t2"]
    traces.add(span(f"s{number}", trace_id="t9") for number in range(MAX_SPANS + 10))
    assert len(traces.story("t9")) == MAX_SPANS


def tree() -> list[Span]:
    return [
        span("send", "process", "b", 1.4, 1.9),
        span("process", "", "b", 1.0, 2.0, link="a/receive"),
        span("a very long name of a span that nobody could ever show in full", "process", "b", 1.1, 1.3),
        span("receive", "", "a", 0.0, 0.2),
    ]


def test_rows_are_a_tree_across_links() -> None:
    """A trace stands under the span it links to, children in the order of their starts."""
    assert [(row.span.name[:6], row.depth, row.linked) for row in rows(tree())] == [
        ("receiv", 0, False),
        ("proces", 1, True),
        ("a very", 2, False),
        ("send", 2, False),
    ]


def test_a_missing_parent_makes_a_root() -> None:
    """Spans that were lost on their way do not hide the others."""
    assert [row.depth for row in rows([span("a", "gone"), span("b", "a")])] == [0, 1]


@given(st.lists(st.tuples(*[st.sampled_from("abcde")] * 3), max_size=8))
def test_no_circle_hangs_the_drawing(edges: list[tuple[str, str, str]]) -> None:
    """Whatever parents and links say, each span is drawn once."""
    spans = {name: span(name, parent, link=f"t/{link}") for name, parent, link in edges}
    assert sorted(row.span.name for row in rows(list(spans.values()))) == sorted(spans)


def drawn(spans: list[Span], width: int, encoding: str = "utf-8") -> list[str]:
    out = io.BytesIO()
    console = Console(file=io.TextIOWrapper(out, encoding=encoding, write_through=True), width=width)
    console.print(Waterfall(spans))
    return out.getvalue().decode(encoding).splitlines()


@pytest.mark.parametrize(("width", "encoding"), [*itertools.product((80, 120), ("utf-8", "ascii"))])
def test_the_drawing_fits(width: int, encoding: str) -> None:
    """One line a span, none wider than the terminal, durations at the right, also where only ASCII can be shown."""
    lines = drawn(tree(), width, encoding)
    assert len(lines) == 4
    assert all(len(line) <= width for line in lines)
    assert [line.split()[-2:] for line in lines] == [["200", "ms"], ["1,000", "ms"], ["200", "ms"], ["500", "ms"]]


def test_bars_show_when_and_how_long() -> None:
    """What starts later stands further right, what lasts longer is longer."""
    receive, process, _, send = drawn(tree(), 80)
    assert receive.index("━") < process.index("━") < send.index("━")
    assert receive.count("━") < send.count("━") < process.count("━")


def test_nothing_to_draw_says_so() -> None:
    """No spans is an answer too."""
    assert drawn([], 80) == ["no spans arrived"]


@pytest.mark.parametrize(("seconds", "text"), [(0.0004, "0.40 ms"), (0.0123, "12.3 ms"), (1.2344, "1,234 ms")])
def test_durations_show_three_digits(seconds: float, text: str) -> None:
    """Milliseconds throughout, so that lines compare at a glance."""
    assert milliseconds(seconds) == text
