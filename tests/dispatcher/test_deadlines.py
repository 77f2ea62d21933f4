"""Deadlines when the ledger's clock is set: owners go by clocks that cannot be, and put the ledger's right."""

from typing import TYPE_CHECKING

import pytest
from tests.dispatcher.conftest import PATIENCE_S

from ion.dispatcher.deadlines import plausible_elapsed_s, span_s
from ion.model.job import Job, State
from ion.ports.executor import Phase
from ion.testing.conformance.executor import final

if TYPE_CHECKING:
    from tests.dispatcher.conftest import Bench, Desk

DAY_S = 24 * 3600.0
DEADLINE_S = 600.0
UNTIL_GO = "while [ ! -e go ]; do sleep 0.02; done"


async def submitted(bench: "Bench") -> tuple["Desk", Job]:
    """A job that runs for as long as it is let, and its dispatcher, "two"."""
    await bench.module("detect", UNTIL_GO, folder=str(bench.folder))
    desk, job = bench.desk("two"), await bench.running(owner="two", deadline_s=DEADLINE_S)
    await desk.submit(job)
    return desk, job


def left_s(bench: "Bench", job: Job) -> float:
    assert job.deadline is not None
    return job.deadline.timestamp() - bench.clock()


@pytest.mark.parametrize("seconds", [DAY_S, -DAY_S])
async def test_a_clock_that_is_set_ends_nothing(bench: "Bench", seconds: float) -> None:
    """Neither its own dispatcher nor another takes the attempt for late; its deadline is as far ahead as before."""
    owner, job = await submitted(bench)
    other = bench.desk("one")
    bench.pass_time(100.0)
    bench.clock.advance(seconds)
    for desk in (other, owner, other):
        await desk.compare()
        bench.pass_time(PATIENCE_S)
    await other.compare()
    after = await bench.ledger.get(job.id)
    assert (after.state, after.owner, span_s(after)) == (State.RUNNING, "two", DEADLINE_S)
    assert left_s(bench, after) == pytest.approx(DEADLINE_S - 100.0 - 3 * PATIENCE_S)
    (bench.folder / "go").touch()
    assert (await final(bench.executor, bench.handle(job))).phase is Phase.SUCCEEDED


async def test_a_clock_that_was_set_back_gives_no_more_time(bench: "Bench") -> None:
    """After its time by the clock that cannot be set, the attempt is ended by its own dispatcher."""
    owner, job = await submitted(bench)
    bench.clock.advance(-DAY_S)
    bench.pass_time(DEADLINE_S)
    await owner.compare()
    assert (await final(bench.executor, bench.handle(job))).phase is Phase.FAILED


async def test_clocks_that_differ_a_little_move_no_deadline(bench: "Bench") -> None:
    """Clocks are slewed all the time; the ledger is not written for that."""
    owner, job = await submitted(bench)
    bench.clock.advance(50.0)
    await owner.compare()
    assert await bench.ledger.get(job.id) == job
    (bench.folder / "go").touch()
    await final(bench.executor, bench.handle(job))


@pytest.mark.parametrize(
    ("set_s", "elapsed_s"), [(0.0, 0.0), (100.0, 100.0), (DEADLINE_S, 0.0), (DAY_S, 0.0), (-DAY_S, 0.0)]
)
async def test_an_adopted_attempt_has_gone_on_for_as_long_as_can_be(
    bench: "Bench", set_s: float, elapsed_s: float
) -> None:
    """By the ledger's clock; where that says that it would be over, or has not begun, its time begins anew."""
    job = await bench.running(deadline_s=DEADLINE_S)
    bench.clock.advance(set_s)
    assert plausible_elapsed_s(job, await bench.ledger.now()) == elapsed_s
