"""Room for so many bytes in memory, shared by all transfers of a store.

Some hold their room for moments: a small file, a part that comes. A large upload holds it for as long as it takes,
which may be hours. Each kind is served in order. So that neither keeps the other out: while a long one waits, the short
ones may hold `SHORT` in all, which the long ones leave to them.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ion.adapters.blobs.objects_settings import SHORT


class Room:
    """`total` bytes; `most` of them are for long transfers."""

    def __init__(self, total: int) -> None:
        self.total, self.most = total, total - SHORT
        self.free = total
        self._short_held = 0
        self._long: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._short: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def taken(self, size: int, *, long: bool = False) -> AsyncIterator[None]:
        """Holds `size` bytes of it, or all that may be had where that is less."""
        long = long or size > SHORT
        size = min(size, self.most)
        await self._take(size, long=long)
        try:
            yield
        finally:
            self._give(size, long=long)

    async def _take(self, size: int, *, long: bool) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        (self._long if long else self._short).append((size, turn))
        self._serve()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._serve()
            else:  # it came in the same instant
                self._give(size, long=long)
            raise

    def _give(self, size: int, *, long: bool) -> None:
        self.free += size
        if not long:
            self._short_held -= size
        self._serve()

    def _serve(self) -> None:
        for waiting in (self._long, self._short):
            while waiting:
                size, turn = waiting[0]
                if not turn.cancelled():
                    short = waiting is self._short
                    if size > self.free or (short and self._long and self._short_held + size > SHORT):
                        break
                    self.free -= size
                    self._short_held += size if short else 0
                    turn.set_result(None)
                waiting.popleft()
