"""Doing the same with many files: a few at a time, and letting other tasks have their turn."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

T = TypeVar("T")

AT_ONCE = 8
"""Enough to keep a disk or a connection busy; more would only take memory."""
TURN = 32
"""So many small files are done without giving way: a few milliseconds."""


async def each(items: Sequence[T], work: Callable[[T], Awaitable[None]]) -> None:
    """Awaits `work` for every item, at most `AT_ONCE` together. The first failure ends the others and is raised."""
    if len(items) == 1:
        await work(items[0])
        return
    rest = iter(items)

    async def worker() -> None:
        for count, item in enumerate(rest, 1):
            await work(item)
            if count % TURN == 0:
                await asyncio.sleep(0)

    try:
        async with asyncio.TaskGroup() as group:
            for number in range(min(AT_ONCE, len(items))):
                group.create_task(worker(), name=f"files-{number}")
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from failures
