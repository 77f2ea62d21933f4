"""Azure Batch when things go wrong: nodes, images, tasks and pools, on the local service that runs tasks."""

import subprocess
from collections.abc import Callable

import pytest
from tests.batch_double.account import Account, Task
from tests.batch_double.place import Place, becomes, double, place, task_images
from tests.batch_double.service import BatchDouble

from ion.adapters.executors.azurebatch import BatchExecutor
from ion.adapters.executors.azurebatch import attempt as attempts
from ion.adapters.executors.azurebatch.task import seconds
from ion.errors import UnavailableError
from ion.model.job import FailureClass
from ion.model.manifest import log_pieces
from ion.model.module import Resources
from ion.ports.executor import Assignment, Phase, Status
from ion.testing.conformance.executor import WAITS, WRITES_A_FILE, final, logged, logs_line, told

__all__ = ["double", "place", "task_images"]


def failed(status: Status) -> tuple[FailureClass, str]:
    assert status.failure is not None, status
    return status.failure.kind, status.failure.message


async def running(double: BatchDouble) -> Task:
    """The only task, once it runs."""
    await becomes(lambda: double.account.one("running") is not None)
    task = double.account.one()
    assert task is not None
    return task


def containers(double: BatchDouble) -> str:
    """What tasks of this account have on this machine."""
    words = ["podman", "ps", "--all", "--format", "{{.Labels}}", "--filter", "label=ion.task"]
    lines = subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()
    return "".join(line for line in lines if str(double.account.folder) in line)


@pytest.mark.parametrize("goes", [Account.lose_node, Account.requeue])
async def test_a_task_whose_node_went_away_is_a_second_execution(
    double: BatchDouble, place: Place, goes: Callable[[Account, Task], None]
) -> None:
    """Batch runs it anew: the attempt stays one, its log says so, and the results are there once."""
    async with place.open() as executor:
        handle = await executor.submit(place.gated())
        await logs_line(executor, handle, b"begun")
        task = await running(double)
        goes(double.account, task)
        await becomes(lambda: task.runs == 2)
        place.open_gate()
        status = await final(executor, handle)
        assert (status.phase, status.handle.attempt) == (Phase.SUCCEEDED, 1)
        assert status.manifest is not None
        assert status.manifest.files == 1
        log = await place.stored(status.log)
        assert b"its node went away; Batch runs the task anew" in log
        assert log.count(b"said") == 1
        assert not log_pieces(await place.paths(f"{handle.job}/"))


async def test_a_preempted_task_that_no_other_node_takes_is_lost(double: BatchDouble, place: Place) -> None:
    """It waits for its start timeout, then the attempt has failed with its node, not for a fault of the module's."""
    work = place.assignment(WAITS, start_timeout_s=300.0)
    async with place.open() as executor:
        handle = await executor.submit(work)
        task = await running(double)
        double.account.resize("ion", 0)
        double.account.lose_node(task)
        await becomes(lambda: double.account.one("active") is not None)
        with double.account.lock:  # ten minutes go by, and something of the task is new, so that it is looked at
            double.account.ahead_s = 600.0
            task.document["creationTime"] = task.document["stateTransitionTime"]
        kind, message = failed(await final(executor, handle))
        assert (kind, message) == (FailureClass.LOST, "its node went away, and no other took it within 300 s")


async def test_a_pool_without_nodes_is_a_failure_of_infrastructure(double: BatchDouble, place: Place) -> None:
    """No node took the task within its start timeout, which burns none of the module's retries."""
    double.account.resize("ion", 0)
    kind, message = failed(await place.ended(place.assignment(WRITES_A_FILE, start_timeout_s=1.0)))
    assert kind is FailureClass.INFRASTRUCTURE
    assert message == "no node took its task within 1 s: has the pool any?"


