"""Records as the OpenTelemetry SDK's own, in the process that exports. The only place that knows it, and its exporters.

Spans come with their ids, which are derived elsewhere: the SDK's generator of ids gives just those. Sampling is decided
by the trace alone, so that all processes decide alike; a trace that came unsampled from outside stays so.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from opentelemetry import trace
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.context import Context
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import export as metrics
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from ion import __version__
from ion.management.telemetry.records import Figure, Figures, Line, Point, Shape, Span

SCOPE = "ion"
_SEVERITIES = {10: SeverityNumber.DEBUG, 20: SeverityNumber.INFO, 30: SeverityNumber.WARN, 40: SeverityNumber.ERROR}
_FATAL = 50


def resource_of(ours: Mapping[str, str]) -> Resource:
    """Who exports; what OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say goes first."""
    return Resource.create({**ours, **OTELResourceDetector().detect().attributes})


class Spans:
    """Makes spans of records and hands them to exporters, in batches."""

    def __init__(self, resource: Resource, exporters: Iterable[Any]) -> None:
        self._ids = _Given()
        sampler = TracerProvider(shutdown_on_exit=False).sampler  # as the variables say
        self._provider = TracerProvider(_ByTrace(sampler), resource, shutdown_on_exit=False, id_generator=self._ids)
        for exporter in exporters:
            self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer(SCOPE, __version__)

    def add(self, record: Span) -> None:
        flags = trace.TraceFlags(record.flags)
        trace_id = int(record.trace_id, 16)
        self._ids.trace_id, self._ids.span_id = trace_id, int(record.span_id, 16)
        links = [trace.Link(_context(trace_id, one, flags)) for one in record.links]
        span = self._tracer.start_span(
            record.name,
            context=_parent(trace_id, record.parent_id, flags),
            kind=trace.SpanKind[record.kind.name],
            attributes=record.attributes,
            links=links,
            start_time=record.began_ns,
        )
        if record.error:
            span.set_status(trace.StatusCode.ERROR, record.error)
        span.end(record.ended_ns)

    def close(self) -> None:
        """Exports what is left."""
        self._provider.shutdown()


class Lines:
    """Makes log records of records."""

    def __init__(self, resource: Resource, exporters: Iterable[Any]) -> None:
        self._provider = LoggerProvider(resource, shutdown_on_exit=False)
        for exporter in exporters:
            self._provider.add_log_record_processor(BatchLogRecordProcessor(exporter))

    def add(self, record: Line) -> None:
        context: Context | None = None
        if record.trace_id:
            context = _parent(int(record.trace_id, 16), record.span_id, trace.TraceFlags(record.flags))
        said = LogRecord(
            timestamp=record.at_ns,
            observed_timestamp=record.at_ns,
            context=context,
            severity_text=_severity(record.number).name,
            severity_number=_severity(record.number),
            body=record.message,
            attributes=record.attributes,
        )
        self._provider.get_logger(record.logger).emit(said)

    def close(self) -> None:
        self._provider.shutdown()


def metrics_data(resource: Resource, told: Figures, *, delta: bool) -> metrics.MetricsData:
    """Figures as the SDK's exporters take them; they were counted elsewhere."""
    made = [_metric(figure, told, delta=delta) for figure in told.figures]
    scope = metrics.ScopeMetrics(InstrumentationScope(SCOPE, __version__), made, "")
    return metrics.MetricsData([metrics.ResourceMetrics(resource, [scope], "")])


def _metric(figure: Figure, told: Figures, *, delta: bool) -> metrics.Metric:
    how = metrics.AggregationTemporality.DELTA if delta else metrics.AggregationTemporality.CUMULATIVE
    data: metrics.DataT
    match figure.shape:
        case Shape.GAUGE:
            data = metrics.Gauge(_numbers(figure.points, told))
        case Shape.SUM:
            data = metrics.Sum(_numbers(figure.points, told), how, is_monotonic=True)
        case Shape.HISTOGRAM:
            data = metrics.Histogram([_histogram(point, told) for point in figure.points], how)
    return metrics.Metric(figure.name, figure.description, figure.unit, data)


def _numbers(points: Sequence[Point], told: Figures) -> list[metrics.NumberDataPoint]:
    return [metrics.NumberDataPoint(point.attributes, told.since_ns, told.at_ns, point.value) for point in points]


