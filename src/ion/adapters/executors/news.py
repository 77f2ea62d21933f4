"""Telling watchers how attempts stand: every change at once, final states again each second until they are removed."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence

from ion.ports.executor import Status

_RETELL_S = 1.0


class _Watcher:
    """What one caller of `watch` has still to be told: the last state of each attempt that changed."""

    def __init__(self, statuses: Iterable[Status]) -> None:
        self._news = {status.handle: status for status in statuses}
        self._woken = asyncio.Event()
        self.nudged = False

    def hear(self, *statuses: Status) -> None:
        for status in statuses:
            self._news[status.handle] = status
        self._woken.set()

    def take(self) -> list[Status]:
        self._woken.clear()
        news = list(self._news.values())
        self._news.clear()
        return news

    async def wait(self, most_s: float | None = None) -> None:
        timer = None if most_s is None else asyncio.get_running_loop().call_later(most_s, self._woken.set)
        try:
            await self._woken.wait()
        finally:
            if timer is not None:
                timer.cancel()


class News:
    """`statuses` gives how all attempts stand, `is_open` whether there will be more to tell."""

    def __init__(self, statuses: Callable[[], Sequence[Status]], is_open: Callable[[], bool]) -> None:
        self._statuses, self._is_open = statuses, is_open
        self._watchers: set[_Watcher] = set()

    def tell(self, *statuses: Status) -> None:
        for watcher in self._watchers:
            watcher.hear(*statuses)

    def nudge(self) -> None:
        """Something changed that is no attempt: an empty batch says that there may be more to do."""
        for watcher in self._watchers:
            watcher.nudged = True
            watcher.hear()

    async def watch(self) -> AsyncIterator[Sequence[Status]]:
        watcher, retell_at = _Watcher(self._statuses()), time.monotonic() + _RETELL_S
        self._watchers.add(watcher)
        try:
            while self._is_open():
                if time.monotonic() >= retell_at:
                    watcher.hear(*(status for status in self._statuses() if status.final))
                    retell_at = time.monotonic() + _RETELL_S
                nudged, watcher.nudged = watcher.nudged, False
                if (news := watcher.take()) or nudged:
                    yield news
                elif any(status.final for status in self._statuses()):
                    await watcher.wait(retell_at - time.monotonic())
                else:
                    await watcher.wait()
                    retell_at = time.monotonic() + _RETELL_S
        finally:
            self._watchers.discard(watcher)
