"""Revisions of which a store has kept no more than what they are: from before that, or where a note was lost."""

from datetime import UTC, datetime
from pathlib import Path

from tests.stores.mongo_server import MongoServer
from tests.stores.postgres_server import PostgresServer

from ion.adapters.ledger.mongo import MongoLedger
from ion.adapters.ledger.postgres import PostgresLedger
from ion.adapters.ledger.sqlite import SqliteLedger
from ion.adapters.mongo.database import MongoDatabase
from ion.adapters.mongo.schema import ACTIONS, REVISIONS
from ion.adapters.postgres.database import Postgres
from ion.adapters.sqlite.database import Database
from ion.ports.ledger import Ledger, Past
from ion.testing.conformance.ledger_stage import EPOCH, SetClock, revision

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
    async with MongoDatabase(mongo_server.settings(timeout_s=30.0), clock=SetClock()) as database:
        ledger = MongoLedger(database)
        await ledger.apply([OLD], "me")
        await database.collection(ACTIONS).delete_many({})
        await ledger.apply([NEW], "me")
        assert await past(ledger) == [TOLD[0], Past(revision=OLD, at=EPOCH, actor="me")]
        without = {"$unset": {"at": "", "actor": "", "seq": ""}}
        await database.collection(REVISIONS).update_one({"_id": f"detect/{OLD.id}"}, without)
        assert await past(ledger) == TOLD
