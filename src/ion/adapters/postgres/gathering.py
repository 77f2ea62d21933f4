"""Calls of one kind that come while others of it are under way, done together.

A hundred jobs that end at once are so a few statements and a few waits for the server's disk, not a hundred. A call
that comes alone goes at once.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from ion.errors import InvalidError

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")

_MOST = 100
_AT_ONCE = 2


class Gathering(Generic[Asked, Answer]):
    """Does `work`, which answers many in their order. What it raises, each caller of the batch gets.

    A caller that is cancelled leaves its call to be done, or not.
    """

    def __init__(self, work: Callable[[Sequence[Asked]], Awaitable[Sequence[Answer]]]) -> None:
        self._work = work
        self._queue: list[tuple[Asked, asyncio.Future[Answer]]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def __call__(self, asked: Asked) -> Answer:
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._queue.append((asked, future))
        self._begin()
        return await future

    def _begin(self) -> None:
        if self._queue and len(self._tasks) < _AT_ONCE:
            task = asyncio.create_task(self._next(), name="ion-postgres-gathering")
            self._tasks.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._begin()

    async def _next(self) -> None:
        batch, self._queue = self._queue[:_MOST], self._queue[_MOST:]
        await self._do([call for call in batch if not call[1].done()])

    async def _do(self, batch: Sequence[tuple[Asked, asyncio.Future[Answer]]]) -> None:
        if not batch:
            return
        try:
            answers = await self._work([asked for asked, _ in batch])
        except Exception as error:  # noqa: BLE001  it is not lost: its callers get it
            if isinstance(error, InvalidError) and len(batch) > 1:  # one of them is at fault, the others are not
                for call in batch:
                    await self._do([call])
                return
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
        else:
            for (_, future), answer in zip(batch, answers, strict=True):
                if not future.done():
                    future.set_result(answer)
