"""Attempts that failed: the log is kept, the failure is settled by its class, and the rest is cleared away."""

from typing import TYPE_CHECKING

import pytest

from ion.dispatcher.finish import Finish, Progress, Step
from ion.model.job import Failure, FailureClass, Job, State
from ion.model.manifest import log_path
from ion.model.module import Retries
from ion.model.record import Kind
from ion.ports.documents import RecordFilter
from ion.ports.executor import Phase, Status
from ion.ports.ledger import Retry

if TYPE_CHECKING:
    from tests.dispatcher.conftest import Bench

FAILS = 'echo out > "$ION_DIR/out/data/a.txt"; echo why; exit 3'
LOST = Failure(kind=FailureClass.LOST, message="it was cancelled")
BROKEN = Failure(kind=FailureClass.MODULE, message="exit code 3", exit_code=3)
ONE_RETRY = Retries(module=1, lost=1, backoff_s=8.0)


async def failed(bench: "Bench", job: Job, failure: Failure = BROKEN) -> Status:
    """The end of an attempt that had stored a part of its results, and its log."""
    log = log_path(job.id, job.attempt, "execution")
    await bench.blobs.put_bytes(f"{job.id}/{job.attempt}/execution/data/a.txt", b"a part")
    await bench.blobs.put_bytes(f"{job.id}/{job.attempt}/double/manifest.json", b"{}")
    await bench.blobs.put_bytes(log, b"why\n")
    return Status(handle=bench.handle(job), phase=Phase.FAILED, failure=failure, log=log)


async def test_the_log_and_its_record_are_stored_before_the_job_is_settled(bench: "Bench") -> None:
    """Whoever sees the job settled finds them; the record says that the attempt did not succeed."""
    await bench.module("detect", FAILS)
    job = await bench.running()
    status = await bench.attempted(job)
    seen: list[tuple[State, bytes, list[object]]] = []

    async def witness(verb: str) -> None:
        if verb == "settle":
            records = [one async for one in bench.documents.query(RecordFilter(kind=Kind.MODULE_LOGS))]
            log = (await bench.blobs.get_bytes(status.log)).partition(b" ")[2]
            seen.append(((await bench.ledger.get(job.id)).state, log, [one.body for one in records]))

    bench.line.watch(witness)
    await bench.finish().finish(status, bench.executor)
    name = f"module:detect-event:{job.event.id}-attempt:1"
    record = {"desc": name, "logs": bench.blobs.uri(status.log), "succeeded": False}
    assert seen == [(State.RUNNING, b"why\n", [record])]
    assert (await bench.ledger.get(job.id)).log == status.log


async def test_while_budget_is_left_the_job_waits_for_its_next_attempt(bench: "Bench") -> None:
    """The failure is counted by its class; it is due again after its back-off, by the ledger's clock."""
    await bench.module("detect", retries=ONE_RETRY)
    job = await bench.running()
    await bench.finish().finish(await failed(bench, job), bench.executor)
    after = await bench.ledger.get(job.id)
    assert (after.state, after.attempt, after.failures) == (State.WAITING, 1, {FailureClass.MODULE: 1})
    assert after.not_before is not None
    assert 4.0 <= after.not_before.timestamp() - bench.clock() <= 8.0
    assert bench.steps == [Progress(job=job, step=Step.FAILED, failure=BROKEN, log=after.log)]


async def test_without_budget_the_job_is_dead_and_its_last_failure_stays_with_it(bench: "Bench") -> None:
    """Event, failure and log stay together for a person to look at."""
    await bench.module("detect", retries=ONE_RETRY)
    job = await bench.running()
    await bench.finish().finish(await failed(bench, job), bench.executor)
    bench.clock.advance(8.0)
    job = await bench.claimed()
    await bench.finish().finish(await failed(bench, job), bench.executor)
    after = await bench.ledger.get(job.id)
    assert (after.state, after.attempt, after.failure) == (State.DEAD, 2, BROKEN)
    assert await bench.blobs.get_bytes(after.log) == b"why\n"
    assert [one.step for one in bench.steps] == [Step.FAILED, Step.DEAD]
    assert len(await bench.records(job.correlation_id)) == 2


async def test_the_budget_is_that_of_the_revision_that_ran(bench: "Bench") -> None:
    """A module that is applied anew meanwhile does not change the rules of a job that runs."""
    await bench.module("detect", retries=ONE_RETRY)
    job = await bench.running()
    await bench.module("detect", retries=Retries(module=0))
    await bench.finish().finish(await failed(bench, job), bench.executor)
    assert (await bench.ledger.get(job.id)).state is State.WAITING


