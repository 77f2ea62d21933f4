"""Tasks that an account takes only in part, or not now; and what is left of those that it never took."""

import asyncio

import pytest
from azure.batch.models import BatchTaskCreateOptions
from tests.batch_double.place import Place, becomes, double, place, task_images
from tests.batch_double.service import BatchDouble

from ion.adapters.executors.azurebatch import attempt as attempts
from ion.adapters.executors.azurebatch import pools
from ion.adapters.executors.azurebatch.adding import Adding
from ion.adapters.executors.azurebatch.client import Batch
from ion.errors import UnavailableError
from ion.model.job import FailureClass
from ion.ports.executor import Phase
from ion.testing.conformance.executor import WAITS, WRITES_A_FILE, final, logs_line, told

__all__ = ["double", "place", "task_images"]


async def test_what_a_collection_did_not_take_for_now_is_added_again(double: BatchDouble, place: Place) -> None:
    """The others were added with it, once."""
    double.account.resize("ion", 0)
    double.refuse_task(500, "InternalError")
    double.refuse_task(409, "JobBeingTerminated")
    async with place.open() as executor:
        handles = [await executor.submit(place.assignment("true")) for _ in range(5)]
        await becomes(lambda: sum(map(len, double.account.tasks.values())) == len(handles))
        for handle in handles:
            assert (await executor.state(handle)).phase is Phase.PENDING


@pytest.mark.parametrize(
    ("count", "refused", "requests"), [(130, 0, 2), (8, 3, 3 + 4)], ids=["a hundred at once", "down to the single task"]
)
async def test_tasks_of_a_moment_are_added_together(
    double: BatchDouble, place: Place, count: int, refused: int, requests: int
) -> None:
    """A hundred in one request; what is too large for one is added in parts."""
    double.account.resize("ion", 0)
    double.refuse("POST .*/addtaskcollection", 413, "RequestBodyTooLarge", times=refused)
    async with Batch(place.batch) as batch:
        adding = Adding(batch)
        tasks = [BatchTaskCreateOptions(id=f"task-{number}", command_line="true") for number in range(count)]
        assert all(await asyncio.gather(*(adding.add("job", "ion", task) for task in tasks)))
    assert len(double.account.tasks["job"]) == count
    assert double.count("POST .*/addtaskcollection") == requests


async def test_a_batch_job_that_somebody_ended_takes_nothing(
    double: BatchDouble, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What ran in it is lost; what comes next says which job is to be deleted, and goes on once it is."""
    async with place.open() as executor:
        handle = await executor.submit(place.assignment(WAITS))
        await logs_line(executor, handle, b"begun")
        [name] = double.account.jobs
        double.account.terminate_job(name)
        lost = (await final(executor, handle)).failure
        assert lost is not None
        assert lost.kind is FailureClass.LOST
        with monkeypatch.context() as impatient:
            impatient.setattr(attempts, "MAKING_S", 0.5)
            failed = (await final(executor, await executor.submit(place.assignment("true")))).failure
        assert failed is not None
        assert failed.kind is FailureClass.INFRASTRUCTURE
        assert failed.message.endswith(f"; the Batch job {name} is Ion's, delete it if it was ended")
        double.account.delete_job(name)
        again = await final(executor, await executor.submit(place.assignment(WRITES_A_FILE)))
        assert again.phase is Phase.SUCCEEDED


async def test_an_account_that_has_no_room_for_a_batch_job_says_so(
    double: BatchDouble, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is told to delete what is not there; and nothing secret stays in the blobs."""
    monkeypatch.setattr(attempts, "MAKING_S", 0.5)
    double.refuse("POST /jobs\\?", 409, "ActiveJobAndScheduleQuotaReached", times=100)
    async with place.open() as executor:
        handle = await executor.submit(place.assignment("true"))
        failed = (await final(executor, handle)).failure
        assert failed is not None
        assert failed.kind is FailureClass.INFRASTRUCTURE
        assert failed.message.endswith("(ActiveJobAndScheduleQuotaReached)")
        await executor.remove(handle)
        assert not [path for path in await place.paths(f"{handle.job}/") if "/given/" in path]


async def test_what_a_node_was_given_goes_though_its_task_is_gone(double: BatchDouble, place: Place) -> None:
    """It holds secrets, and somebody deleted the task."""
    async with place.open() as executor:
        handle = await executor.submit(place.assignment(WAITS))
        await told(executor, handle, lambda status: status.phase is Phase.RUNNING)
        [name] = double.account.jobs
        double.account.delete_job(name)
        assert (await final(executor, handle)).phase is Phase.FAILED
        await executor.remove(handle)
        assert not [path for path in await place.paths(f"{handle.job}/") if "/given/" in path]


async def test_a_task_that_somebody_ended_before_it_ran_is_lost(double: BatchDouble, place: Place) -> None:
    """As one that ran."""
    double.account.resize("ion", 0)
    async with place.open() as executor:
        handle = await executor.submit(place.assignment("true"))
        await becomes(lambda: double.account.one("active") is not None)
        task = double.account.one()
        assert task is not None
        double.account.terminate(next(iter(double.account.jobs)), task.document["id"])
        failed = (await final(executor, handle)).failure
        assert failed is not None
        assert failed.kind is FailureClass.LOST


async def test_a_pool_that_cannot_be_looked_at_holds_the_module(
    double: BatchDouble, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the reason, until it is looked at again."""
    monkeypatch.setattr(pools, "AGAIN_S", 3600.0)
    double.account.add_pool("other")
    double.refuse("GET /pools/other", 403, "AuthenticationFailed", times=1)
    work = place.assignment("true", azurebatch={"pool": "other"})
    async with place.open() as executor:
        with pytest.raises(UnavailableError, match="the pool other is being looked at"):
            executor.check(work.revision)
        async for _ in executor.watch():
            break
        with pytest.raises(UnavailableError, match=r"cannot look at the pool other: .*AuthenticationFailed"):
            executor.check(work.revision)
        assert double.count("GET /pools/other") == 1


async def test_more_slots_than_a_node_has_hold_the_module(double: BatchDouble, place: Place) -> None:
    """No node would ever take its tasks."""
    async with place.open() as executor:
        with pytest.raises(UnavailableError, match="takes 5 slots, and a node of the pool ion has 4"):
            executor.check(place.assignment("true", azurebatch={"slots": 5}).revision)
        executor.check(place.assignment("true", azurebatch={"slots": 4}).revision)
    assert double.account.pools["ion"].slots == 4
