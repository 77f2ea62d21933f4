"""Whole flows through modules with rules, over two providers: each a real executor of this machine with its folder."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from tests.dispatcher.service.test_sharing import LEASE_S, seen_each_other

from ion.config.settings import Machine, Settings
from ion.model.job import State
from ion.model.module import Rule
from ion.wiring import open_executors, open_store

if TYPE_CHECKING:
    from tests.dispatcher.service.conftest import Site

    from ion.ports.executor import Executor

BIG = Rule(size_least=1000, provider="kubernetes")
WHERE = 'echo "$ION_MODULE $ION_DIR" >> ran'


@asynccontextmanager
async def executor(site: "Site", folder: str, *, cpu: float = 4.0) -> AsyncIterator["Executor"]:
    """One whose attempts work below a folder of that name."""
    settings = Settings(machine=Machine(cpu=cpu, gpus=()))
    async with open_executors(site.store / folder, site.stores, settings, site.environ) as opened:
        yield opened["local"]


def ran_in(site: "Site") -> Counter[tuple[str, str]]:
    """How often each module ran in each folder."""
    lines = [line.split(" ", 1) for line in site.lines("ran")]
    return Counter((module, "far" if "/far/" in path else "near") for module, path in lines)


async def test_one_flow_runs_on_two_providers(site: "Site") -> None:
    """Large photos are detected far away, small ones near; the counting of either is near."""
    raises = 'echo \'{"type": "face"}\' > "$ION_DIR/out/events/face.json"'
    await site.module("detect", f"{WHERE}; {raises}", emits=["face"], route=(BIG,))
    await site.module("count", WHERE, on="face")
    async with (
        executor(site, "near") as near,
        executor(site, "far") as far,
        site.dispatching(executors={"local": near, "kubernetes": far}),
    ):
        (first,) = await site.raise_photos(file="x" * 2000)
        for size in (2000, 2000, 10):
            await site.raise_photos(file="x" * size, flow=first.correlation_id)
        assert await site.quiet(first) == {("detect", State.RELEASED): 4, ("count", State.RELEASED): 4}
    assert ran_in(site) == {("detect", "far"): 3, ("detect", "near"): 1, ("count", "near"): 4}


async def test_two_dispatchers_with_a_provider_each_finish_a_flow_together(site: "Site") -> None:
    """Neither takes what is for the other, however they race for it."""
    await site.module("detect", WHERE, route=(BIG,), concurrency=8)
    async with (
        executor(site, "near") as near,
        executor(site, "far") as far,
        open_store(site.store) as others,
        site.dispatching(executors={"local": near}, lease_s=LEASE_S) as one,
        site.dispatching(executors={"kubernetes": far}, lease_s=LEASE_S, stores=others) as two,
    ):
        await seen_each_other(site)
        rows = {owner.id: owner.places for owner in await site.stores.ledger.owners()}
        assert rows == {one.id: ("detect@local",), two.id: ("detect@kubernetes",)}
        (first,) = await site.raise_photos(file="x" * 2000)
        events = [first]
        for n in range(19):
            events += await site.raise_photos(file="x" * (2000 if n % 2 else 10), flow=first.correlation_id)
        assert await site.quiet(first) == {("detect", State.RELEASED): 20}
        jobs = [await site.job(event) for event in events]
    assert Counter(job.route for job in jobs) == {"local!0": 10, "kubernetes!0": 10}
    assert ran_in(site) == {("detect", "far"): 10, ("detect", "near"): 10}
    claimed = {(job.route, change.actor) for job in jobs for change in job.history if change.state is State.RUNNING}
    assert claimed == {("local!0", one.id), ("kubernetes!0", two.id)}


async def test_a_job_that_waits_too_long_goes_to_the_other_provider(site: "Site") -> None:
    """The machine here is taken by one that does not end; what waits behind it ends elsewhere meanwhile."""
    await site.module("block", f"{WHERE}; while [ ! -e go ]; do sleep 0.02; done", on="scan")
    await site.module("detect", WHERE, route=(Rule(waited_s=1.0, provider="kubernetes"),))
    async with (
        executor(site, "near", cpu=1.0) as near,
        executor(site, "far") as far,
        site.dispatching(executors={"local": near, "kubernetes": far}),
    ):
        blocker = await site.photo(kind="scan")
        await site.reached(blocker, State.RUNNING, "block")
        moved = await site.reached(await site.photo(), State.RELEASED)
        assert (await site.job(blocker, "block")).state is State.RUNNING
        (site.outside / "go").touch()
        await site.quiet(blocker)
    assert ran_in(site) == {("block", "near"): 1, ("detect", "far"): 1}
    assert any("rule 1 (waited 1s)" in change.note for change in moved.history)


async def test_rules_ask_for_data_that_lies_in_a_blob(site: "Site") -> None:
    """Data too large for a row is read for the rules as for filters."""
    video = Rule(filters=({"exact": {"data.kind": "video"}},), provider="kubernetes")
    big = "x" * 20_000
    raises = f'printf \'{{"type": "face", "data": {{"kind": "video", "text": "{big}"}}}}\''
    await site.module("detect", f'{raises} > "$ION_DIR/out/events/face.json"', emits=["face"])
    await site.module("count", WHERE, on="face", route=(video,))
    async with (
        executor(site, "near") as near,
        executor(site, "far") as far,
        site.dispatching(executors={"local": near, "kubernetes": far}),
    ):
        event = await site.photo()
        assert await site.quiet(event) == {("detect", State.RELEASED): 1, ("count", State.RELEASED): 1}
    assert ran_in(site) == {("count", "far"): 1}
