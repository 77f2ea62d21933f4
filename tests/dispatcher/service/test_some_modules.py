"""Dispatchers that are for some modules, or for none: they leave the others alone, and relay for all."""

import os
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import msgspec
import pytest

from ion.adapters.bus.sqlite import SqliteBus
from ion.adapters.sqlite.database import Database
from ion.dispatcher.ownership import this_host
from ion.dispatcher.stores import Stores
from ion.model.job import State
from ion.model.module import Module, revise
from ion.ports.ledger import Claim, Owner
from ion.testing.conformance.bus_harness import made

if TYPE_CHECKING:
    from tests.dispatcher.service.conftest import Site


def none(_: Module) -> bool:
    return False


def is_count(module: Module) -> bool:
    return module.name == "count"


@pytest.fixture
async def bus(site: "Site") -> AsyncIterator[SqliteBus]:
    async with Database(site.store / "bus.db") as database, SqliteBus(database) as bus:
        await bus.ensure(["photo"], ["detect", "count"])
        yield bus


@pytest.fixture
def stores(site: "Site", bus: SqliteBus) -> Stores:
    return msgspec.structs.replace(site.stores, bus=bus)


async def test_it_runs_what_it_serves(site: "Site") -> None:
    """The other module's job waits for a dispatcher of its own, and its concurrency is not shared with this one."""
    await site.module("detect", "true")
    await site.module("count", "true")
    async with site.dispatching(serves=is_count) as dispatcher:
        event = await site.photo()
        await site.reached(event, State.RELEASED, "count")
        assert (await site.job(event)).state is State.WAITING
        (owner,) = [one for one in await site.stores.ledger.owners() if one.id == dispatcher.id]
        assert owner.modules == ("count",)
        async with site.dispatching():
            await site.reached(event, State.RELEASED)


async def test_a_module_that_is_registered_later_is_served_then(site: "Site") -> None:
    """It is named before it is there."""
    async with site.dispatching(serves=is_count):
        await site.module("count", "true")
        await site.reached(await site.photo(), State.RELEASED, "count")


async def test_without_executors_it_relays_and_admits_for_those_who_run(
    site: "Site", stores: Stores, bus: SqliteBus
) -> None:
    """What gateways commit and what the bus brings stands in the ledger, where others find it."""
    await site.module("detect", "true")
    await site.module("count", "true")
    async with site.dispatching(stores=stores, executors={}, serves=none, receives=is_count):
        root = await site.photo()
        assert (await site.job(root)).state is State.WAITING
        elsewhere = made("photo")
        await bus.publish([elsewhere])
        assert (await site.job(elsewhere, "count")).state is State.WAITING

        async def received() -> bool:
            return await bus.depth("count") == 0

        await site.until(received)
        assert await bus.depth("detect") == 2


async def test_without_executors_it_leaves_what_runs_to_others(site: "Site") -> None:
    """It cannot tell how the attempt of a dead dispatcher is; whoever can takes it over."""
    module = await site.module("detect", "true")
    ledger = site.stores.ledger
    async with site.dispatching(executors={}, serves=none):
        event = await site.photo()
        job = await site.job(event)
    for name in ("gone", "idle"):
        lock = str(site.store / "run" / f"{name}.lock")
        await ledger.beat(Owner(id=name, scope="", host=this_host(), pid=os.getpid(), lock=lock))
    claim = Claim(module="detect", most=1, owner="gone", scope="", revision=revise(module).id, deadline_s=60.0)
    assert [one.id for one in await ledger.claim(claim)] == [job.id]

    async def idle_is_gone() -> bool:
        return "idle" not in {one.id for one in await ledger.owners()}

    async with site.dispatching(executors={}, serves=none):
        await site.until(idle_is_gone)
        assert "gone" in {one.id for one in await ledger.owners()}
        assert (await ledger.get(job.id)).owner == "gone"
    async with site.dispatching():
        await site.reached(event, State.RELEASED)
