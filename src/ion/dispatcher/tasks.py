"""The tasks of a dispatcher: they live together, and end for certain.

A cancellation is an exception that is thrown once. Whoever waits at that moment may swallow it: `asyncio.wait_for` of
Python 3.11 does where its answer has just come, and clients of stores and buses call that. A loop goes on then, and a
dispatcher that waits for it never stops. So what does not end is cancelled again.
"""

import asyncio
from collections.abc import Coroutine, Generator
from contextvars import Context
from typing import Any, TypeVar

T = TypeVar("T")

AGAIN_S = 5.0
"""How long a task may take to end before it is cancelled again; closing what it has open is not to be disturbed."""


class Tasks(asyncio.TaskGroup):
    """A task group that can be ended from without."""

    def __init__(self) -> None:
        super().__init__()
        self._left: set[asyncio.Task[Any]] = set()

    def create_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        name: str | None = None,
        context: Context | None = None,
    ) -> asyncio.Task[T]:
        task = super().create_task(coro, name=name, context=context)
        self._left.add(task)
        task.add_done_callback(self._left.discard)
        return task

    async def end(self) -> None:
        """Cancels all tasks, and every so often those that are left, until none is."""
        while self._left:
            for task in self._left:
                task.cancel()
            await asyncio.wait(self._left, timeout=AGAIN_S)
