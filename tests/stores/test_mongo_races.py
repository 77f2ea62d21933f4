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
from ion.adapters.mongo.database import MongoDatabase
from ion.adapters.mongo.schema import FLOWS, JOBS
from ion.ports.ledger import Control, Open
from ion.testing.conformance.ledger_stage import claim, waiting_job

__all__ = ["mongo_server"]


class Before(CommandListener):
    """Does something once, before the next change of jobs."""

    def __init__(self) -> None:
        self.act: Callable[[], object] | None = None

    def started(self, event: CommandStartedEvent) -> None:
        if event.command.get("update") == JOBS and self.act is not None:
            act, self.act = self.act, None
            act()

    def succeeded(self, event: CommandSucceededEvent) -> None: ...

    def failed(self, event: CommandFailedEvent) -> None: ...


class Race:
    def __init__(self, ledger: MongoLedger, before: Before, client: MongoClient[dict[str, Any]], name: str) -> None:
        self.ledger, self.before, self._flows = ledger, before, client[name][FLOWS]

    def set_control(self, control: Control) -> None:
        """As `control` does it in another process, which finds no job to change yet."""
        self._flows.update_one({"_id": "f"}, {"$set": {"control": control.value}, "$inc": {"rev": 1}})


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
