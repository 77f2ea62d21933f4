"""One queue of messages, a subscription or its dead letters, over one connection of the vendor's client.

The client must not be used by two tasks at once, loses what it has received when a receive is cancelled, and does not
notice a line on which nothing moves any more. So a lock lets one in at a time, receives are short and never cancelled,
a long silence is broken by a question, and after every failure the client's receiver is thrown away for a new one. What
was received over the old one is settled by its lock's token over the new one.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

import msgspec

from ion.adapters.bus.servicebus_errors import translated
from ion.adapters.bus.servicebus_settings import ServiceBusSettings
from ion.errors import UnavailableError

if TYPE_CHECKING:
    from azure.servicebus import ServiceBusReceivedMessage
    from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver, ServiceBusSender

log = logging.getLogger(__name__)

CLOSE_S = 5.0
SETTLED_S = 2.0
"""How long a settlement that is under way may take to end when its caller is cancelled."""
ONE_BY_ONE = 4
"""So few are settled one after the other; more at once, where the last waits for the client's polling, 0.2 s."""
RENEW_LEAST_S = 0.5


class Queue(msgspec.Struct, frozen=True, kw_only=True):
    topic: str
    subscription: str
    dead: bool = False

    def __str__(self) -> str:
        whose = f"{self.subscription} of the topic {self.topic}"
        return f"the dead letters of {whose}" if self.dead else f"the subscription {whose}"


class Held(msgspec.Struct):
    """`renew_at`: by the loop's clock."""

    message: "ServiceBusReceivedMessage"
    renew_at: float


class Line:
    def __init__(self, client: "ServiceBusClient", queue: Queue, settings: ServiceBusSettings) -> None:
        self.queue = queue
        self.held: dict[UUID, Held] = {}
        self._client = client
        self._settings = settings
        self._lock = asyncio.Lock()
        self._receiver: ServiceBusReceiver | None = None
        self._socket: Any = None
        self._heard_at = 0.0

    async def open(self) -> None:
        """Raises NotFoundError, UnavailableError."""
        async with self._at_work("opening"):
            pass

    async def pull(self, most: int, wait_s: float) -> list[UUID]:
        """The tokens of what came within `wait_s` seconds; it is held, and kept locked by `renew`."""
        async with self._at_work("receiving from", extra_s=wait_s) as receiver:
            messages = await receiver.receive_messages(most, max_wait_time=wait_s)
            for message in messages:
                self.held[_token(message)] = Held(message, _renewal(message))
            if messages:
                self._heard_at = _now()
            elif _now() - self._heard_at >= self._settings.probe_s:
                await receiver.peek_messages(1, timeout=self._settings.answer_s)
                self._heard_at = _now()
            return [_token(message) for message in messages]

    async def settle(self, tokens: Iterable[UUID], how: Literal["complete", "abandon"]) -> None:
        """Returns once the broker confirmed it. Those that are not held any more are left alone.

        Cancelled, it lets the client end: broken off, it asks once more for each message over the closed connection.
        """
        settling = asyncio.ensure_future(self._settle_twice(list(tokens), how))
        try:
            await asyncio.shield(settling)
        except asyncio.CancelledError:
            await asyncio.wait([settling], timeout=SETTLED_S)
            settling.cancel()
            await asyncio.gather(settling, return_exceptions=True)
            raise

    async def _settle_twice(self, tokens: Sequence[UUID], how: str) -> None:
        try:
            await self._settle([token for token in tokens if token in self.held], how)
        except UnavailableError as error:  # the broker closes what was idle for minutes
            log.debug("settling is tried over a new connection: %s", error)
            await self._settle([token for token in tokens if token in self.held], how)

    async def _settle(self, held: Sequence[UUID], how: str) -> None:
        if not held:
            return
        async with self._at_work(f"settling messages ({how}) of") as receiver:
            if len(held) <= ONE_BY_ONE:
                for token in held:
                    await self._settle_one(receiver, token, how)
                return
            done = await asyncio.gather(
                *(self._settle_one(receiver, token, how) for token in held), return_exceptions=True
            )
            for error in done:
                if error is not None:
                    raise error

    @property
    def renewals_due(self) -> bool:
        return any(held.renew_at <= _now() for held in self.held.values())

    async def renew(self) -> None:
        """Renews the locks that have passed half of their time."""
        async with self._at_work("renewing locks of") as receiver:
            for token, held in list(self.held.items()):
                if held.renew_at <= _now():
                    await self._renew_one(receiver, token, held)

    async def peek(self, most: int) -> list[bytes]:
        async with self._at_work("peeking into") as receiver:
            return [body(message) for message in await receiver.peek_messages(most, timeout=self._settings.answer_s)]

    async def close(self) -> None:
        """What is held stays locked until its locks expire."""
        async with self._lock:
            await self._discard()

    async def _settle_one(self, receiver: "ServiceBusReceiver", token: UUID, how: str) -> None:
        from azure.servicebus.exceptions import MessageAlreadySettled, MessageLockLostError, MessageNotFoundError

        held = self.held.get(token)
        if held is None:  # the lock was lost while this waited for its turn
            return
        try:
            if how == "complete":
                await receiver.complete_message(held.message)
            else:
                await receiver.abandon_message(held.message)
        except (MessageAlreadySettled, MessageLockLostError, MessageNotFoundError):
            log.debug("a message of %s was delivered to somebody else meanwhile", self.queue)
        self.held.pop(token, None)

    async def _renew_one(self, receiver: "ServiceBusReceiver", token: UUID, held: Held) -> None:
        from azure.servicebus.exceptions import MessageAlreadySettled, MessageLockLostError, MessageNotFoundError

        try:
            await receiver.renew_message_lock(held.message, timeout=self._settings.answer_s)
            held.renew_at = _renewal(held.message)
        except (MessageAlreadySettled, MessageLockLostError, MessageNotFoundError):
            log.debug("the lock of a message of %s was lost; it comes again", self.queue)
            self.held.pop(token, None)

    @asynccontextmanager
    async def _at_work(self, doing: str, extra_s: float = 0.0) -> "AsyncIterator[ServiceBusReceiver]":
        async with self._lock:
            try:
                with translated(f"{doing} {self.queue}", self._settings.host):
                    async with asyncio.timeout(self._settings.answer_s + extra_s):
                        yield await self._opened()
            except BaseException:
                await self._discard()
                raise

    async def _opened(self) -> "ServiceBusReceiver":
        if self._receiver is None:
            from azure.servicebus import ServiceBusSubQueue

            self._receiver = self._client.get_subscription_receiver(
                self.queue.topic,
                self.queue.subscription,
                sub_queue=ServiceBusSubQueue.DEAD_LETTER if self.queue.dead else None,
            )
            self._heard_at = _now()
        await self._receiver.__aenter__()  # opens it; nothing if it is open
        self._socket = socket_of(self._receiver)
        return self._receiver

    async def _discard(self) -> None:
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            await dispose(receiver, self._socket)


