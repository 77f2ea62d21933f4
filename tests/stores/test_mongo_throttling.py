"""A server that throttles, as Azure Cosmos DB does: code 16500 with the time to wait, in three shapes."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.stores.mongo_proxy import Command, Proxy
from tests.stores.mongo_server import MongoServer, mongo_server

from ion.adapters.documents.mongo import MongoDocuments
from ion.adapters.ledger.mongo import MongoLedger
from ion.adapters.mongo.database import MongoDatabase
from ion.errors import UnavailableError
from ion.model.record import Kind
from ion.testing.conformance.documents import record
from ion.testing.conformance.ledger_stage import claim, manifest, waiting_job

__all__ = ["mongo_server"]

WAIT_S, LIMIT_S = 0.3, 5.0
TEXT = f"Error=16500, RetryAfterMs={int(WAIT_S * 1000)}, Details='Response status code: 429; too many requests.'"


class Throttle:
    """Refuses the next commands of a name; notes when each came."""

    def __init__(self, name: str, times: int, answer: Callable[[], Command]) -> None:
        self._name, self._times, self._answer = name, times, answer
        self.came: list[float] = []

    def __call__(self, command: Command) -> Command | None:
        if next(iter(command)) != self._name or command[self._name] == "news":
            return None
        self.came.append(time.monotonic())
        return self._answer() if len(self.came) <= self._times else None


def refused() -> Command:
    """The whole command."""
    return {"ok": 0.0, "code": 16500, "codeName": "RequestRateTooLarge", "errmsg": TEXT}


def refused_write() -> Command:
    """Its only write."""
    return {"ok": 1.0, "n": 0, "nModified": 0, "writeErrors": [{"index": 0, "code": 16500, "errmsg": TEXT}]}


@asynccontextmanager
async def throttled(server: MongoServer, throttle: Throttle, **settings: Any) -> AsyncIterator[MongoDatabase]:
    """A database that is throttled from now on."""
    async with Proxy(server.port) as proxy:
        named = server.settings(cosmos=True, **settings)
        async with MongoDatabase(
            type(named)(uri=proxy.uri, database=named.database, cosmos=True, **settings)
        ) as opened:
            proxy.answer = throttle
            yield opened


@pytest.mark.parametrize("answer", [refused, refused_write])
async def test_a_write_is_repeated_when_the_server_asked(
    mongo_server: MongoServer, answer: Callable[[], Command]
) -> None:
    """Not before its time is over, and then it is there, once."""
    throttle = Throttle("insert", 2, answer)
    async with throttled(mongo_server, throttle) as database:
        ledger = MongoLedger(database)
        await ledger.apply([], "me")
        job = waiting_job(flow="f")
        throttle.came.clear()
        assert await ledger.admit([job]) == {job.id}
        pauses = [after - before for before, after in zip(throttle.came, throttle.came[1:], strict=False)]
        assert [pause >= WAIT_S for pause in pauses[:2]] == [True, True]
        assert [found.id for found in await ledger.claim(claim())] == [job.id]


@pytest.mark.parametrize("answer", [refused, refused_write])
async def test_a_change_is_made_once_though_it_was_refused(
    mongo_server: MongoServer, answer: Callable[[], Command]
) -> None:
    """Claims and commits of several jobs pass over a throttled server."""
    throttle = Throttle("update", 3, answer)
    async with throttled(mongo_server, throttle) as database:
        ledger = MongoLedger(database)
        await ledger.admit([waiting_job(flow="f") for _ in range(5)])
        jobs = await ledger.claim(claim(5))
        assert len(jobs) == 5
        assert all(await asyncio.gather(*(ledger.commit(job.id, 1, manifest()) for job in jobs)))
        assert [job.attempt for job in jobs] == [1] * 5
        assert (await ledger.open("f")).committed == 5


async def test_documents_are_put_when_there_is_room(mongo_server: MongoServer) -> None:
    """A record that was refused is put later."""
    throttle = Throttle("update", 1, refused_write)
    async with throttled(mongo_server, throttle) as database:
        documents = MongoDocuments(database)
        await documents.put([record("a")])
        assert (await documents.get(Kind.EVENT_META, "a")).id == "a"
        assert len(throttle.came) == 2


async def test_throttling_without_an_end_is_an_outage(mongo_server: MongoServer) -> None:
    """Within the time limit the caller is told, in one sentence, what to do."""
    throttle = Throttle("find", 1_000_000, refused)
    async with throttled(mongo_server, throttle, timeout_s=LIMIT_S) as database:
        with pytest.raises(UnavailableError, match="throttles for too long; raise its request units or wait"):
            await MongoLedger(database).get("a job")
        assert len(throttle.came) <= LIMIT_S / WAIT_S  # it was left alone in between
