"""The calls that a server is answering: how they end well, and how they are told that it stops.

Whatever a verb raises becomes a status here, once. A call that is told to stop ends with UNAVAILABLE and a sentence;
one whose client never takes the message that it is sent cannot be told, and is cut off.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias, TypeVar

import grpc
import grpc.aio

from ion.errors import IonError, UnavailableError
from ion.management.rpc.status import refuse

log = logging.getLogger(__name__)

T = TypeVar("T")
Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"


class Call:
    """One call. `endless`: nobody knows how long it takes. `sending`: it waits for its client just now."""

    def __init__(self, task: asyncio.Task[object]) -> None:
        self._task = task
        self.endless = self.sending = self.told = False

    def tell(self) -> None:
        """Ends it: now, or when its client has taken the message that it waits for."""
        if not self.told:
            self.told = True
            if not self.sending:
                self._task.cancel()

    async def send(self, context: Context, message: bytes) -> None:
        """Hands one message to the client; returns when there is room for the next."""
        self.sending = True
        try:
            await context.write(message)
        finally:
            self.sending = False
        if self.told:
            raise asyncio.CancelledError


class Calls:
    def __init__(self) -> None:
        self._running: set[Call] = set()
        self._quiet = asyncio.Event()
        self._stopping = False

    async def answer(self, context: Context, work: Callable[[Call], Awaitable[T]]) -> T:
        """Does the work of a call; an error of it ends the call with its status."""
        with self._call() as call:
            try:
                return await work(call)
            except grpc.aio.BaseError:  # gRPC's own: the call has ended already, its client is gone
                raise
            except IonError as error:
                refusal: IonError | None = error
            except asyncio.CancelledError:
                if not call.told:
                    raise
                refusal = UnavailableError("the server is being stopped: ask again in a moment")
            except Exception:
                log.exception("a call failed that should not")
                refusal = None
            return await refuse(context, refusal)

    @contextmanager
    def _call(self) -> Iterator[Call]:
        task = asyncio.current_task()
        assert task is not None
        call = Call(task)
        self._running.add(call)
        try:
            yield call
        finally:
            self._running.discard(call)
            if not self._running:
                self._quiet.set()

    def endless(self, call: Call) -> None:
        """The call may go on for ever: it ends when the server begins to stop."""
        call.endless = True
        if self._stopping:
            call.tell()

    async def stop(self, grace_s: float, told_s: float) -> None:
        """Tells endless calls at once, the others after `grace_s`; each then has `told_s` to say so to its client."""
        self._stopping = True
        for call in list(self._running):
            if call.endless:
                call.tell()
        if not await self._wait(grace_s):
            for call in list(self._running):
                call.tell()
            await self._wait(told_s)

    async def _wait(self, most_s: float) -> bool:
        """Whether no call is left in time."""
        self._quiet.clear()
        if self._running:
            try:
                await asyncio.wait_for(self._quiet.wait(), most_s)
            except TimeoutError:
                return False
        return True
