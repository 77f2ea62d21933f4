"""A deadline on every state: attempts that do not end, and waiting jobs of modules that are gone."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest
from tests.dispatcher.conftest import PATIENCE_S

from ion.adapters.ledger.sqlite import SqliteLedger
from ion.dispatcher.finish import Step
from ion.dispatcher.reconcile import BATCH
from ion.model.ids import new_id
from ion.model.job import FailureClass, Hold, State
from ion.model.module import Retries
from ion.ports.executor import Phase
from ion.ports.ledger import JobFilter, Registered
from ion.testing.conformance.executor import WAITS, final, logs_line
from ion.testing.conformance.ledger_stage import waiting_job

if TYPE_CHECKING:
    from tests.dispatcher.conftest import Bench

DEADLINE_S = 100.0


async def see_overdue(bench: "Bench") -> None:
    """Another dispatcher sees a deadline pass, and waits for the owner to do something about it."""
    desk = bench.desk("one")
    for seconds in (DEADLINE_S, PATIENCE_S):
        bench.pass_time(seconds)
        await desk.compare()


async def test_an_own_attempt_past_its_deadline_is_ended_as_a_time_out(bench: "Bench") -> None:
    """The ledger's deadline stands behind the executor's own: the process ends, the failure says why."""
    await bench.module("detect", WAITS)
    desk, job = bench.desk(), await bench.running(deadline_s=DEADLINE_S)
    handle = await desk.submit(job)
    await logs_line(bench.executor, handle, b"begun")
    bench.pass_time(DEADLINE_S)
    await desk.compare()
    status = await final(bench.executor, handle)
    desk.ended.append((status, bench.executor))
    await desk.settle()
    after = await bench.ledger.get(job.id)
    assert (after.state, after.failures) == (State.WAITING, {FailureClass.TIMEOUT: 1})


async def test_before_its_deadline_an_attempt_is_left_alone(bench: "Bench") -> None:
    """However near that is."""
    await bench.module("detect", "echo begun; while [ ! -e go ]; do sleep 0.02; done", folder=str(bench.folder))
    desk, job = bench.desk(), await bench.running(deadline_s=DEADLINE_S)
    handle = await desk.submit(job)
    await logs_line(bench.executor, handle, b"begun")
    bench.pass_time(DEADLINE_S - 0.5)
    await desk.compare()
    (bench.folder / "go").touch()
    assert (await final(bench.executor, handle)).phase is Phase.SUCCEEDED


@pytest.mark.parametrize(("retries", "state"), [(1, State.WAITING), (0, State.DEAD)])
async def test_an_overdue_job_of_another_dispatcher_is_settled(bench: "Bench", retries: int, state: State) -> None:
    """Its owner beats, and does not get to it: the job goes on without that owner, within its budget."""
    await bench.module("detect", retries=Retries(timeout=retries))
    job = await bench.running(owner="two", deadline_s=DEADLINE_S)
    desk = bench.desk("one")
    for seconds in (DEADLINE_S - 1.0, 1.0, PATIENCE_S - 1.0):
        bench.pass_time(seconds)
        await desk.compare()
        assert await bench.ledger.get(job.id) == job
    bench.pass_time(1.0)
    await desk.compare()
    after = await bench.ledger.get(job.id)
    assert (after.state, after.failures) == (state, {FailureClass.TIMEOUT: 1})
    told = [(step.job.id, step.job.attempt, step.failure and step.failure.kind) for step in bench.steps]
    assert told == [(job.id, 1, FailureClass.TIMEOUT)]


async def test_many_that_look_at_once_count_it_once(bench: "Bench") -> None:
    """The guard lets one of them settle it."""
    await bench.module("detect", retries=Retries(timeout=5, backoff_s=0.0))
    job = await bench.running(owner="two", deadline_s=DEADLINE_S)
    desks = [bench.desk(observer) for observer in ("one", "three", "four")]
    for seconds in (DEADLINE_S, PATIENCE_S):
        bench.pass_time(seconds)
        for desk in desks:
            await desk.compare()
    assert (await bench.ledger.get(job.id)).failures == {FailureClass.TIMEOUT: 1}
    assert [step.step for step in bench.steps] == [Step.FAILED]


async def test_an_overdue_job_whose_manifest_is_written_has_succeeded(bench: "Bench") -> None:
    """Its owner hangs between the module's end and the commit: two days of work are not thrown away."""
    job = await bench.running(owner="two", deadline_s=DEADLINE_S)
    await bench.results(job, {"data/a.txt": "a"})
    await see_overdue(bench)
    assert (await bench.ledger.get(job.id)).state is State.COMMITTED


async def test_an_overdue_job_that_was_to_be_cancelled_is_cancelled(bench: "Bench") -> None:
    """Whoever settles it does what the person asked for."""
    await bench.module("detect", retries=Retries(timeout=0))
    job = await bench.running(owner="two", deadline_s=DEADLINE_S)
    await bench.ledger.cancel(job.id, "test")
    await see_overdue(bench)
    assert (await bench.ledger.get(job.id)).state is State.CANCELLED
    assert [step.step for step in bench.steps] == [Step.CANCELLED]


async def test_waiting_jobs_of_a_removed_module_become_dead_letters(bench: "Bench") -> None:
    """All of them, due or not; the failure says what to do, and they can be redriven when the module returns."""
    flow = new_id()
    await bench.ledger.admit([waiting_job(flow=flow) for _ in range(BATCH + 1)])
    other = await bench.admitted("count", flow=flow)
    await bench.ledger.remove("detect", "test")
    await bench.desk().reconciler.bury_orphaned()
    assert await bench.ledger.tally(flow) == {("detect", State.DEAD): BATCH + 1, ("count", State.WAITING): 1}
    assert (await bench.ledger.get(other.id)).state is State.WAITING
    (dead,) = (await bench.ledger.query(JobFilter(module="detect"), most=1)).jobs
    assert dead.failure is not None
    assert "apply it again and retry" in dead.failure.message
    await bench.module("detect")
    assert await bench.ledger.requeue(dead.id, "test")


async def test_a_module_that_comes_back_just_as_it_looked_keeps_its_jobs(bench: "Bench") -> None:
    """What the registry said a moment ago buries nothing, and looking goes on."""
    jobs = [await bench.admitted() for _ in range(3)]
    desk = bench.desk(ledger=Forgetful(bench.database))
    await desk.reconciler.bury_orphaned()
    assert {(await bench.ledger.get(job.id)).state for job in jobs} == {State.WAITING}


class Forgetful(SqliteLedger):
    """A ledger whose list of modules was read before one was applied."""

    async def modules(self) -> Sequence[Registered]:
        return ()


async def test_jobs_of_registered_modules_and_running_ones_are_not_buried(bench: "Bench") -> None:
    """Whose module is gone may end what runs; it is judged when it ends."""
    running, waiting = await bench.running("detect"), await bench.admitted("count")
    await bench.ledger.remove("detect", "test")
    await bench.desk().reconciler.bury_orphaned()
    assert (await bench.ledger.get(running.id)).state is State.RUNNING
    assert (await bench.ledger.get(waiting.id)).state is State.WAITING


async def test_held_jobs_of_a_removed_module_become_dead_letters_too(bench: "Bench") -> None:
    """Else their flow stays open for ever."""
    job = await bench.admitted(hold=Hold.HOPS)
    await bench.ledger.remove("detect", "test")
    await bench.desk().reconciler.bury_orphaned()
    assert (await bench.ledger.get(job.id)).state is State.DEAD
