"""The process that exports is ended by others, and the figures that nobody tells."""

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest
from tests.cli.programs import until
from tests.telemetry.collector import Collector
from tests.telemetry.lived import BASE_S, committed

from ion.management.telemetry import telemetry as module
from ion.management.telemetry.lives import UNSEEN, Life, released_life
from ion.management.telemetry.records import Figure, Figures, Point, Shape
from ion.management.telemetry.telemetry import Look, Telemetry
from ion.management.telemetry.wanted import wanted


def of(collector: Collector, *, look: Look | None = None, **variables: str) -> Telemetry:
    environ = {**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint, **variables}
    asked = wanted(environ)
    assert asked is not None
    return Telemetry(asked, look=look, as_json=False, environ=environ)


def life() -> Life:
    return released_life(committed(), UNSEEN, BASE_S + 40)


def pid(telemetry: Telemetry) -> int:
    process = telemetry._process
    assert process is not None
    return process.pid


async def test_a_process_that_was_killed_is_started_again(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What is told from then on arrives, and sums do not begin anew for who adds them up."""
    monkeypatch.setattr(module, "AGAIN_S", 0.0)
    value = 1e6

    async def look() -> Figures:
        nonlocal value
        value += 1
        point = Point(value=value)
        figures = tuple(
            Figure(name=shape.value, description="", unit="1", shape=shape, points=(point,))
            for shape in (Shape.SUM, Shape.GAUGE)
        )
        return Figures(since_ns=1, at_ns=time.time_ns(), figures=figures)

    delta = {"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "delta", "OTEL_METRIC_EXPORT_INTERVAL": "200"}
    async with of(collector, look=look, **delta) as telemetry:
        await asyncio.to_thread(collector.until, lambda: "sum" in collector.metrics)
        first = pid(telemetry)
        os.kill(first, signal.SIGKILL)
        await asyncio.to_thread(until, lambda: pid(telemetry) != first)
        told = len(collector.values("sum"))
        telemetry.live(life())
        await asyncio.to_thread(collector.until, lambda: bool(collector.spans))
        await asyncio.to_thread(collector.until, lambda: len(collector.values("sum")) > told)
    sums = collector.values("sum")
    assert sums[0] > 1e6
    assert all(0 < added < 1e6 for added in sums[1:]), sums
    assert "it is started again" in caplog.text


async def test_one_that_has_nothing_to_export_is_not_started_again(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It said why, and would say it again."""
    monkeypatch.setattr(module, "AGAIN_S", 0.0)
    async with of(collector, OTEL_EXPORTER_OTLP_PROTOCOL="carrier/pigeon") as telemetry:
        process = telemetry._process
        assert process is not None
        assert await process.wait() == 0
        for _ in range(3):
            await telemetry._keep_going()
        assert telemetry._process is process


async def test_figures_that_nobody_tells_hold_up_no_end(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A ledger that does not answer costs the last figures, and a sentence."""
    monkeypatch.setattr(module, "LOOK_MOST_S", 0.05)

    async def look() -> Figures:
        await asyncio.Event().wait()
        raise AssertionError

    async with asyncio.timeout(180):
        async with of(collector, look=look) as telemetry:
            telemetry.live(life())
    assert "process photo" in [span.name for span in collector.spans]
    assert "the ledger did not answer" in caplog.text


async def test_one_that_does_not_come_to_its_own_end_is_ended_and_told(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """On a machine so busy that it has not begun, it cannot say itself what is lost."""
    monkeypatch.setattr(module, "END_S", 0.0)
    collector.delay_s = 600
    async with of(collector) as telemetry:
        telemetry.live(life())
    assert "the last telemetry could not be exported within 0 s and is lost" in caplog.text


async def test_programs_beside_the_pipeline_are_not_the_exporters(
    collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module's file that has the name of one of Python's own, or of a package's, is the module's."""
    for name in ("queue.py", "requests.py", "platform.py"):
        (tmp_path / name).write_text("raise SystemExit(1)")
    monkeypatch.chdir(tmp_path)
    async with of(collector) as telemetry:
        telemetry.live(life())
    assert "process photo" in [span.name for span in collector.spans]
