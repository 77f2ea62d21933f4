"""What goes through the pipe, and what is made of it at its other end."""

import io

import pytest
from prometheus_client import CollectorRegistry, Histogram
from tests.telemetry.lived import BASE_S, committed

from ion.management.metrics.counts import Counts
from ion.management.telemetry.deltas import Deltas
from ion.management.telemetry.figures import ATTRIBUTES, NAMES, figures
from ion.management.telemetry.lives import UNSEEN, released_life
from ion.management.telemetry.records import Figure, Figures, Line, Point, Record, Shape, framed, unframed
from ion.management.telemetry.wanted import wanted

LINE = Line(at_ns=1, number=30, logger="l", message="m")
OTLP = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}
ALL = {"traces": ("otlp",), "metrics": ("otlp",), "logs": ("otlp",)}


def test_records_come_as_they_went() -> None:
    """All that are whole; one that was cut off by the sender's death is left out, wherever it was cut."""
    records: list[Record] = [LINE, Figures(since_ns=1, at_ns=2, figures=())]
    stream = b"".join(framed(record) for record in records)
    assert list(unframed(io.BytesIO(stream))) == records
    for length in range(len(framed(records[0])), len(stream)):
        assert list(unframed(io.BytesIO(stream[:length]))) == records[:1]


def test_a_histogram_is_told_in_buckets_of_its_own() -> None:
    """Prometheus adds them up; OpenTelemetry does not."""
    registry = CollectorRegistry()
    seconds = Histogram("ion_step_seconds", "d", ("module", "step"), buckets=(1, 10), registry=registry)
    for value in (0.5, 1, 2, 20):
        seconds.labels("m", "wait").observe(value)
    (figure,) = figures(registry.collect(), 7).figures
    assert figure.points == (
        Point(
            attributes={"ion.module": "m", "ion.step": "wait"},
            value=23.5,
            count=4,
            bounds=(1.0, 10.0),
            buckets=(2, 1, 1),
        ),
    )


def test_every_figure_and_label_of_the_page_has_a_name() -> None:
    """None that is counted is forgotten."""
    for family in Counts().registry.collect():
        assert family.name in NAMES
    counts = Counts()
    counts.live(released_life(committed(), UNSEEN, BASE_S + 40))
    labels = {name for family in counts.registry.collect() for sample in family.samples for name in sample.labels}
    assert labels - {"le"} <= ATTRIBUTES.keys()


def test_deltas_are_what_has_come_since() -> None:
    """Of sums and histograms, by series; gauges stay as they are."""

    def told(at_ns: int, value: float, count: int) -> Figures:
        points = (Point(attributes={"a": "x"}, value=value, count=count, bounds=(1.0,), buckets=(count, 0)),)
        kinds = [(Shape.SUM, "s"), (Shape.HISTOGRAM, "h"), (Shape.GAUGE, "g")]
        return Figures(
            since_ns=1,
            at_ns=at_ns,
            figures=tuple(
                Figure(name=name, description="", unit="", shape=kind, points=points) for kind, name in kinds
            ),
        )

    deltas = Deltas()
    assert deltas.of(told(10, 5, 2)) == told(10, 5, 2)
    second = deltas.of(told(20, 8, 6))
    assert (second.since_ns, second.at_ns) == (10, 20)
    ours = {figure.name: figure.points[0] for figure in second.figures}
    assert [(ours[name].value, ours[name].count, ours[name].buckets) for name in "shg"] == [
        (3, 4, (4, 0)), (3, 4, (4, 0)), (8, 6, (6, 0)),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("variables", "exporters"),
    [
        ({}, {}),
        ({"OTEL_SERVICE_NAME": "x", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, {}),
        (OTLP, ALL),
        (OTLP | {"OTEL_SDK_DISABLED": "TRUE"}, {}),
        (OTLP | {"OTEL_LOGS_EXPORTER": "none"}, {"traces": ("otlp",), "metrics": ("otlp",)}),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c"}, {"traces": ("otlp",)}),
        ({"OTEL_TRACES_EXPORTER": "otlp, console"}, {"traces": ("otlp", "console")}),
        ({"APPLICATIONINSIGHTS_CONNECTION_STRING": "k"}, dict.fromkeys(ALL, ("azure",))),
        (OTLP | {"APPLICATIONINSIGHTS_CONNECTION_STRING": "k"}, dict.fromkeys(ALL, ("otlp", "azure"))),
        ({"OTEL_METRICS_EXPORTER": "prometheus"}, {}),
    ],
)
def test_variables_say_what_goes_where(variables: dict[str, str], exporters: dict[str, tuple[str, ...]]) -> None:
    """Nothing unless one of them asks for it."""
    found = wanted(variables)
    assert (found.exporters if found else {}) == exporters


def test_a_variable_that_cannot_be_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """And the rest goes on: telemetry never keeps Ion from starting."""
    found = wanted(OTLP | {"OTEL_TRACES_EXPORTER": "zipkin", "OTEL_METRIC_EXPORT_INTERVAL": "soon"})
    assert found is not None
    assert (found.exporters.get("traces"), found.interval_s) == (None, 60)
    assert [record.getMessage().split(" ")[0] for record in caplog.records] == [
        "OTEL_TRACES_EXPORTER",
        "OTEL_METRIC_EXPORT_INTERVAL",
    ]
