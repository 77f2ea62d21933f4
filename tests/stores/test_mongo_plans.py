"""What each verb asks of the server is a stretch of an index, and does not grow with what has ended.

The server tells of its plans; `ION_TEST_ROWS` says how many jobs have ended (1,000,000 take it some minutes to store).
It examines all that a condition matches before it sorts and limits, where MongoDB stops at the limit; so what waits is
little here.
"""

import os
import sys
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent
from tests.stores.mongo_rows import fill
from tests.stores.mongo_server import MongoServer, mongo_server

from ion.adapters.documents.mongo import MongoDocuments
from ion.adapters.ledger.mongo import MongoLedger
from ion.adapters.mongo.database import MongoDatabase
from ion.adapters.mongo.schema import FLOWS, JOBS
from ion.model.job import State
from ion.model.record import Kind
from ion.ports.documents import RecordFilter
from ion.ports.ledger import Bury, Control, GiveBack, JobFilter, Move, Owner
from ion.testing.conformance.documents import record
from ion.testing.conformance.ledger_keeping import next_run
from ion.testing.conformance.ledger_stage import claim, failure, manifest, waiting_job

__all__ = ["mongo_server"]

ROWS = int(os.environ.get("ION_TEST_ROWS", "20000"))
EXAMINED_MOST = 400
"""Index keys that one statement may look at, however many jobs there are. A flow has 100, and a page 101."""


class Statements(CommandListener):
    """Keeps one statement of each shape that reads or changes jobs, flows or records."""

    def __init__(self) -> None:
        self.seen: dict[str, dict[str, Any]] = {}

    def started(self, event: CommandStartedEvent) -> None:
        command = {name: value for name, value in event.command.items() if name in _ASKED}
        for one in _parts(event.command_name, command):
            self.seen.setdefault(_shape(one), one)

    def succeeded(self, event: CommandSucceededEvent) -> None: ...

    def failed(self, event: CommandFailedEvent) -> None: ...


_ASKED = (
    "find",
    "aggregate",
    "update",
    "delete",
    "filter",
    "pipeline",
    "sort",
    "limit",
    "updates",
    "deletes",
    "cursor",
)


def _parts(name: str, command: dict[str, Any]) -> list[dict[str, Any]]:
    """The single statements of a command, as `explain` takes them."""
    if name in ("find", "aggregate"):
        return [command]
    if name in ("update", "delete"):
        writes = command["updates" if name == "update" else "deletes"]
        return [{"find": command[name], "filter": write["q"]} for write in writes[:1]]
    return []


def _shape(command: Mapping[str, Any]) -> str:
    which = command.get("filter") or command.get("pipeline", [{}])[0].get("$match", {})
    places = which.get("place") if isinstance(which.get("place"), str) else ""
    return f"{next(iter(command.items()))} {sorted(which)} {places} {list(command.get('sort', {}))}"


@pytest.fixture
async def watched(mongo_server: MongoServer) -> AsyncIterator[tuple[MongoDatabase, Statements]]:
    """A database with many jobs that have ended, and what is asked of it from now on."""
    statements = Statements()
    async with MongoDatabase(mongo_server.settings(timeout_s=120.0), listeners=[statements]) as database:
        await fill(database, ROWS)
        statements.seen.clear()
        yield database, statements


