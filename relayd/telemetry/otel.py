"""OpenTelemetry's set-up: what is exported and where to, and an end that never outlasts its deadline."""

import os
import socket
import threading
from collections.abc import Mapping
from time import monotonic

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter
from prometheus_client import CollectorRegistry, generate_latest

from relayd import __version__
from relayd.telemetry.aws import after_call, before_call, guarded
from relayd.telemetry.scrubbing import ScrubbingExporter

MAX_ATTRIBUTE = 512
"""Characters of a span attribute, unless OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT says otherwise."""


class Telemetry:
    """What was set up, and how it ends."""

    def __init__(self, tracers: TracerProvider, meters: MeterProvider, registry: CollectorRegistry) -> None:
        self._tracers = tracers
        self._meters = meters
        self._registry = registry

    def metrics_text(self) -> bytes:
        """Every instrument in Prometheus's text form, for /metrics."""
        return generate_latest(self._registry)

    def export_to(self, exporter: SpanExporter) -> None:
        """Give every span that ends from now on to one more exporter, at once and scrubbed like all others."""
        self._tracers.add_span_processor(SimpleSpanProcessor(ScrubbingExporter(exporter)))

    def shutdown(self, deadline_seconds: float) -> bool:
        """Export what is left and stop. False when the deadline passed first; what is left then is lost.

        The library's own shutdown blocks for 14 to 30 s when the collector is down and takes no timeout: it runs in
        daemon threads that the interpreter's end cuts off.
        """
        deadline = monotonic() + deadline_seconds
        threads = [
            threading.Thread(target=stop, name=f"telemetry-{name}-shutdown", daemon=True)
            for name, stop in (("traces", self._tracers.shutdown), ("metrics", self._meters.shutdown))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, deadline - monotonic()))
        return not any(thread.is_alive() for thread in threads)


_lock = threading.Lock()
_configured: list[Telemetry] = []
"""The process's one set-up: OpenTelemetry's global providers can be set only once, and botocore patched only once."""


def configure(
    *, version: str = __version__, instance: str | None = None, environ: Mapping[str, str] = os.environ
) -> Telemetry:
    """Set the global providers and instrument botocore; later calls return the first one's Telemetry.

    Spans and metrics go out over OTLP only where OTEL_EXPORTER_OTLP_ENDPOINT (or its form for one signal) is set;
    the other OTEL_* variables keep their meaning (the library reads them itself). Without an exporter spans are
    still made: their ids join log lines.
    """
    with _lock:
        if not _configured:
            _configured.append(_set_up(version, instance or _instance(), environ))
        return _configured[0]


def _set_up(version: str, instance: str, environ: Mapping[str, str]) -> Telemetry:
    resource = _resource(version, instance, environ)
    limit = None if "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT" in environ else MAX_ATTRIBUTE
    tracers = TracerProvider(
        resource=resource, shutdown_on_exit=False, span_limits=SpanLimits(max_attribute_length=limit)
    )
    if _exports("TRACES", environ):
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        tracers.add_span_processor(BatchSpanProcessor(ScrubbingExporter(OTLPSpanExporter())))
    registry = CollectorRegistry()
    meters = _meters(resource, registry, environ)
    trace.set_tracer_provider(tracers)
    metrics.set_meter_provider(meters)
    _instrument_botocore(tracers)
    return Telemetry(tracers, meters, registry)


def _instance() -> str:
    # In a pod the host name is the pod's; the process id tells two daemons of one host apart.
    return f"{socket.gethostname()}-{os.getpid()}"


def _resource(version: str, instance: str, environ: Mapping[str, str]) -> Resource:
    attributes = {"service.version": version, "service.instance.id": instance}
    # What is given here wins over the environment: a name that was set there must not be given.
    if "OTEL_SERVICE_NAME" not in environ and "service.name=" not in environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        attributes["service.name"] = "relayd"
    return Resource.create(attributes)


def _exports(signal: str, environ: Mapping[str, str]) -> bool:
    if environ.get(f"OTEL_{signal}_EXPORTER", "otlp").strip() != "otlp":
        return False
    return bool(environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or environ.get(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT"))


def _meters(resource: Resource, registry: CollectorRegistry, environ: Mapping[str, str]) -> MeterProvider:
    from opentelemetry.exporter.prometheus import PrometheusMetricReader

    readers: list[MetricReader] = [PrometheusMetricReader(scope_info_enabled=False, registry=registry)]
    if not _exports("METRICS", environ):
        # Prometheus's text form has no exemplars: collecting them would be for nobody.
        return MeterProvider(readers, resource, AlwaysOffExemplarFilter(), shutdown_on_exit=False)
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

    readers.append(PeriodicExportingMetricReader(OTLPMetricExporter()))
    return MeterProvider(readers, resource, shutdown_on_exit=False)


def _instrument_botocore(tracers: TracerProvider) -> None:
    from opentelemetry.instrumentation.botocore import BotocoreInstrumentor

    BotocoreInstrumentor().instrument(  # type: ignore[no-untyped-call]
        tracer_provider=tracers,
        request_hook=guarded(before_call),
        response_hook=guarded(after_call),
        skip_dep_check=True,
    )
