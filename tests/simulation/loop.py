"""An event loop that owns its time: nothing in it waits, and the same steps always run in the same order.

Timers are due when the schedule says that time has passed. A turn runs what is ready, oldest first, until nothing is;
then every task waits for a timer or for an answer that the schedule holds back.
"""

import asyncio
import heapq
from collections import deque
from collections.abc import Callable
from contextvars import Context
from typing import Any

TURN_MOST = 20_000
"""So many callbacks in one turn are a task that spins."""
TICK_S = 0.001
"""No timer is shorter: a real clock moves meanwhile, and this one would stand still in the rounding of large times."""


class VirtualLoop(asyncio.AbstractEventLoop):
    """The part of an event loop that code without sockets, threads and processes needs."""

    def __init__(self) -> None:
        self._now = 0.0
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._count = 0
        self.errors: list[str] = []
        """What tasks raised and nobody heard."""

    # ---- what the schedule does -------------------------------------------------------------------------------

    def turn(self) -> None:
        """Runs until nothing is ready."""
        asyncio._set_running_loop(self)
        try:
            for _ in range(TURN_MOST):
                if not self._ready:
                    return
                handle = self._ready.popleft()
                if not handle.cancelled():
                    handle._run()
        finally:
            asyncio._set_running_loop(None)
        raise AssertionError(f"something spins: {self._ready[0]}")

    def next_timer(self) -> float | None:
        """When the next timer is due, if there is one."""
        while self._timers and self._timers[0][2].cancelled():
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def pass_to(self, when: float) -> None:
        """Makes it `when`, and runs what that makes due."""
        while (due := self.next_timer()) is not None and due <= when:
            self._now = max(self._now, due)
            self._ready.append(heapq.heappop(self._timers)[2])
            self.turn()
        self._now = max(self._now, when)

    # ---- what asyncio needs -----------------------------------------------------------------------------------

    def time(self) -> float:
        return self._now

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + max(delay, TICK_S), callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        when = max(when, self._now + TICK_S)
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, timer))
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It is dropped when its time comes."""

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: str | None = None, context: Context | None = None) -> asyncio.Task[Any]:
        return asyncio.Task(coro, loop=self, name=name, context=context)

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.errors.append(f"{context.get('message')}: {context.get('exception')!r}")
