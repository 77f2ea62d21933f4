"""What is to be exported, by OpenTelemetry's standard variables. Without one of them nothing is, and nothing is loaded.

The variables say more than is read here: protocol, headers, certificates, time limits, sampling, sizes of batches. The
SDK reads them itself, in the process that exports.
"""

import logging
from collections.abc import Mapping

import msgspec

log = logging.getLogger("ion.telemetry")

SIGNALS = ("traces", "metrics", "logs")
AZURE = "APPLICATIONINSIGHTS_CONNECTION_STRING"
OTLP, CONSOLE, NONE = "otlp", "console", "none"
INTERVAL_MS = 60_000
"""Between two exports of metrics, as OpenTelemetry has it."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """By signal, which exporters it goes to; `interval_s` is between two exports of metrics."""

    exporters: Mapping[str, tuple[str, ...]]
    interval_s: float

    def has(self, signal: str) -> bool:
        return signal in self.exporters


def wanted(environ: Mapping[str, str]) -> Wanted | None:
    """None if nothing is to be exported. What a variable says that cannot be is left out, with a warning."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    exporters = {signal: found for signal in SIGNALS if (found := _exporters(signal, environ))}
    return Wanted(exporters=exporters, interval_s=_interval_s(environ)) if exporters else None


def _exporters(signal: str, environ: Mapping[str, str]) -> tuple[str, ...]:
    azure = ("azure",) if environ.get(AZURE) else ()
    name = f"OTEL_{signal.upper()}_EXPORTER"
    if said := [word.strip() for word in environ.get(name, "").split(",") if word.strip()]:
        for word in set(said) - {OTLP, CONSOLE, NONE}:
            log.warning("%s says '%s', which Ion does not have: give %s, %s or %s", name, word, OTLP, CONSOLE, NONE)
        return () if NONE in said else (*(word for word in said if word in (OTLP, CONSOLE)), *azure)
    endpoint = environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or environ.get(
        f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT"
    )
    return ((OTLP,) if endpoint else ()) + azure


def _interval_s(environ: Mapping[str, str]) -> float:
    text = environ.get("OTEL_METRIC_EXPORT_INTERVAL", "").strip() or str(INTERVAL_MS)
    if text.isascii() and text.isdigit() and int(text):
        return int(text) / 1000
    log.warning("OTEL_METRIC_EXPORT_INTERVAL is '%s': give milliseconds; %s are taken", text, INTERVAL_MS)
    return INTERVAL_MS / 1000
