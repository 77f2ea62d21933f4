"""A dispatcher that dies at a chosen instruction: who goes on tells the rest of the same trace."""

import signal
import subprocess
import sys
from collections import Counter

import pytest
from tests.acceptance import crash
from tests.cli.programs import Folder, raises, shell
from tests.telemetry.collector import Collector, Span

from ion.model.job import OPEN_STATES

CHAIN = {"one": shell(raises("b"), on="a", emits="b"), "two": shell("true", on="b")}
STEPS = ["wait", "prepare", "module", "commit", "release"]
WHEN = [
    ("claimed", 1),
    ("started", 1),
    ("manifest written", 1),
    ("to be decided", 1),
    ("decided", 1),
    ("published", 2),
    ("to be released", 2),
    ("released", 2),
    ("started", 2),
    ("decided", 2),
]


def dies(here: Folder, step: str, number: int, env: dict[str, str]) -> None:
    """Runs the pipeline until it is killed there."""
    with (here.apart / "crash.err").open("wb") as said:
        ended = subprocess.run(
            [sys.executable, crash.__file__, step, str(number), "run", "--event", "a"],
            cwd=here.path,
            env={**here._environ(), **env},
            stdout=subprocess.DEVNULL,
            stderr=said,
            check=False,
            timeout=600,
        )
    assert ended.returncode == -signal.SIGKILL, (here.apart / "crash.err").read_text()


@pytest.mark.parametrize(("step", "number"), WHEN, ids=[f"{step} {number}" for step, number in WHEN])
def test_a_dispatcher_that_dies_doubles_no_span(
    here: Folder, collector: Collector, exporting: dict[str, str], step: str, number: int
) -> None:
    """No id is told twice; what was open at its death is told whole, in the same trace."""
    here.pipeline(CHAIN)
    dies(here, step, number, exporting)
    open_then = {job.id for job in here.jobs() if job.state in OPEN_STATES}
    here.run("--retries", env=exporting)
    spans = collector.spans
    doubled = [span_id for span_id, times in Counter(span.span_id for span in spans).items() if times > 1]
    assert doubled == []
    assert len({span.trace_id for span in spans}) == 1
    jobs = {job.id: job for job in here.jobs() if job.revision}
    assert jobs
    for job in jobs.values():
        assert {span.trace_id for span in spans} == {job.event.traceparent.split("-")[1]}
        if job.id in open_then:
            whole = of_job(spans, job.id.replace("-", "")[:16])
            assert [span.attributes["ion.step"] for span in whole] == STEPS
            assert {span.attributes["ion.attempt"] for span in whole} == {job.attempt}


def of_job(spans: list[Span], span_id: str) -> list[Span]:
    """The steps under a job's span, which is told once."""
    (job,) = [span for span in spans if span.span_id == span_id]
    return [span for span in spans if span.parent_id == job.span_id and "ion.step" in span.attributes]