async def test_a_task_that_somebody_deleted_is_lost(
    double: BatchDouble, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing waits for ever for what is gone; until the service has said that it is, it runs."""
    async with place.open() as executor:
        handle = await executor.submit(place.assignment(WAITS))
        await told(executor, handle, lambda status: status.phase is Phase.RUNNING)
        task = await running(double)
        [name] = double.account.jobs
        monkeypatch.setattr(attempts, "UNSEEN_S", 0.1)
        double.refuse(r"GET .*/tasks/[^/?]+\?", 500, "InternalError", times=1000)
        double.account.delete(name, task.document["id"])
        assert [status.phase for status in await executor.recover()] == [Phase.RUNNING]
        double.refuse_no_more()
        kind, message = failed(await final(executor, handle))
        assert (kind, message) == (
            FailureClass.LOST,
            "its task is gone: somebody else deleted it, or its Batch job",
        )


async def test_a_task_that_somebody_ended_is_lost(double: BatchDouble, place: Place) -> None:
    """By hand in the portal, say: another attempt may be made."""
    async with place.open() as executor:
        handle = await executor.submit(place.assignment(WAITS))
        await logs_line(executor, handle, b"begun")
        task = await running(double)
        double.account.terminate(next(iter(double.account.jobs)), task.document["id"])
        kind, message = failed(await final(executor, handle))
        assert kind is FailureClass.LOST
        assert message == "its task was ended by somebody else: Task Was Ended by User Request"


async def test_what_a_task_leaves_running_is_ended(double: BatchDouble, place: Place) -> None:
    """Batch kills the command line at once; its container is stopped with the module's grace, and goes."""
    async with place.open() as executor:
        handle = await executor.submit(place.assignment(WAITS))
        await logs_line(executor, handle, b"begun")
        assert containers(double)
        await executor.cancel(handle)
        assert (await final(executor, handle)).phase is Phase.FAILED
        await becomes(lambda: not containers(double))


async def test_an_exit_code_is_known_though_the_node_is_gone(double: BatchDouble, place: Place) -> None:
    """Its report cannot be read any more: what Batch says of the task has to do."""
    work = place.assignment("echo why; exit 7")
    async with place.open() as executor:
        await executor.submit(work)
        await becomes(lambda: double.account.one() is not None)
    await becomes(lambda: double.account.one("completed") is not None)
    task = double.account.one()
    assert task is not None
    double.account.lose_files(task)
    status = await place.ended(work)
    assert failed(status) == (FailureClass.MODULE, "exit code 7")


async def test_results_are_found_though_the_node_is_gone(double: BatchDouble, place: Place) -> None:
    """The manifest is in the blobs; neither the report nor the log can be read any more."""
    work = place.assignment(WRITES_A_FILE)
    async with place.open() as executor:
        await executor.submit(work)
        await becomes(lambda: double.account.one() is not None)
    await becomes(lambda: double.account.one("completed") is not None)
    task = double.account.one()
    assert task is not None
    double.account.lose_files(task)
    status = await place.ended(work)
    assert status.phase is Phase.SUCCEEDED
    assert status.manifest is not None
    assert status.manifest.files == 1


async def test_an_image_that_cannot_be_pulled_is_a_failure_of_infrastructure(place: Place) -> None:
    """The sentence names the image; the log has what docker says."""
    status = await place.ended(place.assignment("true", image="127.0.0.1:1/nothing:1", start_timeout_s=60.0))
    kind, message = failed(status)
    assert kind is FailureClass.INFRASTRUCTURE
    assert message.startswith("the image 127.0.0.1:1/nothing:1 cannot be pulled: ")
    assert b"cannot be pulled" in await place.stored(status.log)


async def test_a_program_that_is_not_in_the_image_breaks_the_contract(place: Place) -> None:
    """Trying again would not help."""
    kind, message = failed(await place.ended(place.assignment("", command=("/no/such/program",))))
    assert kind is FailureClass.CONTRACT
    assert message.startswith("the module could not be started: ")
    assert "/no/such/program" in message


async def test_an_archive_that_cannot_be_fetched_is_a_failure_of_infrastructure(
    double: BatchDouble, place: Place
) -> None:
    """The node could not begin; Batch's word for it is in the sentence."""
    double.account.resize("ion", 0)
    work = place.assignment(WRITES_A_FILE)
    async with place.open() as executor:
        handle = await executor.submit(work)
        await becomes(lambda: double.account.one("active") is not None)
        await executor._blobs.delete(f"{handle.job}/1/given/")
        double.account.resize("ion", 4)
        kind, message = failed(await final(executor, handle))
        assert kind is FailureClass.INFRASTRUCTURE
        assert "BlobNotFound" in message


async def test_batch_itself_ends_a_task_when_its_node_hangs(double: BatchDouble, place: Place) -> None:
    """The wall-clock limit is the last resort, where the node's own limits do nothing."""
    (double.account.nodes / "programs/docker").write_text("#!/bin/sh\nexec sleep 600\n")
    there = place.but(slack_s=50.0)
    work = there.assignment(WRITES_A_FILE, timeout_s=50.0, start_timeout_s=300.0)
    async with there.open() as executor:
        handle = await executor.submit(work)
        double.account.run_out(await running(double))
        kind, message = failed(await final(executor, handle))
        assert kind is FailureClass.INFRASTRUCTURE
        most_s = seconds(work.revision.module, there.batch)
        assert message == f"Batch ended its task after {most_s} s, and the module had not begun: see the log"


@pytest.mark.parametrize(
    ("pool", "sentence"),
    [
        ("other", "the Batch account has no pool 'other': make it, or name another"),
        ("going", "the pool going is not active but deleting: wait for it, or name another"),
        ("plain", "the pool plain runs no containers of docker: make one whose virtualMachineConfiguration has"),
        ("cri", "the pool cri runs no containers of docker: make one whose virtualMachineConfiguration has"),
    ],
)
async def test_a_pool_that_cannot_be_used_holds_the_module(
    double: BatchDouble, place: Place, pool: str, sentence: str
) -> None:
    """One sentence says what is wrong with it; nothing is made in it."""
    double.account.add_pool("going", state="deleting")
    double.account.add_pool("plain", containers="")
    double.account.add_pool("cri", containers="criCompatible")
    work = place.assignment("true", azurebatch={"pool": pool})
    async with place.open() as executor:
        assert (await held(executor, work)).startswith(sentence)
        executor.check(place.assignment("true", azurebatch={}).revision)


async def held(executor: BatchExecutor, work: Assignment) -> str:
    """Why a module is held, once its pool has been looked at."""
    said: list[str] = []

    def told() -> bool:
        try:
            executor.check(work.revision)
        except UnavailableError as error:
            said[:] = [str(error)]
        return "being looked at" not in said[0]

    while not told():
        async for _ in executor.watch():
            break
    return said[0].removeprefix("module probe waits: ")


async def test_the_log_has_what_all_three_and_the_task_itself_said(double: BatchDouble, place: Place) -> None:
    """The module's two outputs, what commit complains of, each with its time; in the end the task's standard error."""
    docker = double.account.nodes / "programs/docker"
    docker.write_text(
        docker.read_text().replace("exec podman", 'case "$1" in inspect) echo slow >&2 ;; esac\nexec podman')
    )
    script = 'echo out; echo bad >&2; echo nonsense >"$ION_DIR/out/events/e.json"'
    async with place.open() as executor:
        handle = await executor.submit(place.assignment(script))
        status = await final(executor, handle)
        lines = (await logged(executor, handle)).decode().splitlines()
        assert failed(status)[0] is FailureClass.CONTRACT
        assert {line[25:] for line in lines} >= {"out", "bad", "[ion] stderr.txt: slow"}
        assert any(line[25:].startswith("Error: ") and "e.json" in line for line in lines)
        assert all(line[10] == "T" and line[23:25] == "Z " for line in lines)


async def test_a_module_that_takes_too_much_memory_is_told(place: Place) -> None:
    """The node's kernel ends it; the next attempt gets more, if the module says so."""
    command = ("/bin/dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1")
    work = place.assignment("", command=command, resources=Resources(memory=32 * 2**20))
    assert failed(await place.ended(work)) == (FailureClass.MEMORY, "killed by SIGKILL: out of memory")