async def _everything(database: MongoDatabase) -> None:
    """Each verb at least once."""
    ledger, documents = MongoLedger(database), MongoDocuments(database)
    jobs = [waiting_job(flow="now") for _ in range(6)]
    await ledger.beat(Owner(id="one", scope="here", host="h", pid=1))
    await ledger.admit(jobs)
    await ledger.waiting()
    await ledger.prioritise("now", 1)
    await ledger.control("now", Control.PAUSED, "me")
    await ledger.control("now", Control.NONE, "me")
    one, two, three, four = await ledger.claim(claim(4, delay_most_s=300.0, gpus_each=1, devices=tuple("0123")))
    await ledger.claim(claim(1, module_most=5))
    (waits,) = await ledger.on_route("detect", "", 10, 300.0)
    await ledger.reroute([Move(job=waits.id, old="", new="local!0")], "one")
    assert await ledger.routes("detect", 300.0) == {"local!0"}
    assert await ledger.claim(claim(1, routes=("local!0", "local!1"), route="local!0"))
    await ledger.retime(one.id, 1, "one", 1.0)
    await ledger.overdue(10)
    await ledger.running("one")
    await ledger.commit(one.id, 1, manifest())
    await ledger.commit(two.id, 1, manifest())
    await ledger.settle(three.id, 1, "one", Bury(failure=failure()))
    await ledger.settle(four.id, 1, "one", GiveBack(reason="test"))
    await ledger.unreleased(10, "one")
    await ledger.defer(two.id, "one", 1.0, "later")
    await ledger.advance(one.id, "one", 1)
    await ledger.released(one.id, "one")
    await ledger.requeue(three.id, "me")
    await ledger.cancel(four.id, "me")
    await ledger.rerun(next_run(one), (one.id,), "me")
    await ledger.adopt(["one"], "two")
    await ledger.retire("two")
    await ledger.get(one.id)
    await ledger.open("now")
    await ledger.tally("past1")
    await ledger.load("detect", 1000)
    await ledger.flow("past1")
    for which in (
        JobFilter(states=(State.DEAD, State.WAITING)),
        JobFilter(correlation_id="past1", owner="one"),
        JobFilter(event_id=one.event.id),
        JobFilter(id_prefix=one.id[:13]),
    ):
        await ledger.query(which)
    (old,) = (await ledger.query(JobFilter(correlation_id="past1"), most=1)).jobs
    await ledger.supersede(old.id, one.id)
    await ledger.expire(old.id, "retention")
    await ledger.drop_log(old.id, "retention")
    await ledger.strip(old.id)
    await ledger.forget("past1", 10)
    await documents.put([record("a"), record("b")])
    await documents.get(Kind.EVENT_META, "a")
    for records in (RecordFilter(correlation_id="flow"), RecordFilter(name="detect"), RecordFilter(event_id="a")):
        assert [one async for one in documents.query(records)]
    await documents.delete(Kind.EVENT_META, ["a", "b"])


@pytest.mark.timeout(1800)
async def test_no_statement_scans(watched: tuple[MongoDatabase, Statements]) -> None:
    """No verb reads a whole collection, and none looks at more of an index than what it asks for."""
    database, statements = watched
    await _everything(database)
    asked = dict(statements.seen)
    assert len(asked) > 30
    faults = []
    for shape, statement in asked.items():
        collection = str(next(iter(statement.values())))
        if collection not in (JOBS, FLOWS, "records", "parts"):
            continue
        plan = await database.collection(collection).database.command("explain", statement, verbosity="executionStats")
        stages, examined = (
            sorted(_stages(plan["queryPlanner"]["winningPlan"])),
            plan["executionStats"]["totalKeysExamined"],
        )
        sys.stdout.write(f"{'+'.join(stages)} {examined} keys: {shape}\n")
        by_id = "_id" in statement.get("filter", {})
        if ("COLLSCAN" in stages and not by_id) or examined > EXAMINED_MOST:
            faults.append(shape)
    assert faults == []


class Read(CommandListener):
    """Counts the jobs that come from the server."""

    def __init__(self) -> None:
        self.jobs = 0

    def started(self, event: CommandStartedEvent) -> None: ...

    def succeeded(self, event: CommandSucceededEvent) -> None:
        cursor = event.reply.get("cursor", {})
        if cursor.get("ns", "").endswith(f".{JOBS}"):
            self.jobs += len(cursor.get("firstBatch", cursor.get("nextBatch", ())))

    def failed(self, event: CommandFailedEvent) -> None: ...


async def test_forgetting_reads_no_more_than_it_forgets(mongo_server: MongoServer) -> None:
    """A flow of any size goes in portions, each of which reads its own tombstones and no others."""
    read = Read()
    async with MongoDatabase(mongo_server.settings(timeout_s=30.0), listeners=[read]) as database:
        ledger = MongoLedger(database)
        jobs = [waiting_job(flow="f") for _ in range(30)]
        await ledger.admit(jobs)
        for job in jobs:
            await ledger.cancel(job.id, "me")
        for job in jobs:
            await ledger.expire(job.id, "retention")
            await ledger.strip(job.id)
        read.jobs = 0
        assert await ledger.forget("f", 10) == 10
        assert read.jobs <= 11  # these, and how many are left
        assert [await ledger.forget("f", 10) for _ in range(3)] == [10, 10, 0]


def _stages(plan: Mapping[str, Any]) -> list[str]:
    inner = plan.get("inputStage")
    name = f"{plan['stage']}({plan['indexName']})" if "indexName" in plan else str(plan["stage"])
    return [name, *(_stages(inner) if inner else [])]
