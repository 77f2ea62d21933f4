"""Exporters that tell how each export ended. Whatever an exporter raises is one that failed, and ends nothing else."""

import os
from collections.abc import Sequence
from typing import Any

from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.metrics.export import MetricExportResult, MetricsData
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from ion.management.telemetry.delivery import Delivery, without_queries
from ion.management.telemetry.wanted import AZURE, OTLP


class _Watched:
    def __init__(self, exporter: Any, delivery: Delivery, signal: str, kind: str) -> None:
        self._exporter, self._delivery, self._signal = exporter, delivery, signal
        self._where = where(signal, kind)

    def _export(self, batch: Any, success: object) -> bool:
        try:
            ok = bool(self._exporter.export(batch) is success)
        except Exception as error:  # noqa: BLE001 - a vendor's fault costs telemetry and nothing else
            ok = False
            self._delivery.hear(f"{type(error).__name__}: {error}")
        self._delivery.ended(self._signal, ok=ok, where=self._where)
        return ok

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, _: int = 30_000) -> bool:
        return True


class WatchedSpans(_Watched, SpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        ok = self._export(spans, SpanExportResult.SUCCESS)
        return SpanExportResult.SUCCESS if ok else SpanExportResult.FAILURE


class WatchedLines(_Watched, LogRecordExporter):
    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        ok = self._export(batch, LogRecordExportResult.SUCCESS)
        return LogRecordExportResult.SUCCESS if ok else LogRecordExportResult.FAILURE


class WatchedFigures(_Watched):
    """`adds_up`: whether it wants what was added since the last export, as Azure Monitor does."""

    def __init__(self, exporter: Any, delivery: Delivery, signal: str, kind: str) -> None:
        super().__init__(exporter, delivery, signal, kind)
        preference = os.environ.get("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "")
        self.adds_up = kind == "azure" or (kind == OTLP and preference.strip().lower() in ("delta", "lowmemory"))

    def export(self, data: MetricsData) -> None:
        self._export(data, MetricExportResult.SUCCESS)


WATCHED = {"traces": WatchedSpans, "logs": WatchedLines, "metrics": WatchedFigures}


def where(signal: str, kind: str) -> str:
    """What a person calls the place that it is exported to."""
    if kind != OTLP:
        return {"azure": f"Azure Monitor ({AZURE})"}.get(kind, kind)
    name = f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT"
    url = os.environ.get(name) or os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or "the default endpoint"
    return without_queries(url)
