"""Revisions of which a store has kept no more than what they are: from before that, or where a note was lost."""

import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from tests.stores.mongo_server import MongoServer
from tests.stores.postgres_server import PostgresServer

from ion.adapters.ledger.mongo import MongoLedger
from ion.adapters.ledger.postgres import PostgresLedger
from ion.adapters.ledger.sqlite import SqliteLedger
from ion.adapters.mongo.database import MongoDatabase
from ion.adapters.mongo.schema import ACTIONS, JOBS, REVISIONS
from ion.adapters.postgres.database import Postgres
from ion.adapters.sqlite.database import Database
from ion.adapters.sqlite.migrations import MIGRATIONS, migrate
from ion.ports.ledger import Ledger, Move, Past
from ion.testing.conformance.ledger_stage import EPOCH, SetClock, claim, revision, waiting_job

OLD, NEW = revision(timeout_s=1), revision(timeout_s=2)
LAST = Past(revision=OLD, at=datetime.fromtimestamp(0, UTC), actor="")
TOLD = [Past(revision=NEW, at=EPOCH, actor="me"), LAST]


async def past(ledger: Ledger) -> list[Past]:
    return [one async for one in ledger.revisions("detect")]


async def test_a_file_tells_what_it_has(tmp_path: Path) -> None:
    """The revision comes last, at the epoch and by nobody."""
    async with Database(tmp_path / "ion.db", clock=SetClock()) as database:
        ledger = SqliteLedger(database)
        await ledger.apply([OLD], "me")
        await database.write(lambda connection: connection.execute("DELETE FROM actions"))
        await ledger.apply([NEW], "me")
        assert await past(ledger) == TOLD


async def test_postgresql_tells_what_it_has(postgres: PostgresServer) -> None:
    """The same."""
    settings = postgres.settings()
    async with Postgres(settings, clock=SetClock()) as database:
        ledger = PostgresLedger(database)
        await ledger.apply([OLD], "me")
        postgres.execute(f"DELETE FROM {settings.schema}.actions")
        await ledger.apply([NEW], "me")
        assert await past(ledger) == TOLD


async def test_mongodb_tells_what_it_has(mongo_server: MongoServer) -> None:
    """The revision itself has when it was first applied, and by whom; one from before that has neither."""
    async with MongoDatabase(mongo_server.settings(), clock=SetClock()) as database:
        ledger = MongoLedger(database)
        await ledger.apply([OLD], "me")
        await database.collection(ACTIONS).delete_many({})
        await ledger.apply([NEW], "me")
        assert await past(ledger) == [TOLD[0], Past(revision=OLD, at=EPOCH, actor="me")]
        without = {"$unset": {"at": "", "actor": "", "seq": ""}}
        await database.collection(REVISIONS).update_one({"_id": f"detect/{OLD.id}"}, without)
        assert await past(ledger) == TOLD


async def test_mongodb_claims_what_was_there_before_routes(mongo_server: MongoServer) -> None:
    """A job without a route in its document is on the empty one, waits for its time as ever, and can be routed."""
    async with MongoDatabase(mongo_server.settings(), clock=SetClock()) as database:
        ledger = MongoLedger(database)
        jobs = [waiting_job(flow="f") for _ in range(2)]
        later = waiting_job(flow="f", not_before=EPOCH)
        await ledger.admit([*jobs, later])
        await database.collection(JOBS).update_many({}, {"$unset": {"route": ""}})
        assert await ledger.routes("detect") == {""}
        assert {job.id for job in await ledger.on_route("detect", "", 5)} == {job.id for job in [*jobs, later]}
        assert await ledger.reroute([Move(job=jobs[0].id, old="", new="far!0")], "me") == 1
        assert {job.id for job in await ledger.claim(claim(5))} == {jobs[1].id, later.id}
        assert [job.route for job in await ledger.claim(claim(5, routes=("far!0",)))] == ["far!0"]


async def test_a_file_from_before_routes_has_all_jobs_on_the_empty_one(tmp_path: Path) -> None:
    """Its schema grows, and what waited is claimed."""
    with sqlite3.connect(tmp_path / "ion.db") as connection:
        migrate(connection, "old", MIGRATIONS[:5])
        names = (
            "id, module, flow, event_id, event, run, state, attempt, hold, ready, priority, tag, admitted_at, history"
        )
        job = waiting_job(flow="f")
        event = msgspec.json.encode(job.event).decode()
        connection.execute("INSERT INTO flows (id, started_at) VALUES ('f', 0)")
        values = (job.id, "detect", "f", job.event.id, event, 0, "waiting", 0, "", 1, 0, 1, 0.0, "[]")
        connection.execute(f"INSERT INTO jobs ({names}) VALUES ({', '.join('?' * len(values))})", values)
    connection.close()
    async with Database(tmp_path / "ion.db", clock=SetClock()) as database:
        ledger = SqliteLedger(database)
        assert await ledger.routes("detect") == {""}
        assert [(one.id, one.route) for one in await ledger.claim(claim())] == [(job.id, "")]
