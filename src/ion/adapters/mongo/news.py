"""News of what changed, to listeners in this process at once and to those in others within some hundred milliseconds.

Change streams would tell others sooner, but Azure Cosmos DB's tell of no deletion and carry every changed document
whole. So there is one small document that counts the changes of each kind. What this process changed is added up and
counted there at the next turn, and the same turn looks what others counted. News is a hint, so losing it with its
process loses nothing but time.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from ion.adapters.mongo.schema import NEWS
from ion.errors import UnavailableError
from ion.ports.ledger import Changes, Listener

_KINDS = {kind.value: kind.name or "" for kind in Changes}
_KEY = {"_id": "news"}


class MongoListener(Listener):
    """Keeps the kinds that changed until somebody asks."""

    def __init__(self, kinds: Changes) -> None:
        self._kinds = kinds
        self._news = Changes(0)
        self._event = asyncio.Event()

    def tell(self, changes: Changes) -> None:
        self._news |= changes & self._kinds
        if self._news:
            self._event.set()

    async def wait(self, timeout_s: float | None = None) -> Changes:
        await pause(self._event, timeout_s)
        self._event.clear()
        news, self._news = self._news, Changes(0)
        return news


class News:
    """The listeners of one open database.

    Args:
        call: Runs one command; `MongoDatabase.call`.
        collection: Gives a collection.
        poll_s: Seconds between two turns.
    """

    def __init__(
        self,
        call: Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]],
        collection: Callable[[str], Any],
        poll_s: float,
    ) -> None:
        self._call, self._collection, self._poll_s = call, collection, poll_s
        self._listeners: dict[MongoListener, None] = {}  # told in the order in which they came
        self._seen: Counter[str] = Counter()
        self._untold: Counter[str] = Counter()
        self._wanted = asyncio.Event()
        self._closed = asyncio.Event()

    def announce(self, changes: Changes) -> None:
        """Tells listeners everywhere; never blocks."""
        if not changes:
            return
        self._tell(changes)
        self._untold.update(_KINDS[kind.value] for kind in changes)
        self._wanted.set()

    @asynccontextmanager
    async def listen(self, kinds: Changes) -> AsyncIterator[Listener]:
        listener = MongoListener(kinds)
        if not self._listeners:
            # Nobody has looked for a while: what changed before this moment is no news.
            self._seen = await self._counted()
        self._listeners[listener] = None
        self._wanted.set()
        try:
            yield listener
        finally:
            del self._listeners[listener]

    async def run(self) -> None:
        """Turn after turn, until it is closed. An outage is for others to tell: the next turn tries again."""
        while not self._closed.is_set():
            await self._wanted.wait()
            with suppress(UnavailableError):
                await self.turn()
            if self._listeners or self._untold or self._closed.is_set():
                await pause(self._closed, self._poll_s)
            else:
                self._wanted.clear()

    def close(self) -> None:
        """Ends `run` after a last turn. It is not cancelled: the client may swallow that in the middle of a command."""
        self._closed.set()
        self._wanted.set()

    async def turn(self) -> None:
        """Counts what this process changed, and looks what others did."""
        telling, self._untold = self._untold, Counter()
        if telling:
            try:
                await self._call(lambda: self._collection(NEWS).update_one(_KEY, {"$inc": dict(telling)}, upsert=True))
            except UnavailableError:
                self._untold += telling
                raise
            self._seen += telling
        if self._listeners:
            counted = await self._counted()
            changed = [kind for kind in Changes if counted[_KINDS[kind.value]] != self._seen[_KINDS[kind.value]]]
            self._seen = counted
            for kind in changed:
                self._tell(kind)

    async def _counted(self) -> Counter[str]:
        found = await self._call(lambda: self._collection(NEWS).find_one(_KEY))
        return Counter({name: (found or {}).get(name, 0) for name in _KINDS.values()})

    def _tell(self, changes: Changes) -> None:
        for listener in self._listeners:
            listener.tell(changes)


async def pause(event: asyncio.Event, seconds: float | None) -> None:
    """Sleeps until an event, at most so long."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
