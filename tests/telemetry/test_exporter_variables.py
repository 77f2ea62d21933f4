"""The process that exports by itself: what it makes of the variables, and what it says where they cannot be."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping

import msgspec
import pytest
from tests.telemetry.collector import Collector, grpc_collector

from ion.management.telemetry.exporter import Orders
from ion.management.telemetry.records import Figure, Figures, Line, Point, Record, Shape, Span, framed
from ion.management.telemetry.wanted import wanted

RECORDS: list[Record] = [
    Span(name="s", trace_id="1" * 32, span_id="2" * 16, began_ns=1, ended_ns=2),
    Line(at_ns=1, number=30, logger="l", message="m"),
    Figures(
        since_ns=1,
        at_ns=2,
        figures=(Figure(name="f", description="", unit="1", shape=Shape.GAUGE, points=(Point(value=1),)),),
    ),
]
AZURE = "APPLICATIONINSIGHTS_CONNECTION_STRING"
HEADERS, TRACES_HEADERS = "OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"


def exports(variables: Mapping[str, str]) -> list[str]:
    """Lets it export one record of each kind, and gives what it said."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")} | dict(variables)
    asked = wanted(environ)
    assert asked is not None
    orders = Orders(wanted=asked, resource={"service.name": "ion", "service.instance.id": "1"}, as_json=False)
    ended = subprocess.run(
        [sys.executable, "-m", "ion.management.telemetry.exporter", msgspec.json.encode(orders).decode()],
        input=b"".join(map(framed, RECORDS)),
        env=environ,
        capture_output=True,
        check=True,
    )
    return ended.stderr.decode().splitlines()


@pytest.mark.parametrize(
    "variables",
    [
        {HEADERS: "Authorization: Bearer hidden"},
        {TRACES_HEADERS: "x-api-key hidden"},
        {HEADERS: "Authorization=Bearer%0Ahidden"},
        {HEADERS: "Authorization=Bearer hi,dden, x-key=hidden\tvalue"},
    ],
)
def test_no_header_is_said(collector: Collector, variables: dict[str, str]) -> None:
    """Whatever the SDK makes of one that is malformed: whoever reads a log is not to learn a key."""
    said = exports({"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint} | variables)
    assert "hidden" not in "".join(said)
    assert all(line.startswith("WARNING ion.telemetry: ") for line in said), said


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}, "traces cannot be exported to .*: the protocol 'http/json' is "),
        (
            {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_COMPRESSION": "zip"},
            "traces, metrics, logs cannot be exported to .*: .*OTEL_EXPORTER_OTLP_COMPRESSION",
        ),
        ({"OTEL_RESOURCE_ATTRIBUTES": "nonsense"}, "Invalid key value resource attribute pair nonsense"),
        ({"OTEL_BSP_MAX_QUEUE_SIZE": "many"}, "Unable to parse value for OTEL_BSP_MAX_QUEUE_SIZE"),
        ({"OTEL_BSP_MAX_QUEUE_SIZE": "1"}, "nothing is exported: max_export_batch_size must be less"),
        ({AZURE: "nonsense"}, rf"traces, metrics, logs cannot be exported to .*\({AZURE}\): Invalid connection string"),
        ({AZURE: "InstrumentationKey=hidden"}, rf"traces, metrics, logs cannot be exported to .*\({AZURE}\): Invalid "),
    ],
)
def test_a_variable_that_cannot_be_is_a_sentence(
    collector: Collector, variables: dict[str, str], sentence: str
) -> None:
    """Each once, and no traceback."""
    said = exports({"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint} | variables)
    assert len([line for line in said if re.match(f"WARNING ion.telemetry: {sentence}", line)]) == 1, said
    assert all(line.startswith("WARNING ion.telemetry: ") for line in said), said
    assert "hidden" not in "".join(said)


@pytest.mark.parametrize("variables", [{AZURE: "nonsense"}, {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "carrier/pigeon"}])
def test_one_that_cannot_be_is_nothing_to_the_others(collector: Collector, variables: dict[str, str]) -> None:
    """What can be exported is."""
    exports({"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint} | variables)
    assert collector.metrics.keys() == {"f"}
    assert [line.message for line in collector.lines] == ["m"]


def test_compression_and_headers_are_heeded(collector: Collector) -> None:
    """Over HTTP; those of one signal go before those of all."""
    variables = {"OTEL_EXPORTER_OTLP_COMPRESSION": "gzip", HEADERS: "x-key=all", TRACES_HEADERS: "x-key=one%20two"}
    assert exports({"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint} | variables) == []
    assert {headers["content-encoding"] for headers in collector.headers} == {"gzip"}
    assert sorted(headers["x-key"] for headers in collector.headers) == ["all", "all", "one two"]
    assert [span.name for span in collector.spans] == ["s"]


def test_one_signal_may_speak_grpc(collector: Collector) -> None:
    """To an endpoint of its own."""
    with grpc_collector() as other:
        variables = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": other.endpoint,
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc",
            "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION": "gzip",
        }
        assert exports(variables) == []
        assert [span.name for span in other.spans] == ["s"]
        assert (other.metrics, other.lines) == ({}, [])
    assert collector.spans == []
    assert collector.metrics.keys() == {"f"}