def _histogram(point: Point, told: Figures) -> metrics.HistogramDataPoint:
    """Its least and greatest are not counted: left out, where they can be."""
    unknown: Any = None
    return metrics.HistogramDataPoint(
        point.attributes, told.since_ns, told.at_ns, point.count, point.value, point.buckets, point.bounds,
        unknown, unknown,
    )  # fmt: skip


def exporter_of(signal: str, kind: str) -> Any:
    """An exporter of the SDK's, which reads the variables that are its own.

    Raises:
        ImportError: its package is not here.
    """
    making: Callable[[str], Any] = {"otlp": _otlp, "console": _console, "azure": _azure}[kind]
    return making(signal)


def _otlp(signal: str) -> Any:
    name = f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL"
    protocol = os.environ.get(name) or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL") or "http/protobuf"
    if protocol == "grpc":
        return _otlp_grpc(signal)
    if protocol != "http/protobuf":
        raise ValueError(f"the protocol '{protocol}' is not known: set {name} to http/protobuf or grpc")
    from opentelemetry.exporter.otlp.proto.http import _log_exporter, metric_exporter, trace_exporter

    return {
        "traces": trace_exporter.OTLPSpanExporter,
        "metrics": metric_exporter.OTLPMetricExporter,
        "logs": _log_exporter.OTLPLogExporter,
    }[signal]()


def _otlp_grpc(signal: str) -> Any:
    from opentelemetry.exporter.otlp.proto.grpc import _log_exporter, metric_exporter, trace_exporter

    return {
        "traces": trace_exporter.OTLPSpanExporter,
        "metrics": metric_exporter.OTLPMetricExporter,
        "logs": _log_exporter.OTLPLogExporter,
    }[signal]()


def _console(signal: str) -> Any:
    import sys

    from opentelemetry.sdk._logs.export import ConsoleLogRecordExporter
    from opentelemetry.sdk.trace.export import ConsoleSpanExporter

    made = {"traces": ConsoleSpanExporter, "metrics": metrics.ConsoleMetricExporter, "logs": ConsoleLogRecordExporter}
    return made[signal](out=sys.stderr)  # standard output is for results


def _azure(signal: str) -> Any:
    """Keeps nothing on this disk while Azure is away, and tells Microsoft nothing about itself, unless it is said."""
    os.environ.setdefault("APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL", "true")
    from azure.monitor.opentelemetry import exporter

    return {
        "traces": exporter.AzureMonitorTraceExporter,
        "metrics": exporter.AzureMonitorMetricExporter,
        "logs": exporter.AzureMonitorLogExporter,
    }[signal](disable_offline_storage=True)


class _Given(IdGenerator):
    """The ids of the record that is made now."""

    trace_id = span_id = 0

    def generate_trace_id(self) -> int:
        return self.trace_id

    def generate_span_id(self) -> int:
        return self.span_id


class _ByTrace(Sampler):
    """Asks the sampler as if each span were the first of its trace, unless the trace came unsampled.

    Ion marks the traces that it begins as sampled, whatever is set, for it cannot know what other hosts are set to. So
    that mark says nothing, and the sampler, which looks at the trace's id, is asked everywhere.
    """

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler

    def should_sample(
        self, parent_context: Context | None, trace_id: int, name: str, *more: Any, **named: Any
    ) -> SamplingResult:
        parent = trace.get_current_span(parent_context).get_span_context()
        if parent.is_valid and not parent.trace_flags.sampled:
            return SamplingResult(Decision.DROP)
        return self._sampler.should_sample(None, trace_id, name, *more, **named)

    def get_description(self) -> str:
        return f"ByTrace({self._sampler.get_description()})"


def _context(trace_id: int, span_id: str, flags: trace.TraceFlags) -> trace.SpanContext:
    return trace.SpanContext(trace_id, int(span_id, 16), is_remote=True, trace_flags=flags)


def _parent(trace_id: int, span_id: str, flags: trace.TraceFlags) -> Context:
    if not span_id:
        return Context()
    return trace.set_span_in_context(trace.NonRecordingSpan(_context(trace_id, span_id, flags)), Context())


def _severity(number: int) -> SeverityNumber:
    """OpenTelemetry's number for one of Python's."""
    return SeverityNumber.FATAL if number >= _FATAL else _SEVERITIES.get(number // 10 * 10, SeverityNumber.DEBUG)
