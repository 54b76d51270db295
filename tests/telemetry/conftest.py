"""One set-up for the whole test process, as OpenTelemetry allows no second one."""

from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from relayd.telemetry.otel import Telemetry, configure


@pytest.fixture(scope="session")
def telemetry() -> Telemetry:
    """The process's telemetry, without any exporter of its own."""
    return configure(version="0", instance="test", environ={})


@pytest.fixture(scope="session")
def _exporter(telemetry: Telemetry) -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    telemetry.export_to(exporter)
    return exporter


@pytest.fixture
def exported(_exporter: InMemorySpanExporter) -> Iterator[InMemorySpanExporter]:
    """What leaves the process as spans during one test."""
    _exporter.clear()
    yield _exporter
    _exporter.clear()
