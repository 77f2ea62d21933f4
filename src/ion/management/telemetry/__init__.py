"""What a process that dispatches or serves tells of its work: traces, metrics and log records, by OTLP.

    dispatcher ── steps, releases ──► Watching ── lives ──► Counts ────► the page for Prometheus
                                          │                   │
    log lines ──────────────────────► Telemetry ◄── figures ──┘
                                          │ a pipe
                                     a process of its own: the OpenTelemetry SDK ──► collector

`lives` says from when to when each step of an attempt took; `spans` makes spans of that, with ids that are derived and
not drawn. Nothing of OpenTelemetry is imported here. Its SDK and exporters run in a process of their own (`exporter`),
which reads records from a pipe. So a collector that is away, slow or broken costs telemetry and nothing else: not the
interpreter's lock, not memory, not a hop. A dispatcher that is killed does not take along what it has handed over.
"""
