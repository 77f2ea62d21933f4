"""A server that has a change, of which a majority of its replica set has not heard in time: nothing is acknowledged.

A line answers so in the server's stead, in the shape of MongoDB's `writeConcernError`; the server itself is alone.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tests.stores.mongo_proxy import Command, Proxy
from tests.stores.mongo_server import MongoServer, mongo_server

from ion.adapters.documents.mongo import MongoDocuments
from ion.adapters.ledger.mongo import MongoLedger
from ion.adapters.mongo.database import MongoDatabase
from ion.adapters.mongo.settings import MongoSettings
from ion.errors import UnavailableError
from ion.testing.conformance.documents import record
from ion.testing.conformance.ledger_stage import claim, manifest, waiting_job

__all__ = ["mongo_server"]

UNHEARD: Command = {"code": 64, "codeName": "WriteConcernTimeout", "errmsg": "waiting for replication timed out"}
TAKEN: Command = {"index": 0, "code": 11000, "errmsg": "E11000 duplicate key"}


@asynccontextmanager
async def opened(server: MongoServer) -> AsyncIterator[tuple[Proxy, MongoDatabase]]:
    named = server.settings()
    async with (
        Proxy(server.port) as proxy,
        MongoDatabase(MongoSettings(uri=proxy.uri, database=named.database)) as database,
    ):
        yield proxy, database


def unheard(proxy: Proxy, name: str, collection: str, *faults: Command) -> None:
    """From now on such changes are answered so."""
    answer: Command = {"ok": 1.0, "n": 1, "nModified": 1, "writeConcernError": UNHEARD, "writeErrors": list(faults)}
    proxy.answer = lambda command: answer if command.get(name) == collection else None


@pytest.mark.parametrize("faults", [(), (TAKEN,)], ids=["alone", "beside one that was there"])
async def test_an_admission_is_not_acknowledged(mongo_server: MongoServer, faults: tuple[Command, ...]) -> None:
    """A primary that fails now takes it along: who admits keeps the event, and does it again."""
    async with opened(mongo_server) as (proxy, database):
        ledger, jobs = MongoLedger(database), [waiting_job(flow="f") for _ in range(2)]
        unheard(proxy, "insert", "jobs", *faults)
        with pytest.raises(UnavailableError):
            await ledger.admit(jobs)
        proxy.answer = lambda _: None
        assert await ledger.admit(jobs) == {job.id for job in jobs}


async def test_a_commit_is_not_acknowledged(mongo_server: MongoServer) -> None:
    """Nor are the changes of jobs."""
    async with opened(mongo_server) as (proxy, database):
        ledger = MongoLedger(database)
        await ledger.admit([waiting_job(flow="f")])
        (job,) = await ledger.claim(claim())
        unheard(proxy, "update", "jobs")
        with pytest.raises(UnavailableError):
            await ledger.commit(job.id, 1, manifest())
        proxy.answer = lambda _: None
        assert await ledger.commit(job.id, 1, manifest())


@pytest.mark.parametrize("faults", [(), (TAKEN,)], ids=["alone", "beside one that was there"])
async def test_a_record_is_not_acknowledged(mongo_server: MongoServer, faults: tuple[Command, ...]) -> None:
    """Nor are documents."""
    async with opened(mongo_server) as (proxy, database):
        unheard(proxy, "update", "records", *faults)
        with pytest.raises(UnavailableError):
            await MongoDocuments(database).put([record("a"), record("b")])