@pytest.mark.parametrize(("failure", "state"), [(BROKEN, State.DEAD), (LOST, State.WAITING)])
async def test_whoever_runs_it_may_call_a_modules_own_failure_final(
    bench: "Bench", failure: Failure, state: State
) -> None:
    """Whatever its budget is; what its host or dispatcher did to it is tried again all the same."""
    await bench.module("detect", retries=ONE_RETRY)
    job, other = await bench.running(), await bench.running()
    finish = Finish(
        bench.ledger,
        bench.documents,
        bench.blobs,
        owner="one",
        observe=bench.steps.append,
        final=lambda one: one == job,
    )
    for one in (job, other):
        await finish.finish(await failed(bench, one, failure), bench.executor)
    assert (await bench.ledger.get(job.id)).state is state
    assert (await bench.ledger.get(other.id)).state is State.WAITING


async def test_of_a_settled_attempt_only_the_log_is_left(bench: "Bench") -> None:
    """Nothing of it can win any more, not even an execution that wrote its manifest in the meantime."""
    job, other = await bench.running(), await bench.running()
    status, neighbour = await failed(bench, job), await failed(bench, other)
    before = await bench.stored(f"{other.id}/")
    await bench.finish().finish(status, bench.executor)
    assert await bench.stored(f"{job.id}/") == [status.log]
    assert await bench.stored(f"{other.id}/") == before
    assert neighbour.log in before


async def test_an_attempt_that_is_told_again_without_its_log_keeps_it(bench: "Bench") -> None:
    """A comparison that was overtaken calls it lost, and knows of no log: the row and the record go on naming one."""
    job = await bench.running()
    finish = bench.finish()
    await finish.finish(await failed(bench, job), bench.executor)
    unknown = Failure(kind=FailureClass.LOST, message="the attempt was lost with its dispatcher or host")
    await finish.finish(Status(handle=bench.handle(job), phase=Phase.FAILED, failure=unknown), bench.executor)
    after = await bench.ledger.get(job.id)
    assert after.failures == {FailureClass.MODULE: 1}
    assert await bench.blobs.get_bytes(after.log) == b"why\n"


async def test_a_settlement_that_the_ledger_refuses_deletes_nothing(bench: "Bench") -> None:
    """The attempt belongs to another dispatcher by now, which may yet commit it."""
    job = await bench.running(owner="one")
    await bench.ledger.adopt(["one"], "two")
    status, before = await failed(bench, job), await bench.stored(f"{job.id}/")
    await bench.finish("one").finish(status, bench.executor)
    after = await bench.ledger.get(job.id)
    assert (after.state, after.owner, after.failures) == (State.RUNNING, "two", {})
    assert await bench.stored(f"{job.id}/") == before
    assert bench.steps == []


async def test_the_log_of_a_late_attempt_keeps_its_record(bench: "Bench") -> None:
    """Somebody may ask what it was doing; the job, which runs its next attempt by then, is untouched."""
    job = await bench.running()
    late = await failed(bench, job)
    await bench.ledger.settle(job.id, job.attempt, "one", Retry(failure=BROKEN, delay_s=0.0))
    second = await bench.claimed(owner="two")
    await bench.finish().finish(late, bench.executor)
    assert await bench.ledger.get(job.id) == second
    (record,) = await bench.records(job.correlation_id)
    assert record.body["succeeded"] is False
    assert await bench.blobs.get_bytes(late.log) == b"why\n"
    assert bench.steps == []


async def test_a_failure_that_is_told_of_a_committed_attempt_changes_nothing(bench: "Bench") -> None:
    """It was stopped while it told its success, or a double of it failed: the record says that it succeeded."""
    job = await bench.committed({"data/a.txt": "a"})
    await bench.relay().drain()
    released, before = await bench.ledger.get(job.id), await bench.stored(f"{job.id}/")
    status = Status(handle=bench.handle(job), phase=Phase.FAILED, failure=LOST, log=job.log)
    await bench.finish().finish(status, bench.executor)
    assert await bench.ledger.get(job.id) == released
    assert await bench.stored(f"{job.id}/") == before
    assert [record.body["succeeded"] for record in await bench.records(job.correlation_id)] == [True]


