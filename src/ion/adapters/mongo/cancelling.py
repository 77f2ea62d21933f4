"""A cancellation is passed on, whatever the vendor's client makes of it.

The client sends each command by `asyncio.wait_for`, and that of Python 3.11 answers as if nothing had been where what
it waits for is done at the moment of the cancellation. A loop around such a call would never learn that it is to end.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def heeded() -> Iterator[None]:
    """Raises `CancelledError` at its end if this task was asked to end meanwhile, whatever else came of it."""
    task = asyncio.current_task()
    asked = task.cancelling() if task is not None else 0
    try:
        yield
    finally:
        if task is not None and task.cancelling() > asked:
            raise asyncio.CancelledError