def socket_of(handler: "ServiceBusReceiver | ServiceBusSender") -> Any:
    """What `dispose` cuts at last; to be asked for while it is open, for the client forgets it when it fails."""
    connection = getattr(getattr(handler, "_handler", None), "_connection", None)
    return getattr(getattr(connection, "_transport", None), "writer", None)


async def dispose(handler: "ServiceBusReceiver | ServiceBusSender", socket: Any) -> None:
    """Closes it, whatever state it is in."""
    client = getattr(handler, "_handler", None)
    try:
        async with asyncio.timeout(CLOSE_S):
            await handler.close()
    except Exception as error:  # noqa: BLE001  it is thrown away, whatever it says
        log.debug("closing a connection of Azure Service Bus failed: %s", error)
        if (keeping_alive := getattr(client, "_keep_alive_thread", None)) is not None:
            keeping_alive.cancel()
    if socket is not None:
        socket.transport.abort()


def body(message: "ServiceBusReceivedMessage") -> bytes:
    """Its bytes; of a foreign message whose body is a value or a sequence, something for a person to look at."""
    content = message.body
    if isinstance(content, bytes):
        return content
    if isinstance(content, str):
        return content.encode()
    try:
        return b"".join(content)
    except TypeError:
        return repr(content).encode()


def _token(message: "ServiceBusReceivedMessage") -> UUID:
    token = message.lock_token
    return token if isinstance(token, UUID) else UUID(str(token))


def _renewal(message: "ServiceBusReceivedMessage") -> float:
    """Half of the time that this host's clock gives it; a clock that is wrong by more than a lock keeps nothing."""
    until = message.locked_until_utc
    left_s = (until - datetime.now(UTC)).total_seconds() if until is not None else 0.0
    return _now() + max(left_s / 2, RENEW_LEAST_S)


def _now() -> float:
    return asyncio.get_running_loop().time()