async def test_an_attempt_that_never_ran_is_settled_without_a_log(bench: "Bench") -> None:
    """An image that cannot be pulled logs nothing: there is no record that points nowhere."""
    job = await bench.running()
    failure = Failure(kind=FailureClass.INFRASTRUCTURE, message="no room")
    status = Status(handle=bench.handle(job), phase=Phase.FAILED, failure=failure)
    await bench.finish().finish(status, bench.executor)
    after = await bench.ledger.get(job.id)
    assert (after.state, after.failures) == (State.WAITING, {FailureClass.INFRASTRUCTURE: 1})
    assert await bench.records(job.correlation_id) == []


async def test_a_job_that_was_to_be_cancelled_is_cancelled_however_it_failed(bench: "Bench") -> None:
    """Neither a retry nor a dead letter: a person asked for it."""
    for retries in (Retries(module=0), ONE_RETRY):
        await bench.module("detect", retries=retries)
        job = await bench.running()
        await bench.ledger.cancel(job.id, "test")
        job = await bench.ledger.get(job.id)
        await bench.finish().finish(await failed(bench, job), bench.executor)
        assert (await bench.ledger.get(job.id)).state is State.CANCELLED
    assert [one.step for one in bench.steps] == [Step.CANCELLED, Step.CANCELLED]


async def test_what_a_stopping_dispatcher_gives_up_burns_nothing(bench: "Bench") -> None:
    """It waits, due at once, with no failure counted; the attempt that it took is not taken again."""
    job = await bench.running()
    finish = bench.finish()
    finish.giving_up = True
    await finish.finish(await failed(bench, job, LOST), bench.executor)
    after = await bench.ledger.get(job.id)
    assert (after.state, after.failures, after.failure, after.not_before) == (State.WAITING, {}, None, None)
    assert [one.step for one in bench.steps] == [Step.GIVEN_BACK]
    assert (await bench.claimed()).attempt == 2


async def test_what_fails_by_itself_while_the_dispatcher_stops_is_counted(bench: "Bench") -> None:
    """Only what was ended for the stop is given back."""
    job = await bench.running()
    finish = bench.finish()
    finish.giving_up = True
    await finish.finish(await failed(bench, job), bench.executor)
    assert (await bench.ledger.get(job.id)).failures == {FailureClass.MODULE: 1}


@pytest.mark.parametrize("verb", ["put", "settle"])
async def test_a_store_that_is_away_is_waited_for(bench: "Bench", verb: str) -> None:
    """The job stays running, and the executor keeps the attempt, until log, record and state are all stored."""
    await bench.module("detect", FAILS)
    job = await bench.running()
    status = await bench.attempted(job)
    bench.line.fail(verb)
    told: list[tuple[State, Phase]] = []

    async def witness(called: str) -> None:
        if called == verb:
            phase = (await bench.executor.state(status.handle)).phase
            told.append(((await bench.ledger.get(job.id)).state, phase))

    bench.line.watch(witness)
    await bench.finish().finish(status, bench.executor)
    assert told == [(State.RUNNING, Phase.FAILED)] * 2
    assert (await bench.ledger.get(job.id)).failures == {FailureClass.MODULE: 1}
    assert (await bench.executor.state(status.handle)).phase is Phase.UNKNOWN
    assert await bench.stored(f"{job.id}/") == [status.log]


async def test_a_failure_is_counted_once_though_the_answer_was_lost(bench: "Bench") -> None:
    """The second time the guard refuses, and the executor forgets the attempt."""
    await bench.module("detect", FAILS)
    job = await bench.running()
    status = await bench.attempted(job)
    bench.line.fail("settle", late=True)
    await bench.finish().finish(status, bench.executor)
    assert (await bench.ledger.get(job.id)).failures == {FailureClass.MODULE: 1}
    assert (await bench.executor.state(status.handle)).phase is Phase.UNKNOWN


@pytest.mark.parametrize(("verb", "late"), [("settle", True), ("delete", False)])
async def test_a_settled_attempt_is_cleared_away_though_a_store_was_away(bench: "Bench", verb: str, late: bool) -> None:
    """Whatever was cut short is repeated: nothing is left that no row names."""
    job = await bench.running()
    status = await failed(bench, job)
    bench.line.fail(verb, late=late)
    await bench.finish().finish(status, bench.executor)
    assert await bench.stored(f"{job.id}/") == [status.log]
