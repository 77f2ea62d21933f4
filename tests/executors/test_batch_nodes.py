"""Azure Batch's nodes: preempted, starting again, not to be reached, with a docker that does not answer."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from tests.batch_double.account import Task
from tests.batch_double.place import Place, becomes, double, place, task_images
from tests.batch_double.service import BatchDouble

from ion.adapters.executors.azurebatch import attempt as attempts
from ion.errors import UnsupportedError
from ion.model.job import Failure, FailureClass
from ion.model.manifest import log_pieces
from ion.ports.executor import Phase
from ion.testing.conformance.executor import WAITS, WRITES_A_FILE, final, logs_line, told

__all__ = ["double", "place", "task_images"]

FAILS_LATER = "sleep 3; exit 3"


def docker_that(double: BatchDouble, does: str) -> None:
    """The nodes' docker does this before anything else."""
    docker = double.account.nodes / "programs/docker"
    docker.write_text(docker.read_text().replace("exec podman", f"{does}\nexec podman"))


async def running(double: BatchDouble) -> Task:
    await becomes(lambda: double.account.one("running") is not None)
    task = double.account.one()
    assert task is not None
    return task


async def listed_twice(double: BatchDouble) -> None:
    """Until whoever asks must know how tasks stand now."""
    before = double.count(r"GET .*/tasks\?")
    await becomes(lambda: double.count(r"GET .*/tasks\?") >= before + 2)


async def test_a_docker_that_starts_again_does_not_end_the_module(double: BatchDouble, place: Place) -> None:
    """Whoever waited for the module is told nothing, and its exit code is not 0 because it has none yet."""
    docker_that(double, 'case "$1" in wait) exit 1 ;; esac')
    status = await place.ended(place.assignment(FAILS_LATER))
    assert status.failure == Failure(kind=FailureClass.MODULE, message="exit code 3", exit_code=3)


async def test_a_docker_that_does_not_say_how_the_module_ended_is_trouble(double: BatchDouble, place: Place) -> None:
    """It may have ended well or badly, or not at all: nothing is committed."""
    docker_that(double, 'case "$*" in *ExitCode*module*) exit 1 ;; esac')
    status = await place.ended(place.assignment(WRITES_A_FILE))
    assert status.failure == Failure(kind=FailureClass.INFRASTRUCTURE, message="docker does not say how module ended")


async def test_a_preempted_task_has_its_start_timeout_again(double: BatchDouble, place: Place) -> None:
    """However long ago the task was made. Batch does not count what it runs anew by itself."""
    async with place.open() as executor:
        handle = await executor.submit(place.gated(start_timeout_s=600.0))
        await logs_line(executor, handle, b"begun")
        task = await running(double)
        task.document["creationTime"] = f"{datetime.now(UTC) - timedelta(hours=2):%Y-%m-%dT%H:%M:%SZ}"
        double.account.resize("ion", 0)
        double.account.lose_node(task)
        await becomes(lambda: double.account.one("active") is not None)
        await listed_twice(double)
        place.open_gate()
        double.account.resize("ion", 4)
        assert (await final(executor, handle)).phase is Phase.SUCCEEDED


async def test_the_accounts_clock_counts(double: BatchDouble, place: Place) -> None:
    """A host whose own goes ten minutes before it gives up no task for that."""
    double.account.ahead_s = -600.0
    double.account.resize("ion", 0)
    async with place.open() as executor:
        handle = await executor.submit(place.assignment(WRITES_A_FILE, start_timeout_s=500.0))
        await becomes(lambda: double.account.one("active") is not None)
        await listed_twice(double)
        double.account.resize("ion", 4)
        assert (await final(executor, handle)).phase is Phase.SUCCEEDED


