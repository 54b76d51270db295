"""OpenTelemetry's set-up: what is exported and where to, and an end that never outlasts its deadline."""

import os
import secrets
import socket
import threading
from collections.abc import Mapping, Sequence
from time import monotonic

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, SynchronousMultiSpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

from relayd import __version__
from relayd.telemetry import names
from relayd.telemetry.aws import after_call, before_call, guarded
from relayd.telemetry.catalogue import INSTRUMENTS
from relayd.telemetry.keeping import HeldTraces, KeepingSampler
from relayd.telemetry.scrubbing import ScrubbingExporter

MAX_ATTRIBUTE = 512
"""Characters of a span attribute, unless OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT says otherwise."""


class Telemetry:
    """What was set up, and how it ends."""

    def __init__(
        self, tracers: TracerProvider, tracing: "_Tracing", meters: MeterProvider, registry: CollectorRegistry
    ) -> None:
        self._tracers = tracers
        self._tracing = tracing
        self._meters = meters
        self._registry = registry

    @property
    def instance(self) -> str:
        """What spans and metrics name this process by (`service.instance.id`)."""
        return str(self._tracers.resource.attributes["service.instance.id"])

    def metrics_text(self) -> bytes:
        """Every instrument in Prometheus's text form, for /metrics."""
        return generate_latest(self._registry)

    def export_to(self, exporter: SpanExporter) -> None:
        """Give every span that ends from now on to one more exporter, at once and scrubbed like all others."""
        self._tracing.begin()
        self._tracers.add_span_processor(SimpleSpanProcessor(ScrubbingExporter(exporter)))

    def record_unsampled(self, on: bool) -> None:
        """Whether messages that the sampler does not choose are recorded until their end all the same, so that
        `spans.keep` can have any of them exported.
        """
        self._tracing.held.recording = on and self._tracing.exporting

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


class _Process(Resource):
    """What every span says of this process. The exporter asks for its hash with each span, for which the library makes
    JSON of all attributes each time.
    """

    def __init__(self, made: Resource) -> None:
        super().__init__(made.attributes, made.schema_url)
        self._hash = super().__hash__()

    def __hash__(self) -> int:
        return self._hash


class _Tracing:
    """What decides which spans are recorded: the configured sampler, once somebody exports what it takes."""

    def __init__(self, tracers: TracerProvider, held: HeldTraces) -> None:
        self.held = held
        self.exporting = False
        self._configured = tracers.sampler
        self._sampler = KeepingSampler(ALWAYS_OFF, held)
        # Tracers, which are made later, take what is here then.
        tracers.sampler = self._sampler

    def begin(self) -> None:
        """Spans leave the process from now on."""
        self.exporting = True
        self._sampler.use(self._configured)


_lock = threading.Lock()
_configured: list[Telemetry] = []
"""The process's one set-up: OpenTelemetry's global providers can be set only once, and botocore patched only once."""


def configure(
    *,
    version: str = __version__,
    instance: str | None = None,
    environ: Mapping[str, str] = os.environ,
    observing: bool = False,
) -> Telemetry:
    """Set the global providers and instrument botocore; later calls return the first one's Telemetry.

    Spans and metrics go out over OTLP only where OTEL_EXPORTER_OTLP_ENDPOINT (or its form for one signal) is set;
    the other OTEL_* variables keep their meaning (the library reads them itself). Without an exporter nothing is
    recorded; messages still have trace ids, which join their log lines. `observing`: what is counted is what a daemon
    would have done, and goes by other names, so that no dashboard and no alert takes it for done.
    """
    with _lock:
        if not _configured:
            _configured.append(_set_up(version, instance or _instance(), environ, observing))
        return _configured[0]


def _set_up(version: str, instance: str, environ: Mapping[str, str], observing: bool) -> Telemetry:
    resource = _resource(version, instance, environ, observing)
    limit = None if "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT" in environ else MAX_ATTRIBUTE
    processors = SynchronousMultiSpanProcessor()  # type: ignore[no-untyped-call]
    tracers = TracerProvider(
        resource=resource,
        shutdown_on_exit=False,
        active_span_processor=processors,
        span_limits=SpanLimits(max_attribute_length=limit),
    )
    held = HeldTraces(processors.on_end)
    tracers.add_span_processor(held)
    # The provider has read OTEL_TRACES_SAMPLER.
    tracing = _Tracing(tracers, held)
    if _exports("TRACES", environ):
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        tracing.begin()
        tracers.add_span_processor(BatchSpanProcessor(ScrubbingExporter(OTLPSpanExporter())))
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    meters = _meters(resource, registry, environ, _other_names() if observing else ())
    trace.set_tracer_provider(tracers)
    metrics.set_meter_provider(meters)
    _instrument_botocore(tracers)
    return Telemetry(tracers, tracing, meters, registry)


def _instance() -> str:
    # In a pod the host name is the pod's; the process id tells two daemons of one host apart. In a container both are
    # often the same again after a restart, hence a random end. Together they fit a column of the ledger's database.
    return f"{socket.gethostname()[:45]}-{os.getpid()}-{secrets.token_hex(2)}"


def _resource(version: str, instance: str, environ: Mapping[str, str], observing: bool) -> Resource:
    attributes: dict[str, str | bool] = {"service.version": version, "service.instance.id": instance}
    if observing:
        attributes[names.OBSERVED] = True
    # What is given here wins over the environment: a name that was set there must not be given.
    if "OTEL_SERVICE_NAME" not in environ and "service.name=" not in environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        attributes["service.name"] = "relayd"
    return _Process(Resource.create(attributes))


def _exports(signal: str, environ: Mapping[str, str]) -> bool:
    if environ.get(f"OTEL_{signal}_EXPORTER", "otlp").strip() != "otlp":
        return False
    return bool(environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or environ.get(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT"))


def _other_names() -> list[View]:
    return [View(instrument_name=name, name=names.observed(name)) for name in INSTRUMENTS]


def _meters(
    resource: Resource, registry: CollectorRegistry, environ: Mapping[str, str], views: Sequence[View]
) -> MeterProvider:
    from opentelemetry.exporter.prometheus import PrometheusMetricReader

    readers: list[MetricReader] = [PrometheusMetricReader(scope_info_enabled=False, registry=registry)]
    if not _exports("METRICS", environ):
        # Prometheus's text form has no exemplars: collecting them would be for nobody.
        return MeterProvider(readers, resource, AlwaysOffExemplarFilter(), shutdown_on_exit=False, views=views)
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

    readers.append(PeriodicExportingMetricReader(OTLPMetricExporter()))
    return MeterProvider(readers, resource, shutdown_on_exit=False, views=views)


def _instrument_botocore(tracers: TracerProvider) -> None:
    from opentelemetry.instrumentation.botocore import BotocoreInstrumentor

    BotocoreInstrumentor().instrument(  # type: ignore[no-untyped-call]
        tracer_provider=tracers,
        request_hook=guarded(before_call),
        response_hook=guarded(after_call),
        skip_dep_check=True,
    )
