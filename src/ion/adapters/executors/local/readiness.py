"""Waiting for many descriptors that live shortly, at little cost.

An event loop takes longer to add and remove a descriptor than a tiny module runs. So all of an executor's lie in one
epoll set, and the loop watches that set.
"""

import asyncio
import select
from collections.abc import Callable


class Readiness:
    """Calls back when a descriptor can be read. `open` and `close` belong to a running loop."""

    def __init__(self) -> None:
        self._set: select.epoll | None = None
        self._callbacks: dict[int, Callable[[], object]] = {}

    def open(self) -> None:
        self._set = select.epoll()
        asyncio.get_running_loop().add_reader(self._set.fileno(), self._tell)

    def close(self) -> None:
        if self._set is not None:
            asyncio.get_running_loop().remove_reader(self._set.fileno())
            self._set.close()
            self._set = None

    def add(self, descriptor: int, callback: Callable[[], object]) -> None:
        """Calls back for as long as something can be read, until it is removed; remove it before it is closed."""
        if self._set is None:
            raise RuntimeError("not open")
        self._set.register(descriptor, select.EPOLLIN)
        self._callbacks[descriptor] = callback

    def remove(self, descriptor: int) -> None:
        if self._callbacks.pop(descriptor, None) is not None and self._set is not None:
            self._set.unregister(descriptor)

    def _tell(self) -> None:
        if self._set is None:
            return
        for descriptor, _ in self._set.poll(0):
            if (callback := self._callbacks.get(descriptor)) is not None:
                callback()
