"""A group's receiver on Azure Service Bus: one line for each of its topics, and one for the dead letters of each.

Lines are pulled from only while somebody waits for a delivery, so that an idle receiver takes nothing from the others
of its group. What came beyond what was asked for is held here, locked, and given out first. `release` with a delay
holds the message too and abandons it when the time has come: Service Bus has no delayed abandoning, a deferred message
that its receiver forgot is found by nobody, and a scheduled copy would go to every other group as well.
"""

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, Literal
from uuid import UUID

import msgspec

from ion.adapters.bus.servicebus_errors import BusyError, Outage
from ion.adapters.bus.servicebus_line import Line, body
from ion.adapters.bus.servicebus_settings import ServiceBusSettings
from ion.errors import InvalidError, NotFoundError, UnavailableError
from ion.messaging import codec
from ion.ports.bus import Delivery, Receiver

SLICE_S = 0.5
"""How long one receive of the client lasts; whoever wants to settle waits so long at most."""
LOOK_S = 0.4
"""How long `receive` looks at least: only the broker knows whether there is something."""
STEP = 500
KEEP_EVERY_S, KEEP_LEAST_S = 1.0, 0.05
AGAIN_FIRST_S, AGAIN_MOST_S = 0.2, 10.0


class _Token(msgspec.Struct, frozen=True):
    line: Line
    lock: UUID


