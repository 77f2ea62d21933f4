"""Hearing of lives off the jobs' way, and that the SDK stays out of the dispatcher's process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.telemetry.lived import FAILED, committed, job

from ion.dispatcher.finish import Progress, Step
from ion.management.telemetry import watching as module
from ion.management.telemetry.lives import Life
from ion.management.telemetry.watching import Watching
from ion.wiring import open_store
from ion.wiring import telemetry as wiring

DISPATCHES = """
import asyncio, os, sys
from pathlib import Path
from ion.wiring import open_store
from ion.wiring.telemetry import watching

async def main():
    async with open_store(Path(sys.argv[1])) as stores, watching(stores, None, os.environ):
        pass
    print(sorted(name for name in sys.modules if name.startswith(("opentelemetry.", "google", "grpc", "requests"))))

asyncio.run(main())
"""


async def test_what_is_left_is_told_at_the_end() -> None:
    """An attempt that committed once it is released, one that failed at once; a start is no life."""
    heard: list[Life] = []
    async with Watching(heard.append) as watching:
        watching.observe(Progress(job=job(), step=Step.STARTED))
        watching.observe(Progress(job=job(), step=Step.FAILED, failure=FAILED))
        watching.observe(Progress(job=job(attempt=2), step=Step.COMMITTED, began_s=1.0, ended_s=2.0))
        watching.released(committed(attempt=2))
        assert heard == []
    assert [(life.outcome, life.job.attempt) for life in heard] == [(Step.FAILED, 1), (Step.COMMITTED, 2)]
    assert heard[1].progress.ended_s == 2.0


async def test_a_listener_that_fails_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """It is told in the log, and the next life is told."""
    heard: list[Life] = []

    def listen(life: Life) -> None:
        heard.append(life)
        raise ValueError("broken")

    async with Watching(listen) as watching:
        watching.observe(Progress(job=job(), step=Step.FAILED, failure=FAILED))
        watching.observe(Progress(job=job(attempt=2), step=Step.FAILED, failure=FAILED))
    assert len(heard) == 2
    assert [record.getMessage() for record in caplog.records] == ["an attempt could not be told of"] * 2


async def test_what_is_never_released_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory does not grow with results that a bus that is away keeps from being known."""
    monkeypatch.setattr(module, "COMMITTED_MOST", 2)
    async with Watching() as watching:
        for attempt in range(1, 6):
            watching.observe(Progress(job=job(attempt=attempt), step=Step.COMMITTED))
        watching.work_up(10)
        assert len(watching._committed) == 2


@pytest.mark.parametrize("variables", [{}, {"OTEL_TRACES_EXPORTER": "console"}])
def test_the_sdk_is_not_loaded_where_jobs_are_dispatched(tmp_path: Path, variables: dict[str, str]) -> None:
    """Neither without a variable that asks for telemetry nor with one: it is another process that exports."""
    ran = subprocess.run(
        [sys.executable, "-c", DISPATCHES, str(tmp_path / "store")],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.strip() == "[]"


async def test_packages_that_are_not_here_cost_telemetry_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One sentence says what to install; a variable that is set for all programs of a host breaks nothing."""
    monkeypatch.setitem(wiring.PACKAGES, "console", ("ion-events[otel]", ("no_such_package.sdk",)))
    asked = {"OTEL_TRACES_EXPORTER": "console"}
    async with open_store(tmp_path / "store") as stores, wiring.watching(stores, None, asked) as watched:
        watched.observe(Progress(job=job(), step=Step.STARTED))
    assert [record.getMessage() for record in caplog.records if record.name == "ion.telemetry"] == [
        "telemetry is not exported: it needs packages that are not here: install ion-events[otel]"
    ]
