"""A small OTLP/HTTP receiver: the daemon exports its traces to it, so that the sandbox can draw the slowest mail's."""

import threading
import zlib
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MAX_BODY = 16 * 1024 * 1024
POLL_SECONDS = 0.05
"""How often the server looks whether it is to end."""
MAX_TRACES = 20_000
MAX_VALUE = 100
MAX_SPANS = 200
"""Of one trace: what a drawing could show anyway."""
DETAILS = (
    "relayd.outcome",
    "relayd.reason",
    "relayd.receive_count",
    "relayd.bytes",
    "relayd.repaired_parts",
    "aws.ses.message_id",
    "http.response.status_code",
    "http.status_code",
)
"""Attributes that say something to a reader. All of them, of many thousand spans, would be a lot of memory."""
_KINDS = ("internal", "internal", "server", "client", "producer", "consumer")
"""By OTLP's number; 0 is unspecified."""


@dataclass(frozen=True, slots=True)
class Span:
    """One span, with what a drawing needs of it."""

    trace_id: str
    span_id: str
    parent_id: str
    """Empty for a root."""
    name: str
    start: float
    """Seconds since the epoch."""
    end: float
    service: str = ""
    links: tuple[tuple[str, str], ...] = ()
    """(trace id, span id) of each."""
    error: str = ""
    """`error.type`, or `error` where the span failed without naming one; empty when it did not fail."""
    kind: str = "internal"
    """`internal`, `server`, `client`, `producer` or `consumer`."""
    details: tuple[tuple[str, str], ...] = ()
    """The attributes of `DETAILS` that it has."""


class Traces:
    """Spans by trace, the oldest traces let go first."""

    def __init__(self, max_traces: int = MAX_TRACES) -> None:
        self._max_traces = max_traces
        self._lock = threading.Lock()
        self._traces: OrderedDict[str, list[Span]] = OrderedDict()
        self._linking: dict[str, set[str]] = {}

    def add(self, spans: Iterable[Span]) -> None:
        """Take in spans of any traces."""
        with self._lock:
            for span in spans:
                kept = self._traces.setdefault(span.trace_id, [])
                if len(kept) < MAX_SPANS:
                    kept.append(span)
                for linked, _ in span.links:
                    self._linking.setdefault(linked, set()).add(span.trace_id)
            while len(self._traces) > self._max_traces:
                oldest, gone = self._traces.popitem(last=False)
                self._linking.pop(oldest, None)
                for linked in {linked for span in gone for linked, _ in span.links}:
                    self._linking.get(linked, set()).discard(oldest)

    def story(self, trace_id: str) -> list[Span]:
        """The spans of a trace and of all traces that link to it: a mail's way from its arrival on."""
        with self._lock:
            found = [trace_id, *sorted(self._linking.get(trace_id, ()))]
            return [span for one in found for span in self._traces.get(one, [])]


class OtlpReceiver:
    """The receiver on loopback. It answers every signal and keeps traces only."""

    def __init__(self, traces: Traces) -> None:
        handler = type("_BoundHandler", (_Handler,), {"traces": traces})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(POLL_SECONDS,), name="otlp", daemon=True
        )
        self._thread.start()

    @property
    def endpoint(self) -> str:
        """For OTEL_EXPORTER_OTLP_ENDPOINT."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


class _Handler(BaseHTTPRequestHandler):
    traces: Traces
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if not 0 <= length <= MAX_BODY:
            # The body stays unread, so the connection cannot be used again.
            self.close_connection = True
            self._answer(413)
            return
        body = self.rfile.read(length)
        if self.path.rstrip("/") != "/v1/traces":
            self._answer(200)
            return
        try:
            self.traces.add(decode(_unpacked(body, self.headers.get("Content-Encoding", ""))))
        except ValueError:
            self._answer(400)
            return
        self._answer(200)

    def _answer(self, status: int) -> None:
        # An empty body is a valid, empty ExportTraceServiceResponse.
        self.send_response(status)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass


def _unpacked(body: bytes, encoding: str) -> bytes:
    """The body without its compression, in bounded memory. Raises ValueError."""
    if not encoding or encoding == "identity":
        return body
    if encoding not in ("gzip", "deflate"):
        raise ValueError("unknown content encoding")
    # 32 + 15: zlib and gzip are told apart by their headers.
    unpacking = zlib.decompressobj(32 + 15)
    try:
        plain = unpacking.decompress(body, MAX_BODY)
    except zlib.error:
        raise ValueError("not what its content encoding says") from None
    if unpacking.unconsumed_tail or not unpacking.eof:
        raise ValueError("too large when unpacked, or cut off")
    return plain


def decode(body: bytes) -> list[Span]:
    """An ExportTraceServiceRequest as spans. Raises ValueError."""
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    request = ExportTraceServiceRequest()
    try:
        request.ParseFromString(body)
    except DecodeError:
        raise ValueError("not an OTLP request in protobuf") from None
    spans = []
    for resource in request.resource_spans:
        service = next((a.value.string_value for a in resource.resource.attributes if a.key == "service.name"), "")
        for scope in resource.scope_spans:
            for span in scope.spans:
                failed = span.status.code == span.status.STATUS_CODE_ERROR
                named = next((a.value.string_value for a in span.attributes if a.key == "error.type"), "")
                spans.append(
                    Span(
                        trace_id=span.trace_id.hex(),
                        span_id=span.span_id.hex(),
                        parent_id=span.parent_span_id.hex(),
                        name=span.name,
                        start=span.start_time_unix_nano / 1e9,
                        end=span.end_time_unix_nano / 1e9,
                        service=service,
                        links=tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
                        error=(named or "error") if failed else "",
                        kind=_KINDS[span.kind] if 0 <= span.kind < len(_KINDS) else "internal",
                        details=tuple((a.key, _shown(a.value)) for a in span.attributes if a.key in DETAILS),
                    )
                )
    return spans


def _shown(value: Any) -> str:
    """An attribute's value as text, whatever its type is."""
    which = value.WhichOneof("value")
    return str(getattr(value, which))[:MAX_VALUE] if which else ""
