"""Attempts that ended well: one compare-and-set decides, and what loses leaves nothing visible."""

from typing import TYPE_CHECKING

import pytest

from ion.dispatcher.finish import Step
from ion.model.job import Failure, FailureClass, Job, State
from ion.model.manifest import ManifestRef, execution_prefix
from ion.ports.executor import Phase, Status
from ion.ports.ledger import Bury, Cancel, Outcome, Retry
from ion.testing.conformance.executor import assignment, final

if TYPE_CHECKING:
    from tests.dispatcher.conftest import Bench

WRITES = 'echo out > "$ION_DIR/out/data/a.txt"; echo said'
LATE = Failure(kind=FailureClass.TIMEOUT, message="it did not end by its deadline")


def succeeded(bench: "Bench", job: Job, manifest: ManifestRef) -> Status:
    return Status(handle=bench.handle(job), phase=Phase.SUCCEEDED, manifest=manifest, log=manifest.log)


async def test_its_results_are_committed_and_the_executor_forgets_it(bench: "Bench") -> None:
    """The observer hears of it once, with manifest and log."""
    await bench.module("detect", WRITES)
    job = await bench.running()
    status = await bench.attempted(job)
    await bench.finish().finish(status, bench.executor)
    after = await bench.ledger.get(job.id)
    assert status.manifest is not None
    assert (after.state, after.manifest) == (State.COMMITTED, status.manifest)
    assert [(one.step, one.manifest, one.log) for one in bench.steps] == [
        (Step.COMMITTED, status.manifest, status.manifest.log)
    ]
    assert (await bench.executor.state(status.handle)).phase is Phase.UNKNOWN


@pytest.mark.parametrize("late", [False, True], ids=["unheard", "answer lost"])
async def test_a_commit_is_repeated_until_it_is_confirmed(bench: "Bench", late: bool) -> None:
    """An answer that was lost does not make the winner a loser of its own race."""
    job = await bench.running()
    manifest = await bench.results(job, {"data/a.txt": "a"})
    before = await bench.stored(f"{job.id}/")
    bench.line.fail("commit", late=late)
    await bench.finish().finish(succeeded(bench, job, manifest), bench.executor)
    assert bench.line.calls.count("commit") == 2
    assert (await bench.ledger.get(job.id)).state is State.COMMITTED
    assert await bench.stored(f"{job.id}/") == before


async def test_a_final_state_that_is_told_again_changes_nothing(bench: "Bench") -> None:
    """A dispatcher may die between the commit and the removal: the next hears the same, even after the release."""
    job = await bench.running()
    manifest = await bench.results(job, {"data/a.txt": "a"})
    for owner in ("one", "two"):
        await bench.finish(owner).finish(succeeded(bench, job, manifest), bench.executor)
    await bench.relay().drain()
    released, before = await bench.ledger.get(job.id), await bench.stored(f"{job.id}/")
    await bench.finish("two").finish(succeeded(bench, job, manifest), bench.executor)
    assert released.state is State.RELEASED
    assert await bench.ledger.get(job.id) == released
    assert await bench.stored(f"{job.id}/") == before
    assert len(before) == 3


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["first told", "second told"])
async def test_a_doubled_execution_loses_and_leaves_nothing(bench: "Bench", order: tuple[int, int]) -> None:
    """A platform ran the attempt twice: what is told first wins, whole; the other's blobs are gone."""
    job = await bench.running()
    both = [await bench.results(job, {"data/a.txt": f"{n}"}) for n in range(2)]
    winner, loser = (both[n] for n in order)
    prefix = execution_prefix(job.id, job.attempt, winner.execution)
    before = await bench.stored(prefix)
    for manifest in (winner, loser, winner):
        await bench.finish().finish(succeeded(bench, job, manifest), bench.executor)
    assert (await bench.ledger.get(job.id)).execution == winner.execution
    assert await bench.stored(f"{job.id}/") == before
    assert await bench.blobs.get_bytes(f"{prefix}data/a.txt") == str(order[0]).encode()


async def test_a_loser_is_cleared_away_though_the_store_was_away(bench: "Bench") -> None:
    """Deleting is repeated like everything else."""
    job = await bench.running()
    winner, loser = await bench.results(job), await bench.results(job)
    finish = bench.finish()
    await finish.finish(succeeded(bench, job, winner), bench.executor)
    bench.line.fail("delete")
    await finish.finish(succeeded(bench, job, loser), bench.executor)
    assert await bench.stored(execution_prefix(job.id, job.attempt, loser.execution)) == []


async def test_a_late_execution_of_an_earlier_attempt_loses(bench: "Bench") -> None:
    """The job runs its second attempt by then, whose state and blobs are untouched."""
    job = await bench.running()
    late = await bench.results(job, {"data/a.txt": "late"})
    await bench.ledger.settle(job.id, job.attempt, "one", Retry(failure=LATE, delay_s=0.0))
    second = await bench.claimed(owner="two")
    current = await bench.results(second, {"data/a.txt": "current"})
    await bench.finish().finish(succeeded(bench, job, late), bench.executor)
    assert await bench.ledger.get(job.id) == second
    assert await bench.stored(f"{job.id}/1/") == []
    assert current.blob in await bench.stored(f"{job.id}/2/")
    assert bench.steps == []


@pytest.mark.parametrize("outcome", [Bury(failure=LATE), Cancel(reason="asked for")], ids=["dead", "cancelled"])
async def test_a_late_execution_wakes_no_job_that_has_ended(bench: "Bench", outcome: Outcome) -> None:
    """Dead stays dead and cancelled stays cancelled; nothing of the execution is left."""
    job = await bench.running()
    late = await bench.results(job, {"data/a.txt": "late"})
    await bench.ledger.settle(job.id, job.attempt, "one", outcome)
    ended = await bench.ledger.get(job.id)
    await bench.finish().finish(succeeded(bench, job, late), bench.executor)
    assert await bench.ledger.get(job.id) == ended
    assert await bench.stored(f"{job.id}/") == []


async def test_an_attempt_commits_for_whoever_watches_it(bench: "Bench") -> None:
    """The guard is state and attempt, never the owner: work that is done is not done again."""
    job = await bench.running(owner="dead")
    manifest = await bench.results(job)
    await bench.finish("two").finish(succeeded(bench, job, manifest), bench.executor)
    assert (await bench.ledger.get(job.id)).state is State.COMMITTED


async def test_what_was_done_before_its_cancellation_counts(bench: "Bench") -> None:
    """A job that is to be cancelled and has its results already is committed."""
    job = await bench.running()
    manifest = await bench.results(job)
    await bench.ledger.cancel(job.id, "test")
    await bench.finish().finish(succeeded(bench, job, manifest), bench.executor)
    assert (await bench.ledger.get(job.id)).state is State.COMMITTED


async def test_an_attempt_of_a_job_that_the_ledger_does_not_know_is_forgotten(bench: "Bench") -> None:
    """Another ledger's, say; it must not be told for ever."""
    handle = await bench.executor.submit(assignment(WRITES))
    status = await final(bench.executor, handle)
    await bench.finish().finish(status, bench.executor)
    assert bench.steps == []
    assert (await bench.executor.state(handle)).phase is Phase.UNKNOWN
