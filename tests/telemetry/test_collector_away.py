"""A collector that is killed, refuses or does not answer costs telemetry, one warning, and nothing else."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cli.programs import Folder, Program, alive, raises, shell, until
from tests.ports import free_port
from tests.telemetry import collector as collectors
from tests.telemetry.collector import Collector, http_collector

CHAIN = {"one": shell(raises("b"), on="a", emits="b"), "two": shell("true", on="b")}
QUICK = {
    "OTEL_EXPORTER_OTLP_TIMEOUT": "1",  # seconds, in this SDK
    "OTEL_METRIC_EXPORT_INTERVAL": "200",
    "OTEL_BSP_SCHEDULE_DELAY": "100",
    "ION_LOG": "text",
}
LOST = re.compile(
    r"^WARNING ion\.telemetry: (\w+) cannot be exported to (\S+) and are lost until that works again: .+$", re.MULTILINE
)
BACK = "WARNING ion.telemetry: telemetry can be exported again"


@pytest.fixture
def killable() -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """A collector that is a process of its own, and its endpoint."""
    with subprocess.Popen(
        [sys.executable, str(Path(collectors.__file__)), str(free_port())], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        endpoint = process.stdout.readline().strip()
        try:
            yield process, endpoint
        finally:
            process.kill()


def warnings(program: Program) -> list[str]:
    return [line for line in program.err.splitlines() if "ion.telemetry" in line]


def test_a_collector_that_is_killed_costs_one_warning(
    here: Folder, killable: tuple["subprocess.Popen[str]", str]
) -> None:
    """Flows go on; when there is a collector again, what happens from then on arrives, and one line says so."""
    process, endpoint = killable
    here.pipeline(CHAIN)
    up = here.up(env={"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, **QUICK, "OTEL_EXPORTER_OTLP_TIMEOUT": "10"})
    up.post("/events/a", files={"file": ("a", b"a")})
    until(lambda: here.released("two", 1))
    assert warnings(up.program) == []
    process.kill()
    process.wait()
    up.post("/events/a", files={"file": ("a", b"a")})
    until(lambda: here.released("two", 2))
    until(lambda: LOST.search(up.program.err) is not None)
    found = LOST.search(up.program.err)
    assert found is not None
    assert found[2] == endpoint
    with http_collector(int(endpoint.rpartition(":")[2])) as collector:
        until(lambda: BACK in up.program.err)
        up.post("/events/a", files={"file": ("a", b"a")})
        until(lambda: here.released("two", 3))
        collector.until(lambda: "process b" in [span.name for span in collector.spans])
        up.program.signal(signal.SIGTERM)
        up.program.wait()
    assert [line.split(":")[0] for line in warnings(up.program)] == ["WARNING ion.telemetry"] * 2, up.program.err


def test_a_collector_that_refuses_costs_one_warning(
    here: Folder, collector: Collector, exporting: dict[str, str]
) -> None:
    """The run ends as without it."""
    collector.refuses = True
    here.pipeline(CHAIN)
    ended = here.run("--event", "a", env=exporting | QUICK)
    assert "3 released" in ended.out
    assert len([line for line in ended.err.splitlines() if "ion.telemetry" in line]) == 1, ended.err


def test_a_collector_that_does_not_answer_holds_nobody_up(
    here: Folder, collector: Collector, exporting: dict[str, str]
) -> None:
    """Jobs run and are released while an export waits; at the end it is waited for a little, and given up."""
    collector.delay_s = 600
    here.pipeline(CHAIN)
    up = here.up(env=exporting | QUICK | {"OTEL_EXPORTER_OTLP_TIMEOUT": "600"})
    for done in range(1, 4):
        up.post("/events/a", files={"file": ("a", b"a")})
        until(lambda done=done: here.released("two", done))  # type: ignore[misc]
    up.program.signal(signal.SIGTERM)
    up.program.wait()
    assert collector.requests == []
    assert "the last telemetry could not be exported within" in up.program.err


def test_the_exporting_process_may_die(here: Folder, collector: Collector, exporting: dict[str, str]) -> None:
    """The dispatcher says once that telemetry is lost, and goes on."""
    here.pipeline(CHAIN)
    up = here.up(env=exporting | QUICK)
    collector.until(lambda: bool(collector.metrics))
    (exporter,) = exporters_of(up.program.pid)
    os.kill(exporter, signal.SIGKILL)
    for done in (1, 2):
        up.post("/events/a", files={"file": ("a", b"a")})
        until(lambda done=done: here.released("two", done))  # type: ignore[misc]
    until(lambda: "telemetry is lost" in up.program.err)
    up.program.signal(signal.SIGTERM)
    up.program.wait()
    assert up.program.err.count("telemetry is lost") == 1


def test_what_a_killed_dispatcher_handed_over_is_exported(
    here: Folder, collector: Collector, exporting: dict[str, str]
) -> None:
    """The process that exports goes on until it has done that, and ends then."""
    here.pipeline(CHAIN)
    late = {"OTEL_BSP_SCHEDULE_DELAY": "3600000", "OTEL_METRIC_EXPORT_INTERVAL": "100"}
    up = here.up(env=exporting | late)
    (exporter,) = exporters_of(up.program.pid)  # before there are modules, which come and go
    up.post("/events/a", files={"file": ("a", b"a")})
    counted = ("two", "release")  # with the step's time goes its span
    collector.until(lambda: counted in collector.points("ion.step.duration"))
    assert collector.spans == []
    up.program.kill()
    collector.until(lambda: "process b" in [span.name for span in collector.spans])
    until(lambda: not alive(exporter))


def exporters_of(parent: int) -> list[int]:
    """The processes that export for another."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(pid) for pid in children if b"telemetry.exporter" in Path(f"/proc/{pid}/cmdline").read_bytes()]
