"""A collector of the tests' own: a real OTLP receiver, over HTTP or gRPC, which keeps all that comes.

It can refuse, and it can be slow to answer: whoever exports to it has to bear that.
"""

import gzip
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import grpc
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

REQUESTS = {
    "/v1/traces": trace_service_pb2.ExportTraceServiceRequest,
    "/v1/metrics": metrics_service_pb2.ExportMetricsServiceRequest,
    "/v1/logs": logs_service_pb2.ExportLogsServiceRequest,
}
PATIENCE_S = 180.0


class Span(NamedTuple):
    """A span as it came; `process` is the instance that sent it."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: int
    began_ns: int
    ended_ns: int
    attributes: Mapping[str, Any]
    links: tuple[str, ...]
    error: str
    process: str

    @property
    def seconds(self) -> float:
        return (self.ended_ns - self.began_ns) / 1e9


class Line(NamedTuple):
    """A log record as it came."""

    message: str
    severity: str
    logger: str
    trace_id: str
    span_id: str
    attributes: Mapping[str, Any]


class Collector:
    """What came, at `endpoint`. `delay_s`: how long each answer takes; `refuses`: it answers 503 and keeps nothing."""

    def __init__(self, endpoint: str = "") -> None:
        self.endpoint = endpoint
        self.delay_s = 0.0
        self.refuses = False
        self.headers: list[Mapping[str, str]] = []
        self.requests: list[Any] = []
        self._closing = threading.Event()

    def take(self, request: Any, headers: Mapping[str, str]) -> bool:
        """Keeps what came in one request; False if it is refused."""
        if self.delay_s:
            self._closing.wait(self.delay_s)
        if self.refuses:
            return False
        self.headers.append(headers)
        self.requests.append(request)
        return True

    def close(self) -> None:
        self._closing.set()

    # ---- what came ----------------------------------------------------------------------------------------------

    @property
    def resources(self) -> list[dict[str, Any]]:
        return [_attributes(one.resource.attributes) for request in list(self.requests) for one in _parts(request)]

    @property
    def spans(self) -> list[Span]:
        return [
            _span(span, _attributes(one.resource.attributes))
            for request in self._of("/v1/traces")
            for one in request.resource_spans
            for scope in one.scope_spans
            for span in scope.spans
        ]

    @property
    def lines(self) -> list[Line]:
        return [
            _line(record, scope.scope.name)
            for request in self._of("/v1/logs")
            for one in request.resource_logs
            for scope in one.scope_logs
            for record in scope.log_records
        ]

    @property
    def metrics(self) -> dict[str, Metric]:
        """The last of each name."""
        return {
            metric.name: metric
            for request in self._of("/v1/metrics")
            for one in request.resource_metrics
            for scope in one.scope_metrics
            for metric in scope.metrics
        }

    def values(self, name: str) -> list[float]:
        """Of a sum with one point, in the order in which they came."""
        return [
            point.as_double
            for request in self._of("/v1/metrics")
            for one in request.resource_metrics
            for scope in one.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.sum.data_points
        ]

    def points(self, name: str) -> dict[tuple[Any, ...], Any]:
        """A metric's last points by the values of their attributes, in the order of the names."""
        if (metric := self.metrics.get(name)) is None:
            return {}
        points = getattr(metric, str(metric.WhichOneof("data"))).data_points
        return {tuple(value for _, value in sorted(_attributes(one.attributes).items())): one for one in points}

    def until(self, met: Callable[[], bool]) -> None:
        """Waits for what is to come, for a while."""
        deadline = time.monotonic() + PATIENCE_S
        while not met():
            assert time.monotonic() < deadline, f"it has not come: {[span.name for span in self.spans]}"
            time.sleep(0.02)

    def _of(self, path: str) -> list[Any]:
        """Each once: the SDK sends a request again whose answer was late."""
        found: list[Any] = [request for request in list(self.requests) if isinstance(request, REQUESTS[path])]
        return list({request.SerializeToString(deterministic=True): request for request in found}.values())


@contextmanager
def http_collector(port: int = 0) -> Iterator[Collector]:
    """A collector over HTTP; a `port` of 0 takes a free one."""
    collector = Collector()
    server = ThreadingHTTPServer(("127.0.0.1", port), _handler(collector))
    thread = threading.Thread(target=server.serve_forever, name="collector", kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        collector.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
        yield collector
    finally:
        collector.close()
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def grpc_collector() -> Iterator[Collector]:
    """The same, over gRPC."""
    collector = Collector()
    server = grpc.server(ThreadPoolExecutor(4))
    for add, kind, answer in (
        (trace_service_pb2_grpc.add_TraceServiceServicer_to_server, trace_service_pb2, "ExportTraceServiceResponse"),
        (
            metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server,
            metrics_service_pb2,
            "ExportMetricsServiceResponse",
        ),
        (logs_service_pb2_grpc.add_LogsServiceServicer_to_server, logs_service_pb2, "ExportLogsServiceResponse"),
    ):
        add(_Servicer(collector, getattr(kind, answer)), server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        collector.endpoint = f"http://127.0.0.1:{port}"
        yield collector
    finally:
        collector.close()
        server.stop(None).wait()


class _Servicer:
    def __init__(self, collector: Collector, answer: Callable[[], Any]) -> None:
        self._collector, self._answer = collector, answer

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802 - the service's name
        if not self._collector.take(request, dict(context.invocation_metadata())):
            context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
        return self._answer()


def _handler(collector: Collector) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            assert self.headers["content-type"] == "application/x-protobuf"
            request = REQUESTS[self.path]()
            request.ParseFromString(body)
            taken = collector.take(request, {name.lower(): value for name, value in self.headers.items()})
            self.send_response(200 if taken else 503)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            return

    return Handler


def _parts(request: Any) -> Any:
    return next(getattr(request, field.name) for field in request.DESCRIPTOR.fields)


def _span(span: Any, resource: Mapping[str, Any]) -> Span:
    return Span(
        name=span.name,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        kind=span.kind,
        began_ns=span.start_time_unix_nano,
        ended_ns=span.end_time_unix_nano,
        attributes=_attributes(span.attributes),
        links=tuple(link.span_id.hex() for link in span.links),
        error=span.status.message,
        process=resource["service.instance.id"],
    )


def _line(record: Any, logger: str) -> Line:
    return Line(
        message=record.body.string_value,
        severity=record.severity_text,
        logger=logger,
        trace_id=record.trace_id.hex(),
        span_id=record.span_id.hex(),
        attributes=_attributes(record.attributes),
    )


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair) for pair in pairs}


def _value(pair: KeyValue) -> Any:
    value: AnyValue = pair.value
    return getattr(value, str(value.WhichOneof("value")))


if __name__ == "__main__":  # a process of its own, to be killed
    with http_collector(int(sys.argv[1])) as ours:
        print(ours.endpoint, flush=True)
        threading.Event().wait()
