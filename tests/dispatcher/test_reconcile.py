"""The reconciler: what the ledger says runs and what the executor runs are made to agree."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest

from ion.adapters.executors.local import LocalExecutor
from ion.adapters.ledger.sqlite import SqliteLedger
from ion.dispatcher.claim import Claims, Running
from ion.dispatcher.slots import Slots
from ion.handler import JobHandler
from ion.model.job import FailureClass, Job, State
from ion.model.manifest import ManifestRef
from ion.ports.executor import Assignment, Handle, Phase
from ion.testing.conformance.executor import WAITS, final, logs_line
from ion.testing.local import MACHINE, no_secret

if TYPE_CHECKING:
    from tests.dispatcher.conftest import Bench


UNTIL_GO = "echo begun; while [ ! -e go ]; do sleep 0.02; done"


async def check_unharmed(bench: "Bench", handle: Handle) -> None:
    """Lets a module of `UNTIL_GO` end: it succeeds only if nobody asked it to end before."""
    (bench.folder / "go").touch()
    assert (await final(bench.executor, handle)).phase is Phase.SUCCEEDED


async def test_a_running_job_that_nobody_runs_is_lost(bench: "Bench") -> None:
    """Its dispatcher claimed it and had no time to submit it, say: it waits for another attempt."""
    job = await bench.running()
    await bench.desk().compare()
    after = await bench.ledger.get(job.id)
    assert (after.state, after.failures) == (State.WAITING, {FailureClass.LOST: 1})


async def test_if_its_manifest_is_written_it_has_succeeded(bench: "Bench") -> None:
    """The end of the attempt was not seen, but its results are whole: work that is done is not done again."""
    job = await bench.running()
    manifest = await bench.results(job, {"data/a.txt": "a"})
    await bench.desk().compare()
    after = await bench.ledger.get(job.id)
    assert (after.state, after.manifest) == (State.COMMITTED, manifest)


async def test_results_without_a_manifest_are_none(bench: "Bench") -> None:
    """A commit that was cut short decides nothing, and its blobs go."""
    job = await bench.running()
    manifest = await bench.results(job, {"data/a.txt": "a"})
    prefix = f"{job.id}/{job.attempt}/{manifest.execution}/"
    await bench.blobs.delete(prefix, keep=lambda path: path == f"{prefix}data/a.txt")
    await bench.desk().compare()
    assert (await bench.ledger.get(job.id)).state is State.WAITING
    assert await bench.stored(f"{job.id}/") == []


async def test_what_runs_is_left_alone(bench: "Bench") -> None:
    """Ledger and executor agree: comparing them again and again changes nothing."""
    await bench.module("detect", UNTIL_GO, folder=str(bench.folder))
    desk, job = bench.desk(), await bench.running()
    handle = await desk.submit(job)
    await logs_line(bench.executor, handle, b"begun")
    for _ in range(3):
        await desk.compare()
    assert await bench.ledger.get(job.id) == job
    await check_unharmed(bench, handle)


async def test_jobs_of_other_dispatchers_are_not_looked_for(bench: "Bench") -> None:
    """They run where this one cannot see them."""
    job = await bench.running(owner="two")
    await bench.desk("one").compare()
    assert await bench.ledger.get(job.id) == job


class Meanwhile(JobHandler):
    """Looks for a manifest so slowly that the job is submitted meanwhile."""

    running: Running
    job: Job

    async def find_manifest(self, job: str, attempt: int) -> ManifestRef | None:
        self.running.add(self.job, "local")
        return await super().find_manifest(job, attempt)


async def test_a_job_claimed_just_as_it_looked_is_not_lost(bench: "Bench") -> None:
    """Between the claim and the submission the ledger knows of it first."""
    job = await bench.running()
    handler = Meanwhile(bench.blobs, host="here")
    desk = bench.desk(handler=handler)
    handler.running, handler.job = desk.running, job
    await desk.reconciler.compare()
    assert desk.ended == []


class Behind(SqliteLedger):
    """A ledger whose list of running jobs was read before the last claim."""

    async def running(self, owner: str) -> Sequence[Job]:
        return ()


async def test_a_job_claimed_since_it_looked_is_no_stray(bench: "Bench") -> None:
    """Before an attempt is ended the ledger is asked once more whose it is."""
    await bench.module("detect", UNTIL_GO, folder=str(bench.folder))
    desk, job = bench.desk(ledger=Behind(bench.database)), await bench.running()
    handle = await desk.submit(job)
    await logs_line(bench.executor, handle, b"begun")
    await desk.compare()
    await check_unharmed(bench, handle)


async def test_an_attempt_that_the_ledger_no_longer_gives_us_is_ended(bench: "Bench") -> None:
    """We were taken for dead: our process ends, and the job stays with whoever has it now."""
    await bench.module("detect", WAITS)
    desk, job = bench.desk("one"), await bench.running(owner="one")
    handle = await desk.submit(job)
    await logs_line(bench.executor, handle, b"begun")
    await bench.ledger.adopt(["one"], "two")
    await desk.compare()
    status = await final(bench.executor, handle)
    desk.ended.append((status, bench.executor))
    await desk.settle()
    after = await bench.ledger.get(job.id)
    assert (after.state, after.owner, after.failures) == (State.RUNNING, "two", {})


@pytest.mark.parametrize("look", ["compare", "cancel_marked"])
async def test_a_job_that_is_to_be_cancelled_is_ended(bench: "Bench", look: str) -> None:
    """At the news as well as at the next comparison; the one beside it goes on."""
    await bench.module("detect", UNTIL_GO, folder=str(bench.folder))
    desk = bench.desk()
    job, other = await bench.running(), await bench.running()
    handle, beside = await desk.submit(job), await desk.submit(other)
    for one in (handle, beside):
        await logs_line(bench.executor, one, b"begun")
    await bench.ledger.cancel(job.id, "test")
    await getattr(desk.reconciler, look)()
    desk.ended.append((await final(bench.executor, handle), bench.executor))
    await desk.settle()
    assert (await bench.ledger.get(job.id)).state is State.CANCELLED
    await check_unharmed(bench, beside)


async def test_an_attempt_that_its_executor_has_forgotten_is_lost(bench: "Bench") -> None:
    """The table of what we submitted is no proof that it runs; the executor is asked."""
    desk, job = bench.desk(), await bench.running()
    await bench.executor.remove(await desk.submit(job))
    for _ in range(3):
        await desk.compare()
    after = await bench.ledger.get(job.id)
    assert (after.state, after.failures) == (State.WAITING, {FailureClass.LOST: 1})


async def test_an_attempt_that_is_forgotten_and_to_be_cancelled_is_cancelled(bench: "Bench") -> None:
    """There is nothing left to end, and nothing will tell of its end."""
    desk, job = bench.desk(), await bench.running()
    await bench.executor.remove(await desk.submit(job))
    await bench.ledger.cancel(job.id, "test")
    for _ in range(3):
        await desk.compare()
    assert (await bench.ledger.get(job.id)).state is State.CANCELLED


class Hesitant(LocalExecutor):
    """An executor that takes its time to accept an attempt, as one far away does."""

    def __init__(self, bench: "Bench") -> None:
        super().__init__(
            bench.folder / "hesitant",
            bench.handler,
            machine=MACHINE,
            devices=(),
            secrets=no_secret,
            environ={"PATH": "/usr/bin:/bin"},
            guard_links=False,
        )
        self.asked, self.may = asyncio.Event(), asyncio.Event()

    async def submit(self, assignment: Assignment) -> Handle:
        self.asked.set()
        await self.may.wait()
        return await super().submit(assignment)


async def test_an_attempt_that_is_just_being_submitted_is_not_forgotten(bench: "Bench") -> None:
    """However long its executor takes to accept it."""
    job = await bench.admitted()
    async with Hesitant(bench) as executor:
        desk = bench.desk(executor=executor)
        claims = Claims(
            bench.ledger,
            {"local": executor},
            desk.running,
            {"local": Slots(executor.capacity)},
            owner="one",
            spare=lambda: 1.0,
            started=lambda _: None,
            failed=lambda status, executor: desk.ended.append((status, executor)),
        )
        claims.know(await bench.ledger.modules(), ())
        claiming = asyncio.create_task(claims.round())
        await executor.asked.wait()
        for _ in range(3):
            await desk.compare()
        executor.may.set()
        await claiming
        now = await bench.ledger.get(job.id)
        assert (now.state, now.attempt) == (State.RUNNING, 1)