async def test_an_attempt_that_is_late_for_want_of_a_node_is_lost(double: BatchDouble, place: Place) -> None:
    """The module may have had time enough: it is not blamed."""
    async with place.open() as executor:
        handle = await executor.submit(place.assignment(WAITS))
        await logs_line(executor, handle, b"begun")
        task = await running(double)
        double.account.lose_node(task)
        await becomes(lambda: task.runs == 2)
        await logs_line(executor, handle, b"runs the task anew")
        await executor.cancel(handle, Failure(kind=FailureClass.TIMEOUT, message="it took too long"))
        assert (await final(executor, handle)).failure == Failure(
            kind=FailureClass.LOST, message="its node went away, and it took too long"
        )


async def test_of_a_task_that_runs_anew_the_log_is_stored_meanwhile_too(double: BatchDouble, place: Place) -> None:
    """In pieces of its own, from the first byte on, so that they can be put together without this dispatcher."""
    async with place.open() as executor:
        handle = await executor.submit(place.assignment(WAITS))
        await logs_line(executor, handle, b"begun")
        task = await running(double)
        while not log_pieces(await place.paths(f"{handle.job}/")):
            await listed_twice(double)
        double.account.lose_node(task)
        await logs_line(executor, handle, b"runs the task anew")
        runs: set[str] = set()
        while len(runs) < 2:
            await listed_twice(double)
            runs = {path.split("/")[2] for path in await place.paths(f"{handle.job}/") if "/run-" in path}
        for run in runs:
            pieces = log_pieces(path for path in await place.paths(f"{handle.job}/") if run in path)
            assert b"begun" in b"".join([await place.stored(piece.path) for piece in pieces])
        await executor.remove(handle)
        assert log_pieces(await place.paths(f"{handle.job}/")) == []


async def test_a_module_ends_by_batchs_word_if_its_node_stays_away(
    double: BatchDouble, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that starts again and again has a report that nobody can read; the account has the exit code."""
    monkeypatch.setattr(attempts, "NODE_S", 1.0)
    work = place.assignment("exit 7")
    async with place.open() as executor:
        await executor.submit(work)
        await becomes(lambda: double.account.one() is not None)
    await becomes(lambda: double.account.one("completed") is not None)
    task = double.account.one()
    assert task is not None
    double.account.lose_files(task, 409, "NodeBeingRebooted")
    status = await place.ended(work)
    assert status.failure == Failure(kind=FailureClass.MODULE, message="exit code 7", exit_code=7)


async def test_an_attempt_is_ended_though_its_log_cannot_be_read(double: BatchDouble, place: Place) -> None:
    """The node may be what is wrong with it."""
    async with place.open() as executor:
        handle = await executor.submit(place.assignment(WAITS))
        await told(executor, handle, lambda status: status.phase is Phase.RUNNING)
        task = await running(double)
        double.account.lose_files(task, 409, "NodeStateUnusable")
        await executor.cancel(handle)
        await becomes(lambda: double.account.one("completed") is not None)
        task.no_files = None
        assert (await final(executor, handle)).phase is Phase.FAILED


async def test_a_long_variable_reaches_the_module_as_it_is(place: Place) -> None:
    """Docker does not read such a long line from a file."""
    value = "x" * 100_000
    work = place.assignment('printf %s "$GIVEN" >"$ION_DIR/out/data/given"', env={"GIVEN": value})
    status = await place.ended(work)
    assert status.manifest is not None, status
    [given] = [path for path in await place.paths(f"{work.job.id}/") if path.endswith("/data/given")]
    assert await place.stored(given) == value.encode()


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("x" * 131_072, "has the variable GIVEN of more than 131071 bytes, which no program"),
        ("not \udcff UTF-8", "has the variable GIVEN that is no UTF-8, which docker passes on as something else"),
    ],
)
async def test_a_variable_that_no_container_can_have_is_refused(place: Place, value: str, sentence: str) -> None:
    """Before anything is made of it."""
    there = msgspec.structs.replace(place, known={"given": value})
    async with there.open() as executor:
        with pytest.raises(UnsupportedError, match=sentence):
            executor.check(place.assignment("true", secrets={"GIVEN": "given"}).revision)