class ServiceBusReceiver(Receiver):
    """Made and closed by the bus. One `receive` at a time."""

    def __init__(self, lines: Sequence[Line], settings: ServiceBusSettings, outage: Outage) -> None:
        self._lines = lines
        self._settings = settings
        self._outage = outage
        self._buffer: deque[_Token] = deque()
        self._delayed: dict[_Token, float] = {}
        self._most = 1
        self._wanted, self._news, self._stopped = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._missing: NotFoundError | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Raises NotFoundError if a subscription is missing, UnavailableError."""
        await _together(line.open() for line in self._lines if not line.queue.dead)
        for line in self._lines:
            self._start(self._keep(line), f"keep {line.queue}")
            self._start(self._pull_for_ever(line), f"pull {line.queue}")

    async def close(self) -> None:
        """Lets what is under way end, then gives everything back."""
        self._stopped.set()
        self._wanted.set()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=2 * SLICE_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(self._close_line(line) for line in self._lines))

    async def receive(self, most: int, wait_s: float) -> Sequence[Delivery]:
        clock = asyncio.get_running_loop().time
        until = clock() + max(wait_s, LOOK_S)
        self._most = min(most, STEP)
        try:
            while most > 0 and not self._buffer and (left_s := until - clock()) > 0:
                self._news.clear()
                self._wanted.set()
                with suppress(TimeoutError):
                    async with asyncio.timeout(left_s):
                        await self._news.wait()
                self._raise_failed()
        finally:
            self._wanted.clear()
        return self._handed_out(most)

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            self._delayed.pop(delivery.token, None)
        await self._settle([delivery.token for delivery in deliveries], "complete")

    async def release(self, deliveries: Sequence[Delivery], after_s: float = 0.0) -> None:
        tokens = [delivery.token for delivery in deliveries]
        if after_s <= 0:
            await self._settle(tokens, "abandon")
            return
        due = asyncio.get_running_loop().time() + after_s
        self._delayed |= {token: due for token in tokens if token.lock in token.line.held}

    # ---- tasks ----------------------------------------------------------------------------------------------------

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        self._tasks.append(asyncio.create_task(work, name=name))

    async def _pull_for_ever(self, line: Line) -> None:
        failures = 0
        if line.queue.dead:
            await self._pause(_jittered(self._settings.dead_letters_every_s))
        while await self._is_wanted():
            pulled = await self._tried(line, lambda: self._pull(line))
            failures = 0 if pulled else failures + 1
            if not pulled:
                await self._pause(_jittered(min(AGAIN_MOST_S, AGAIN_FIRST_S * 2.0 ** min(failures, 16))))
            elif line.queue.dead and not line.held:
                await line.close()  # a connection for what hardly ever comes would be dear
                await self._pause(_jittered(self._settings.dead_letters_every_s))

    async def _pull(self, line: Line) -> None:
        tokens = await line.pull(self._most, SLICE_S)
        if tokens:
            self._buffer.extend(_Token(line, token) for token in tokens)
            self._wanted.clear()
            self._news.set()

    async def _keep(self, line: Line) -> None:
        """Renews locks, and abandons what was released for later and is due."""
        while not self._stopped.is_set():
            if line.renewals_due:
                await self._tried(line, line.renew)
            if due := self._due(line):
                await self._tried(line, lambda due=due: self._abandon(line, due))  # type: ignore[misc]
            now = asyncio.get_running_loop().time()
            next_s = min((at - now for token, at in self._delayed.items() if token.line is line), default=KEEP_EVERY_S)
            await self._pause(min(max(next_s, KEEP_LEAST_S), KEEP_EVERY_S))

    def _due(self, line: Line) -> list[_Token]:
        now = asyncio.get_running_loop().time()
        return [token for token, at in self._delayed.items() if token.line is line and at <= now]

    async def _abandon(self, line: Line, tokens: Sequence[_Token]) -> None:
        await line.settle([token.lock for token in tokens], "abandon")
        for token in tokens:
            self._delayed.pop(token, None)

    async def _tried(self, line: Line, work: Callable[[], Awaitable[None]]) -> bool:
        try:
            await work()
        except NotFoundError as error:
            self._missing = error
            self._news.set()
            return False
        except UnavailableError as error:
            self._outage.gone(line, error)
            if isinstance(error, BusyError):
                await self._pause(self._settings.busy_s)
            return False
        self._outage.back(line)
        return True

    async def _is_wanted(self) -> bool:
        await self._wanted.wait()
        return not self._stopped.is_set()

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopped.wait()

    # ---- deliveries -----------------------------------------------------------------------------------------------

    def _handed_out(self, most: int) -> list[Delivery]:
        deliveries: list[Delivery] = []
        while self._buffer and len(deliveries) < most:
            token = self._buffer.popleft()
            if token.lock in token.line.held:  # else its lock was lost here, and it comes again
                deliveries.append(_delivery(token))
        return deliveries

    async def _settle(self, tokens: Sequence[_Token], how: Literal["complete", "abandon"]) -> None:
        by_line: dict[Line, list[UUID]] = {}
        for token in tokens:
            by_line.setdefault(token.line, []).append(token.lock)
        try:
            await _together(line.settle(locks, how) for line, locks in by_line.items())
        except NotFoundError as error:
            raise _vanished(error) from error

    def _raise_failed(self) -> None:
        for task in self._tasks:
            if task.done() and (error := task.exception()) is not None:
                raise error
        if self._missing is not None:
            missing, self._missing = self._missing, None
            raise _vanished(missing) from missing

    async def _close_line(self, line: Line) -> None:
        if line.held:
            with suppress(UnavailableError, NotFoundError):  # then the locks expire
                await line.settle(list(line.held), "abandon")
        await line.close()
        self._outage.forget(line)


def _vanished(error: NotFoundError) -> UnavailableError:
    """Somebody deleted a subscription that was open; subscribing again says whether it is back."""
    return UnavailableError(f"{error}; it was there before")


def _jittered(seconds: float) -> float:
    return seconds * random.uniform(0.5, 1.0)  # noqa: S311  not a secret


async def _together(works: Any) -> None:
    """All of them to their end; then the first failure."""
    for result in await asyncio.gather(*works, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result


def _delivery(token: _Token) -> Delivery:
    message = token.line.held[token.lock].message
    raw, tries = body(message), (message.delivery_count or 0) + 1
    try:
        return Delivery(event=codec.decode(raw), raw=raw, tries=tries, token=token)
    except InvalidError as error:
        return Delivery(event=None, raw=raw, fault=str(error), tries=tries, token=token)
