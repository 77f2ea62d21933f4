"""Several dispatchers in one namespace: of two Ions, or of one. Each sees, adopts and clears away what is its own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import pytest
from tests.cluster.attempts import Place, abandon, place, set_to
from tests.cluster.cluster import Cluster
from tests.stores.seaweed import Seaweed

from ion.adapters.executors.kubernetes import KubernetesExecutor
from ion.adapters.executors.kubernetes.names import JOB, MODULE
from ion.ports.executor import Assignment, Executor, Phase
from ion.testing.conformance.executor import WAITS, final, logs_line

__all__ = ["place"]


@pytest.fixture(params=["ledger", "instance"])
def neighbour(request: pytest.FixtureRequest, place: Place, seaweed: Seaweed, tmp_path: Path) -> Place:
    """Another Ion in the same namespace: with a ledger of its own, or an instance's name as well, and its own blobs."""
    other = tmp_path / "other"
    other.mkdir()
    where = msgspec.structs.replace(place, folder=str(other), store=seaweed.role(seaweed.fresh(f"{place.folder}-o")))
    return set_to(where, instance="other") if request.param == "instance" else where


@pytest.fixture
async def two(place: Place, neighbour: Place) -> AsyncIterator[tuple[KubernetesExecutor, KubernetesExecutor]]:
    async with place.open() as ours, neighbour.open() as theirs:
        yield ours, theirs


async def known(executor: Executor) -> set[str]:
    return {status.handle.job for status in await executor.recover()}


async def test_the_same_event_makes_a_job_of_each_ion(
    two: tuple[KubernetesExecutor, KubernetesExecutor], place: Place, neighbour: Place
) -> None:
    """A job's id comes from its event and its module, so two Ions that hear one bus have jobs of the same id."""
    ours, theirs = two
    work = place.assignment('echo "$SIDE"; echo a > "$ION_DIR/out/data/a.txt"', env={"SIDE": "ours"})
    module = msgspec.structs.replace(work.revision.module, env={"SIDE": "theirs"})
    same = Assignment(job=work.job, revision=msgspec.structs.replace(work.revision, module=module))
    mine, other = await asyncio.gather(ours.submit(work), theirs.submit(same))
    for executor, handle, where, said in ((ours, mine, place, b"ours"), (theirs, other, neighbour, b"theirs")):
        status = await final(executor, handle)
        assert status.phase is Phase.SUCCEEDED, status.failure
        assert status.manifest is not None
        assert (await where.stored(status.log)).splitlines()[0].endswith(b"Z " + said)
    await ours.remove(mine)
    assert await known(theirs) == {work.job.id}
    await theirs.remove(other)
    assert await known(theirs) == set()


async def test_what_the_neighbour_runs_is_neither_seen_nor_cleared_away(
    two: tuple[KubernetesExecutor, KubernetesExecutor], place: Place, cluster: Cluster
) -> None:
    """Also where it is removed by its very handle."""
    ours, theirs = two
    work = place.assignment(WAITS)
    handle = await ours.submit(work)
    await logs_line(ours, handle, b"begun")
    foreign = msgspec.structs.replace(handle, scope=theirs.guarantees.scope)
    assert await known(theirs) == set()
    assert (await theirs.state(foreign)).phase is Phase.UNKNOWN
    await theirs.remove(foreign)
    assert (await ours.state(handle)).phase is Phase.RUNNING
    names = cluster.kubectl(
        "get", "jobs,secrets", "-n", place.kubernetes.namespace, "-l", f"{JOB}={work.job.id}", "-o", "name"
    )
    assert len(names.split()) == 2


async def test_a_module_that_is_deleted_takes_only_its_own_ions_jobs_along(place: Place, cluster: Cluster) -> None:
    """What owns the jobs of a module of one instance is not what owns those of another's of the same name."""
    other = set_to(place, instance="other")
    async with place.open() as ours, other.open() as theirs:
        works = [place.assignment(WAITS), other.assignment(WAITS)]
        handles = [await ours.submit(works[0]), await theirs.submit(works[1])]
        for executor, handle in zip((ours, theirs), handles, strict=True):
            await logs_line(executor, handle, b"begun")
        words = (
            "get",
            "jobs",
            "-n",
            place.kubernetes.namespace,
            "-o",
            "jsonpath={.items[*].metadata.ownerReferences[*].uid}",
        )
        owners = cluster.kubectl(*words).split()
        assert len(set(owners)) == 2
        which = f"app.kubernetes.io/instance=ion,{MODULE}=probe"
        cluster.kubectl("delete", "configmap", "-n", place.kubernetes.namespace, "-l", which)
        assert (await final(ours, handles[0])).phase is Phase.FAILED
        assert (await theirs.state(handles[1])).phase is Phase.RUNNING


async def test_a_dispatcher_finds_the_job_of_one_that_was_killed_beside_another_ions(
    place: Place, neighbour: Place
) -> None:
    """It goes on with that and nothing else, from the first line of its log to the last."""
    script = 'echo begun; sleep 6; echo a > "$ION_DIR/out/data/a.txt"; echo said'
    works = [await abandon(where, where.assignment(script)) for where in (place, neighbour)]
    async with AsyncExitStack() as stack:
        for where, work in zip((place, neighbour), works, strict=True):
            executor = await stack.enter_async_context(where.open())
            assert await known(executor) == {work.job.id}
            status = await final(executor, await executor.submit(work))
            assert status.phase is Phase.SUCCEEDED
            lines = (await where.stored(status.log)).splitlines()
            assert [line.partition(b"Z ")[2] for line in lines] == [b"begun", b"said"]
