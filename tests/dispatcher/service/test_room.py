"""How many run at once: never more than a module's concurrency, the machine and its devices allow, and never fewer.

Each attempt writes a line when it begins and one when it ends; the first ones wait for each other, so that they cannot
end before as many run as are to run.
"""

from typing import TYPE_CHECKING, Any

import pytest

from ion.config.settings import Machine
from ion.model.job import State
from ion.model.module import Resources

if TYPE_CHECKING:
    from tests.dispatcher.service.conftest import Site

GIB = 2**30
EIGHT_CORES = Machine(cpu=8.0, memory=64 * GIB, gpus=())


@pytest.mark.parametrize(
    ("machine", "fields", "most"),
    [
        (EIGHT_CORES, {"concurrency": 2}, 2),
        (EIGHT_CORES, {"concurrency": 9, "resources": Resources(cpu=2.5)}, 3),
        (Machine(cpu=8.0, memory=2 * GIB, gpus=()), {"concurrency": 9, "resources": Resources(memory=GIB)}, 2),
        (Machine(cpu=1.0, memory=64 * GIB, gpus=()), {"concurrency": 9}, 1),
    ],
    ids=["concurrency", "cpu", "memory", "one core"],
)
async def test_as_many_run_at_once_as_there_is_room_for(
    site: "Site", machine: Machine, fields: dict[str, Any], most: int
) -> None:
    """Neither more nor fewer, and in the end all have run."""
    await site.module("detect", site.beside(most), **fields)
    async with site.dispatching(machine=machine):
        events = await site.raise_photos(7)
        assert await site.quiet(events[0]) == {("detect", State.RELEASED): 7}
    assert site.most_at_once() == most


async def test_modules_share_the_machine(site: "Site") -> None:
    """Each could have more by itself; together they have its two cores."""
    for name in ("detect", "count"):
        await site.module(name, site.beside(2), concurrency=4)
    async with site.dispatching(machine=Machine(cpu=2.0, gpus=())):
        events = await site.raise_photos(4)
        assert await site.quiet(events[0]) == {("detect", State.RELEASED): 4, ("count", State.RELEASED): 4}
    assert site.most_at_once() == 2


async def test_each_gpu_is_given_to_one_job_at_a_time(site: "Site") -> None:
    """Two devices, two jobs at once, each told its own; whoever comes next gets one that is free by then."""
    await site.module("detect", site.beside(2), concurrency=9, resources=Resources(cpu=0.5, gpu=1))
    async with site.dispatching(machine=Machine(cpu=8.0, gpus=("GPU-a", "GPU-b"))):
        events = await site.raise_photos(7)
        assert await site.quiet(events[0]) == {("detect", State.RELEASED): 7}
    assert [site.most_at_once(), site.most_at_once(" GPU-a"), site.most_at_once(" GPU-b")] == [2, 1, 1]
    assert {line.split()[1] for line in site.lines("ran")} == {"GPU-a", "GPU-b"}


async def test_a_job_may_have_several_gpus(site: "Site") -> None:
    """They are named together, and nobody else has one meanwhile."""
    await site.module("detect", site.beside(1), concurrency=9, resources=Resources(cpu=0.5, gpu=2))
    async with site.dispatching(machine=Machine(cpu=8.0, gpus=("0", "1", "2"))):
        events = await site.raise_photos(3)
        assert await site.quiet(events[0]) == {("detect", State.RELEASED): 3}
    assert site.most_at_once() == 1
    assert all(len(set(line.split()[1].split(","))) == 2 for line in site.lines("ran"))


async def test_a_module_without_gpus_is_shown_none(site: "Site") -> None:
    """On a machine that has some; and it does not wait for one."""
    await site.module("detect", site.beside(3), concurrency=3)
    async with site.dispatching(machine=Machine(cpu=8.0, gpus=("0",))):
        events = await site.raise_photos(3)
        assert await site.quiet(events[0]) == {("detect", State.RELEASED): 3}
    assert site.lines("ran") == ["begin "] * 3 + ["end "] * 3


async def test_devices_are_recorded_with_the_results(site: "Site") -> None:
    """The manifest tells on which device they were made; the row holds none any more."""
    await site.module("detect", site.beside(1), resources=Resources(gpu=1))
    async with site.dispatching(machine=Machine(cpu=8.0, gpus=("GPU-a",))):
        event = await site.photo()
        await site.quiet(event)
    job = await site.job(event)
    assert job.manifest is not None
    assert '"devices":["GPU-a"]' in job.manifest.inline
    assert job.devices == ()
