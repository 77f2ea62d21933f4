"""Whoever is cancelled while the client is at work learns of it, at whichever turn of the loop that comes."""

import asyncio

from tests.leftovers import LEAVES, collected
from tests.stores.mongo_server import MongoServer, mongo_server

from ion.adapters.mongo.database import MongoDatabase
from ion.adapters.mongo.schema import META

__all__ = ["collected", "mongo_server"]

pytestmark = LEAVES  # a client that is closed while it connects leaves its socket

TURNS = 20
"""Of the loop: as many as a command takes as a rule."""
SENDING = {1, 2, 3}
"""Those in which it is sent; no answer comes so soon."""


async def test_a_cancelled_call_ends_as_such_at_any_turn(mongo_server: MongoServer) -> None:
    """It never answers as if nothing had been: a loop around it would go on for ever."""
    async with MongoDatabase(mongo_server.settings()) as database:
        cancelled = set()
        for turn in range(TURNS):
            await database.get(META, "schema")  # so that there is a connection
            call = asyncio.create_task(database.get(META, "schema"))
            for _ in range(turn):
                await asyncio.sleep(0)
            if call.cancel():
                await asyncio.wait([call])
                assert call.cancelled(), f"cancelled at turn {turn}, it answered {call.result()}"
                cancelled.add(turn)
        assert cancelled >= SENDING


async def test_who_was_cancelled_before_may_still_use_it(mongo_server: MongoServer) -> None:
    """What is tidied up at the end gets its answers."""
    async with MongoDatabase(mongo_server.settings()) as database:
        found: list[object] = []

        async def tidying() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                found.append(await database.get(META, "schema"))

        task = asyncio.create_task(tidying())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert found == [await database.get(META, "schema")]
