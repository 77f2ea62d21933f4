"""One open MongoDB: the client, its clock, its news, and how documents are changed.

Atomicity of single documents is all that is asked of the server. Every change is a compare-and-set: a document is read,
what becomes of it is decided here, and it is written if its `rev` is still the one that was read. Each write names the
shard key. What was read or written last is remembered for a while, so that most changes are one statement: a remembered
document that has changed since fails its compare-and-set, and no answer is given from memory alone.
"""

import asyncio
import time
import uuid
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Self, TypeVar

from ion.adapters.mongo import schema
from ion.adapters.mongo.cancelling import heeded
from ion.adapters.mongo.client import TIMES, options
from ion.adapters.mongo.errors import (
    DUPLICATE,
    RefusedError,
    asked_to_wait_s,
    configured,
    faults_of,
    is_confirmed,
    translated,
)
from ion.adapters.mongo.news import News, pause
from ion.adapters.mongo.settings import MongoSettings
from ion.errors import InvalidError, UnavailableError
from ion.ports.ledger import Changes, Listener

T = TypeVar("T")
Document = dict[str, Any]

_CLOCK_S = 30.0
"""How old the comparison of this host's clock with the server's may be."""
_BULK = 500
"""Writes that go to the server at once."""
_MEMORY = 4000
_MEMORY_BYTES = 8192
"""Documents that are remembered, and how many characters of text each may have."""


