"""One topic's sender: batches as large as the topic takes, confirmed by the broker, one at a time."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any

from ion.adapters.bus.servicebus_errors import BusyError, Pace, translated
from ion.adapters.bus.servicebus_line import dispose, socket_of
from ion.adapters.bus.servicebus_settings import ServiceBusSettings
from ion.errors import UnavailableError
from ion.messaging.codec import CONTENT_TYPE
from ion.model.event import Event

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from azure.servicebus import ServiceBusMessage, ServiceBusMessageBatch
    from azure.servicebus.aio import ServiceBusClient, ServiceBusSender


class TopicSender:
    def __init__(self, client: "ServiceBusClient", topic: str, settings: ServiceBusSettings, pace: Pace) -> None:
        self._client = client
        self._topic = topic
        self._settings = settings
        self._pace = pace
        self._lock = asyncio.Lock()
        self._sender: ServiceBusSender | None = None
        self._socket: Any = None

    async def send(self, events: Sequence[tuple[Event, bytes]]) -> None:
        """Tries twice: after a broker that is busy was left alone, and on a new link where it closed an idle one.

        Raises:
            NotFoundError: there is no such topic. UnavailableError: some may have been sent. InvalidError: too large.
        """
        async with self._lock:
            await self._pace.free()
            try:
                await self._send(events)
            except UnavailableError as error:
                log.debug("sending is tried again: %s", error)
                if isinstance(error, BusyError):
                    self._pace.busy()
                    await self._pace.free()
                await self._send(events)

    async def open(self) -> None:
        """Raises NotFoundError, UnavailableError."""
        async with self._lock:
            await self._send([])

    async def close(self) -> None:
        sender, self._sender = self._sender, None
        if sender is not None:
            await dispose(sender, self._socket)

    async def _send(self, events: Sequence[tuple[Event, bytes]]) -> None:
        try:
            with translated(f"sending to the topic {self._topic}", self._settings.host):
                sender = await self._opened()
                async for batch in _batches(sender, [_message(event, raw) for event, raw in events]):
                    await self._send_one(sender, batch)
        except BaseException:
            await self.close()
            raise

    async def _opened(self) -> "ServiceBusSender":
        if self._sender is None:
            self._sender = self._client.get_topic_sender(self._topic)
        async with asyncio.timeout(self._settings.answer_s):
            await self._sender.__aenter__()  # opens it; nothing if it is open
        self._socket = socket_of(self._sender)
        return self._sender

    async def _send_one(self, sender: "ServiceBusSender", batch: "ServiceBusMessageBatch") -> None:
        async with asyncio.timeout(self._settings.answer_s + 1.0):  # the client's own is first, and says more
            await sender.send_messages(batch, timeout=self._settings.answer_s)


async def _batches(
    sender: "ServiceBusSender", messages: Sequence["ServiceBusMessage"]
) -> "AsyncIterator[ServiceBusMessageBatch]":
    """Raises the client's MessageSizeExceededError for a message that fits into none."""
    from azure.servicebus.exceptions import MessageSizeExceededError

    batch = await sender.create_message_batch()
    for message in messages:
        try:
            batch.add_message(message)
        except MessageSizeExceededError:
            if not len(batch):
                raise
            yield batch
            batch = await sender.create_message_batch()
            batch.add_message(message)
    if len(batch):
        yield batch


def _message(event: Event, raw: bytes) -> "ServiceBusMessage":
    from azure.servicebus import ServiceBusMessage

    return ServiceBusMessage(
        raw,
        message_id=event.id,  # what the broker de-duplicates by
        content_type=CONTENT_TYPE,
        subject=event.type,
    )
