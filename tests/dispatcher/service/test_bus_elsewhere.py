"""A dispatcher whose bus is on another store than its ledger: it receives, beside relaying."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import msgspec
import pytest

from ion.adapters.bus.sqlite import SqliteBus
from ion.adapters.sqlite.database import Database
from ion.dispatcher.stores import Stores
from ion.model.job import State
from ion.testing.conformance.bus_harness import made

if TYPE_CHECKING:
    from tests.dispatcher.service.conftest import Site

A_FACE = 'echo "{\\"type\\": \\"face\\"}" > "$ION_DIR/out/events/1.json"'


@pytest.fixture
async def bus(site: "Site") -> AsyncIterator[SqliteBus]:
    async with Database(site.store / "bus.db") as database, SqliteBus(database) as bus:
        await bus.ensure(["photo"], ["detect"])
        await bus.ensure(["face"], ["count"])
        yield bus


@pytest.fixture
def stores(site: "Site", bus: SqliteBus) -> Stores:
    return msgspec.structs.replace(site.stores, bus=bus)


async def test_an_event_from_elsewhere_is_done(site: "Site", stores: Stores, bus: SqliteBus) -> None:
    """Somebody publishes it on the bus; it is admitted, and its job runs."""
    await site.module("detect", "true")
    async with site.dispatching(stores=stores, reconcile_s=0.1):
        event = made("photo")
        await bus.publish([event])
        await site.reached(event, State.RELEASED)


async def test_an_event_that_is_relayed_and_received_starts_one_job(
    site: "Site", stores: Stores, bus: SqliteBus
) -> None:
    """The relay admits the child and publishes; the delivery of it admits nothing, and is acknowledged."""
    await site.module("detect", A_FACE, emits=["face"])
    await site.module("count", 'echo "$ION_EVENT_ID" >> counts', on="face")
    async with site.dispatching(stores=stores, reconcile_s=0.1):
        event = await site.photo()
        await site.quiet(event)

        async def taken() -> bool:
            return await bus.depth("detect") + await bus.depth("count") == 0

        await site.until(taken)
        assert await site.quiet(event) == {("detect", State.RELEASED): 1, ("count", State.RELEASED): 1}
    assert len(site.lines("counts")) == 1


async def test_it_receives_from_the_start(site: "Site", stores: Stores, bus: SqliteBus) -> None:
    """And not only after its first comparison, or the next change of the registry."""
    await site.module("detect", "true")
    async with site.dispatching(stores=stores, reconcile_s=3600.0):
        event = made("photo")
        await bus.publish([event])
        await site.reached(event, State.RELEASED)