class MongoDatabase:
    """A database that ledger and documents share.

    Args:
        settings: Where it is.
        clock: Seconds since the epoch; the server's clock by default.
        listeners: Of the client's commands (`pymongo.monitoring`).
    """

    def __init__(
        self, settings: MongoSettings, *, clock: Callable[[], float] | None = None, listeners: Sequence[Any] = ()
    ) -> None:
        self.settings = settings
        self._clock = clock
        self._listeners = listeners
        self._client: Any = None
        self._background: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()
        self._offset = 0.0
        self._compared_at = 0.0
        self._last = 0
        self._salt = uuid.uuid4().hex[:6]
        self._memory: OrderedDict[tuple[str, str], Document] = OrderedDict()
        self._news = News(self.call, self.collection, settings.poll_s)

    async def __aenter__(self) -> Self:
        """Makes what is missing.

        Raises:
            InvalidError: the server refuses, or is not the one that is meant: user, password, certificates.
            UnsupportedError: the database was made by a newer Ion.
            UnavailableError: the server cannot be reached; the message says what to do.
        """
        from pymongo import AsyncMongoClient

        with configured(self.settings.place):
            self._client = AsyncMongoClient(**options(self.settings), event_listeners=list(self._listeners))
        try:
            await self._compare_clocks()
            await self.call(lambda: schema.prepare(self._database, cosmos=self.settings.cosmos))
        except BaseException as error:
            await self._client.close()
            if isinstance(error, RefusedError):
                raise InvalidError(str(error)) from error
            raise
        self._background = asyncio.create_task(self._run(), name=f"mongodb {self.settings.place}")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._background is not None
        self._closing.set()
        self._news.close()
        await self._background
        await self._client.close()

    @property
    def store(self) -> str:
        return f"mongodb:{self.settings.place}/{self.settings.database}"

    def collection(self, name: str) -> Any:
        return self._database[name]

    @property
    def _database(self) -> Any:
        return self._client[self.settings.database]

    # ---- time ---------------------------------------------------------------------------------------------------

    def now(self) -> float:
        """The ledger's clock, in seconds since the epoch."""
        return self._clock() if self._clock is not None else self._server_time()

    def next_place(self) -> str:
        """A place in the order in which things come, behind all that this process gave out before.

        Between processes the order is that of the server's clock, as far as they know it.
        """
        self._last = max(self._last + 1, int(self._server_time() * 1_000_000))
        return f"{self._last:014x}{self._salt}"

    def _server_time(self) -> float:
        return time.monotonic() + self._offset

    async def _compare_clocks(self) -> None:
        before = time.monotonic()
        answer = await self.call(lambda: self._client.admin.command("hello"))
        after = time.monotonic()
        told = answer.get("localTime")
        # A server that does not tell the time shares this host's.
        at = time.time() if told is None else told.timestamp()
        self._offset, self._compared_at = at - (before + after) / 2, after

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._news.run(), name="mongodb news")
            group.create_task(self._keep_time(), name="mongodb clock")

    async def _keep_time(self) -> None:
        while not self._closing.is_set():
            await pause(self._closing, _CLOCK_S)
            with suppress(UnavailableError):
                await self._compare_clocks()

    # ---- news ---------------------------------------------------------------------------------------------------

    def announce(self, changes: Changes) -> None:
        self._news.announce(changes)

    @asynccontextmanager
    async def listen(self, kinds: Changes) -> AsyncIterator[Listener]:
        async with self._news.listen(kinds) as listener:
            yield listener

    # ---- statements ---------------------------------------------------------------------------------------------

    async def call(self, statement: Callable[[], Awaitable[T]]) -> T:
        """Runs a statement that can be repeated. Where the server throttles, it is left alone for as long as it asks.

        Raises:
            UnavailableError: No answer within the time limit.
        """
        from pymongo.errors import PyMongoError

        until = time.monotonic() + self.settings.timeout_s * TIMES
        while True:
            with translated(self.settings.place):
                try:
                    with heeded():
                        return await statement()
                except PyMongoError as error:
                    wait_s = asked_to_wait_s(error)
                    if wait_s is None or time.monotonic() + wait_s > until:
                        raise
            await asyncio.sleep(wait_s)

    async def find(
        self,
        collection: str,
        which: Mapping[str, Any],
        *,
        order: Sequence[tuple[str, int]] = (),
        most: int = 0,
        fields: Sequence[str] = (),
    ) -> list[Document]:
        """The documents that match; `most` 0 for all."""

        async def statement() -> list[Document]:
            cursor = self.collection(collection).find(which, fields or None, limit=most)
            found: list[Document] = await (cursor.sort(list(order)) if order else cursor).to_list()
            return found

        return await self.call(statement)

    async def find_by_id(self, collection: str, keys: Sequence[str]) -> dict[str, Document]:
        """The documents of these ids, as far as they are there."""
        found: dict[str, Document] = {}
        for start in range(0, len(keys), _BULK):
            which = {"_id": {"$in": list(keys[start : start + _BULK])}}
            found |= {document["_id"]: document for document in await self.find(collection, which)}
        return found

    async def get(self, collection: str, key: str) -> Document | None:
        """The document of an id, as it is now."""
        found: Document | None = await self.call(lambda: self.collection(collection).find_one({"_id": key}))
        if found is None:
            self.forget(collection, key)
        else:
            self.remember(collection, found)
        return found

    async def aggregate(self, collection: str, pipeline: Sequence[Mapping[str, Any]]) -> list[Document]:
        async def statement() -> list[Document]:
            cursor = await self.collection(collection).aggregate(list(pipeline))
            found: list[Document] = await cursor.to_list()
            return found

        return await self.call(statement)

    async def once(self, name: str, value: str = "") -> str:
        """What is kept under a name for good: the first value that was given, or empty if none ever was."""
        key = f"once:{name}"
        if value:
            await self.insert(schema.META, [{"_id": key, "value": value}])
        found = await self.find(schema.META, {"_id": key})
        return str(found[0]["value"]) if found else ""

    # ---- compare and set ----------------------------------------------------------------------------------------

    async def swap(self, collection: str, old: Document, new: Document) -> bool:
        """Writes what is new in a document if it is still the old one. `old` empty: if there is none yet."""
        (done,) = await self.swap_many(collection, [(old, new)])
        return done

    async def swap_many(self, collection: str, pairs: Sequence[tuple[Document, Document]]) -> list[bool]:
        """The same for several documents of different ids, each by itself; tells which were written."""
        done: list[bool] = []
        for start in range(0, len(pairs), _BULK):
            done += await self._swap_some(collection, pairs[start : start + _BULK])
        return done

    async def _swap_some(self, collection: str, pairs: Sequence[tuple[Document, Document]]) -> list[bool]:
        for _, new in pairs:
            self.forget(collection, new["_id"])  # until it is known which it is
        done = [False] * len(pairs)
        updates = [number for number, (old, _) in enumerate(pairs) if old]
        inserts = [number for number, (old, _) in enumerate(pairs) if not old]
        if inserts:
            fresh = await self.insert(collection, [pairs[number][1] for number in inserts])
            for number, won in zip(inserts, fresh, strict=True):
                done[number] = won
        if updates:
            for number, won in zip(updates, await self._update(collection, [pairs[n] for n in updates]), strict=True):
                done[number] = won
        for (_, new), won in zip(pairs, done, strict=True):
            if won:
                self.remember(collection, new)
        return done

    async def _update(self, collection: str, pairs: Sequence[tuple[Document, Document]]) -> list[bool]:
        from pymongo import UpdateOne

        where = self.collection(collection)
        if len(pairs) == 1:
            key, change = _change(collection, *pairs[0])
            result = await self.call(lambda: where.update_one(key, change))
            return [result.matched_count == 1]
        mark = uuid.uuid4().hex
        for _, new in pairs:
            new["mark"] = mark
        writes = [UpdateOne(*_change(collection, old, new)) for old, new in pairs]
        result = await self.call(lambda: where.bulk_write(writes, ordered=False))
        if result.matched_count == len(pairs):
            return [True] * len(pairs)
        # A bulk tells how many it changed, not which.
        keys = [new["_id"] for _, new in pairs]
        found = await self.find(collection, {"_id": {"$in": keys}, "mark": mark}, fields=("_id",))
        mine = {document["_id"] for document in found}
        return [key in mine for key in keys]

    async def insert(self, collection: str, documents: Sequence[Document]) -> list[bool]:
        """Adds documents; tells which ids were new."""
        done: list[bool] = []
        for start in range(0, len(documents), _BULK):
            done += await self._insert_some(collection, documents[start : start + _BULK])
        return done

    async def _insert_some(self, collection: str, documents: Sequence[Document]) -> list[bool]:
        from pymongo.errors import BulkWriteError

        known: set[int] = set()
        left = list(range(len(documents)))

        async def statement() -> None:
            nonlocal left
            batch = left
            try:
                await self.collection(collection).insert_many([documents[n] for n in batch], ordered=False)
            except BulkWriteError as error:
                faults = faults_of(error)
                known.update(batch[fault["index"]] for fault in faults if fault.get("code") == DUPLICATE)
                left = [batch[fault["index"]] for fault in faults if fault.get("code") != DUPLICATE]
                if left or not is_confirmed(error):
                    raise

        await self.call(statement)
        return [number not in known for number in range(len(documents))]

    # ---- memory -------------------------------------------------------------------------------------------------

    def remembered(self, collection: str, key: str) -> Document | None:
        """The document as it was last seen here, which may have changed since."""
        return self._memory.get((collection, key))

    def remember(self, collection: str, document: Document) -> None:
        place = (collection, document["_id"])
        self._memory.pop(place, None)
        if sum(len(value) for value in document.values() if isinstance(value, str)) <= _MEMORY_BYTES:
            self._memory[place] = document
            if len(self._memory) > _MEMORY:
                self._memory.popitem(last=False)

    def forget(self, collection: str, key: str) -> None:
        self._memory.pop((collection, key), None)


def _change(collection: str, old: Document, new: Document) -> tuple[Document, Document]:
    """The guard, with the shard key, and what is set."""
    shard = schema.SHARD_KEYS[collection]
    key = {"_id": old["_id"], shard: old[shard], "rev": old["rev"]}
    return key, {"$set": {name: value for name, value in new.items() if name not in old or old[name] != value}}
