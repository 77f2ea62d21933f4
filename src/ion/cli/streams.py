"""Iterators that a command leaves before their end: since its reader is gone, it was interrupted, or an error came."""

import asyncio
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any


@asynccontextmanager
async def streams_ended() -> AsyncIterator[None]:
    """Ends what this task has begun to iterate and left, the outermost first, when the context is left.

    The loop would end them too, but all at once: an inner one beneath an outer one that still uses it, and after the
    store was closed.
    """
    hooks, task = sys.get_asyncgen_hooks(), asyncio.current_task()
    begun: list[AsyncGenerator[Any]] = []

    def note(generator: AsyncGenerator[Any]) -> None:
        if asyncio.current_task() is task:
            begun[:] = [one for one in begun if one.ag_frame is not None]  # type: ignore[attr-defined]  # it has ended
            begun.append(generator)
        if hooks.firstiter is not None:
            hooks.firstiter(generator)

    sys.set_asyncgen_hooks(firstiter=note, finalizer=hooks.finalizer)
    try:
        yield
    finally:
        sys.set_asyncgen_hooks(*hooks)
        for one in begun:
            await one.aclose()
