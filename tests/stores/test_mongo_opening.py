"""A database is made ready once, by however many processes begin together; and what settings are refused."""

import asyncio
import sys
from typing import Any

import pytest
from tests.stores.mongo_rules import CosmosRules
from tests.stores.mongo_server import MongoServer, mongo_server

from ion.adapters.mongo.database import MongoDatabase
from ion.adapters.mongo.schema import INDEXES, JOBS, META, VERSION
from ion.adapters.mongo.settings import MongoSettings
from ion.errors import InvalidError, UnsupportedError

__all__ = ["mongo_server"]

PROCESSES = 4
OPEN = """
import asyncio, sys
from ion.adapters.ledger.mongo import MongoLedger
from ion.adapters.mongo.database import MongoDatabase
from ion.adapters.mongo.settings import MongoSettings
from ion.testing.conformance.ledger_stage import waiting_job

async def main():
    sys.stdin.readline()
    async with MongoDatabase(MongoSettings(hosts=({host!r},), database={database!r}, timeout_s=60.0)) as database:
        await MongoLedger(database).admit([waiting_job(flow="f")])
    print("done")

asyncio.run(main())
"""


async def test_several_processes_make_one_database_ready(mongo_server: MongoServer) -> None:
    """They begin at once on an empty database; each has its jobs in it, and each index is there once."""
    settings = mongo_server.settings()
    program = OPEN.format(host=mongo_server.host, database=settings.database)
    pipe = asyncio.subprocess.PIPE
    processes = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdin=pipe, stdout=pipe)
        for _ in range(PROCESSES)
    ]
    answers = await asyncio.gather(*(process.communicate(b"\n") for process in processes))
    assert [output for output, _ in answers] == [b"done\n"] * PROCESSES
    async with MongoDatabase(settings) as database:
        assert await database.collection(JOBS).count_documents({}) == PROCESSES
        for collection, indexes in INDEXES.items():
            found = [index["key"] async for index in await database.collection(collection).list_indexes()]
            assert sorted(tuple(key.items()) for key in found) == sorted([*indexes, (("_id", 1),)])


async def test_a_newer_database_is_refused(mongo_server: MongoServer) -> None:
    """An older Ion leaves it alone, and says so."""
    settings = mongo_server.settings()
    with mongo_server.client() as client:
        client[settings.database][META].insert_one({"_id": "schema", "version": VERSION + 1})
        with pytest.raises(UnsupportedError, match="was made by a newer Ion"):
            async with MongoDatabase(settings):
                pass
        assert client[settings.database].list_collection_names() == [META]


def test_the_rules_of_cosmos_are_noticed(mongo_server: MongoServer) -> None:
    """What the listener is there to refuse it does refuse."""
    rules = CosmosRules()
    job = {"_id": "a", "shard": "m:a", "rev": 1}
    settings = mongo_server.settings()
    with mongo_server.client(event_listeners=[rules]) as client:
        jobs = client[settings.database][JOBS]
        jobs.insert_one(dict(job))
        jobs.update_one({"_id": "a", "shard": "m:a"}, {"$set": {"x": 1}})
        list(jobs.find({"shard": "m:a"}).sort([("a", 1), ("b", 1)]))
        assert rules.refused == []
        jobs.update_one({"_id": "a"}, {"$set": {"x": 1}})
        jobs.delete_one({"_id": "b"})
        jobs.update_many({"shard": "m:a"}, {"$set": {"x": 1}})
        jobs.update_one({"shard": "m:a"}, [{"$set": {"x": 1}}])
        jobs.find_one_and_update({"shard": "m:a"}, {"$set": {"x": 1}}, sort=[("a", 1), ("b", 1)])
        jobs.insert_one({"_id": "c", "shard": "m:c", "text": "x" * 2_100_000})
        jobs.create_index("x", partialFilterExpression={"x": 1})
        list(jobs.find({"$expr": {"$eq": ["$a", 1]}}))
        with client.start_session() as session, session.start_transaction():
            jobs.insert_one({"_id": "d", "shard": "m:d"}, session=session)
    faults = " | ".join(rules.refused)
    for fault in (
        "update: a change without shard",
        "delete: a change without shard",
        "a change of several documents",
        "an update by a pipeline",
        "a sort by two fields",
        "a document of 2 MB",
        "a partial index that is not unique",
        "the operator $expr",
        "a transaction",
    ):
        assert fault in faults


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"uri": "http://127.0.0.1"}, "no connection string"),
        ({"hosts": ()}, "hosts is empty"),
        ({"password": "hush"}, "without user"),
        ({"database": "a b"}, "no name that every server takes"),
        ({"timeout_s": 0.0}, "must be above 0"),
        ({"tls_ca": "/ca.pem"}, "tls is off"),
        ({"uri": "mongodb://ion:hu/sh@db.acme"}, "must be escaped"),
    ],
)
def test_settings_that_cannot_be_are_refused(fields: dict[str, Any], fault: str) -> None:
    """When they are read, in one sentence, which tells no part of a secret."""
    with pytest.raises(InvalidError, match=fault) as told:
        MongoSettings(**fields)
    assert "hu" not in str(told.value)


@pytest.mark.parametrize("uri", ["mongodb://ion:hush@db.acme:many", "mongodb://ion:hu%sh@db.acme:1"])
async def test_a_connection_string_that_the_client_refuses_is_told(uri: str) -> None:
    """Without the password in it."""
    with pytest.raises(InvalidError, match=r"db\.acme.* cannot be asked with these settings") as told:
        async with MongoDatabase(MongoSettings(uri=uri)):
            pass
    assert "hu" not in str(told.value)


def test_the_connection_string_of_cosmos_db_is_taken_as_azure_gives_it() -> None:
    """It names the account between two @ at its end, which is no part of a password."""
    given = "mongodb://acme:h%2Fu==@acme.mongo.cosmos.azure.com:10255/?ssl=true&retrywrites=false&appName=@acme@"
    assert MongoSettings(uri=given).place == "acme.mongo.cosmos.azure.com:10255"
    with pytest.raises(InvalidError, match="must be escaped"):
        MongoSettings(uri=given.replace("%2F", "/"))


def test_secrets_are_not_shown() -> None:
    """Neither by the settings nor by the place that messages name."""
    settings = MongoSettings(uri="mongodb://ion:hush@db.acme:10255/?ssl=true")
    assert "hush" not in repr(settings) + settings.place
    assert settings.place == "db.acme:10255"
    assert "hush" not in repr(MongoSettings(user="ion", password="hush"))
