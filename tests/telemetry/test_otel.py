"""Set-up and end: what is read from the environment, and that a dead collector delays nothing."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from relayd.telemetry import spans
from relayd.telemetry.otel import MAX_ATTRIBUTE, Telemetry, configure


def test_there_is_one_set_up_for_a_process(telemetry: Telemetry) -> None:
    """A second call neither doubles the instrumentation nor loses the first one's exporters."""
    assert configure(version="other", instance="other", environ={}) is telemetry


def test_attributes_are_cut_and_redacted_before_they_leave(exported: InMemorySpanExporter) -> None:
    """Whatever a caller puts there."""
    with spans.step("decode", {"long": "x" * 10_000, "who": "to me@example.org", "count": 3}):
        pass
    (span,) = exported.get_finished_spans()
    told = dict(span.attributes or {})
    assert (len(str(told["long"])), told["who"], told["count"]) == (MAX_ATTRIBUTE, "to [address]", 3)


def test_an_exception_event_keeps_its_type_alone(exported: InMemorySpanExporter) -> None:
    """Libraries record exceptions with text and stack trace; neither leaves."""
    with spans.step("decode") as span:
        span.record_exception(ValueError("Subject: hello"))
        span.add_event("noted", {"of": "me@example.org"})
    (exporting,) = exported.get_finished_spans()
    assert [dict(event.attributes or {}) for event in exporting.events] == [
        {"exception.type": "ValueError"},
        {"of": "[address]"},
    ]
    assert isinstance(exporting, ReadableSpan)


class Collector(BaseHTTPRequestHandler):
    """Takes OTLP, or lets whoever sends it wait."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append((self.path, body))  # type: ignore[attr-defined]
        self.server.answering.wait()  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        """Quiet."""


@pytest.fixture
def collector() -> Iterator[HTTPServer]:
    """A collector on loopback."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    server.received = []  # type: ignore[attr-defined]
    server.answering = Event()  # type: ignore[attr-defined]
    server.answering.set()  # type: ignore[attr-defined]
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.answering.set()  # type: ignore[attr-defined]
    server.shutdown()
    server.server_close()


_SCRIPT = """
import json, time
from relayd.telemetry import instruments, logs, otel, spans
logs.configure()
telemetry = otel.configure(version="1.2.3", instance="pod-1")
with spans.step("decode"):
    instruments.trackers(1)
began = time.monotonic()
ended = telemetry.shutdown(DEADLINE)
print(json.dumps({"ended": ended, "seconds": time.monotonic() - began}))
"""


def run_with(collector_url: str, deadline: float) -> tuple[dict[str, Any], str, float]:
    """A process of its own, as only one can set up telemetry. Returns its report, its log and how long it lived."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    environ |= {"OTEL_EXPORTER_OTLP_ENDPOINT": collector_url, "OTEL_SERVICE_NAME": "masks"}
    began = time.monotonic()
    script = _SCRIPT.replace("DEADLINE", str(deadline))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environ)
    return json.loads(done.stdout), done.stderr, time.monotonic() - began


def test_what_is_left_is_exported_at_the_end(collector: HTTPServer) -> None:
    """Spans and metrics of the last messages arrive, under the service's name."""
    report, _, _ = run_with(f"http://127.0.0.1:{collector.server_port}", 10)
    received = dict(collector.received)  # type: ignore[attr-defined]
    assert report["ended"] is True
    assert sorted(received) == ["/v1/metrics", "/v1/traces"]
    for told in (b"decode", b"masks", b"1.2.3", b"pod-1"):
        assert told in received["/v1/traces"]


def test_a_collector_that_hangs_does_not_hold_up_the_end(collector: HTTPServer) -> None:
    """The deadline counts, for the shutdown and for the process behind it."""
    collector.answering.clear()  # type: ignore[attr-defined]
    report, _, seconds = run_with(f"http://127.0.0.1:{collector.server_port}", 0.2)
    assert report["ended"] is False
    assert report["seconds"] < 2
    assert seconds < 8
