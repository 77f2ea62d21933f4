"""A flow's control is changed in the midst of a verb of somebody else's: what was set last holds in the end.

The other side acts at an instant that the client names, before its statement is sent.
"""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent
from tests.stores.mongo_server import MongoServer, mongo_server

from ion.adapters.ledger.mongo import MongoLedger
from ion.adapters.ledger.mongo_rows import WITHHELD
from ion.adapters.mongo.database import MongoDatabase
from ion.adapters.mongo.schema import FLOWS, JOBS, RESERVATIONS
from ion.ports.ledger import Control, JobFilter, Open
from ion.testing.conformance.ledger_stage import claim, waiting_job

__all__ = ["mongo_server"]


class Before(CommandListener):
    """Does something once, before the next command of a name on a collection: a change of jobs, by default."""

    def __init__(self) -> None:
        self.act: Callable[[], object] | None = None
        self.what = ("update", JOBS)

    def started(self, event: CommandStartedEvent) -> None:
        name, collection = self.what
        if event.command.get(name) == collection and self.act is not None:
            act, self.act = self.act, None
            act()

    def succeeded(self, event: CommandSucceededEvent) -> None: ...

    def failed(self, event: CommandFailedEvent) -> None: ...


class Race:
    def __init__(self, ledger: MongoLedger, before: Before, client: MongoClient[dict[str, Any]], name: str) -> None:
        self.ledger, self.before, self.database = ledger, before, client[name]

    def set_control(self, control: Control) -> None:
        """As `control` does it in another process, which finds no job to change yet."""
        self.database[FLOWS].update_one({"_id": "f"}, {"$set": {"control": control.value}, "$inc": {"rev": 1}})

    def pause(self) -> None:
        """All of it."""
        self.set_control(Control.PAUSED)
        held = {"hold": "flow", "place": WITHHELD, "rank": 0}
        self.database[JOBS].update_many({"flow": "f"}, {"$set": held, "$inc": {"rev": 1}})


@pytest.fixture
async def race(mongo_server: MongoServer) -> AsyncIterator[Race]:
    settings, before = mongo_server.settings(timeout_s=30.0), Before()
    with mongo_server.client() as client:
        async with MongoDatabase(settings, listeners=[before]) as database:
            ledger = MongoLedger(database)
            await ledger.admit([waiting_job(flow="f") for _ in range(3)])
            yield Race(ledger, before, client, settings.database)


async def test_a_flow_freed_while_it_is_paused_runs(race: Race) -> None:
    """No job stays held that the one swept after the other had looked."""
    race.before.act = lambda: race.set_control(Control.NONE)
    await race.ledger.control("f", Control.PAUSED, "me")
    assert await race.ledger.open("f") == Open(waiting=3)
    assert len(await race.ledger.claim(claim(3))) == 3


async def test_a_flow_paused_while_it_is_freed_is_held(race: Race) -> None:
    """The other way round."""
    await race.ledger.control("f", Control.PAUSED, "me")
    race.before.act = lambda: race.set_control(Control.PAUSED)
    await race.ledger.control("f", Control.NONE, "me")
    assert await race.ledger.open("f") == Open(waiting=3, held=3)


async def test_a_flow_freed_while_a_claim_parks_its_jobs_runs(race: Race) -> None:
    """A claim that met a paused flow's jobs looks at the flow once more after it has put them aside."""
    race.set_control(Control.PAUSED)
    race.before.act = lambda: race.set_control(Control.NONE)
    first = await race.ledger.claim(claim(3))
    assert await race.ledger.open("f") == Open(waiting=3 - len(first), running=len(first))
    assert len([*first, *await race.ledger.claim(claim(3))]) == 3


async def test_a_flow_paused_while_a_claim_counts_devices_is_held(race: Race) -> None:
    """Also where somebody who died had a device reserved for its job, which a claim then keeps from it."""
    (first, *_) = (await race.ledger.query(JobFilter(correlation_id="f"))).jobs
    asked = claim(1, gpus_each=1, devices=("0",))
    taken = {"_id": f"devices {asked.scope}", "rev": 1, "held": [["0", first.id, 1]]}
    race.database[RESERVATIONS].insert_one(taken)
    race.before.what, race.before.act = ("find", RESERVATIONS), race.pause
    assert await race.ledger.claim(asked) == []
    assert await race.ledger.open("f") == Open(waiting=3, held=3)
    await race.ledger.control("f", Control.NONE, "me")
    assert [job.id for job in await race.ledger.claim(asked)] == [first.id]
