"""A group's receiver on RabbitMQ: a consumer of the group's queue, which lives as long as its channel.

When the channel is lost, everything it delivered comes again, so what it had in hand is forgotten: acknowledging or
releasing it then does nothing. The next `receive` opens another. A consumer starts with the first `receive`, so that
a receiver that does not receive keeps nothing from others.
"""

import asyncio
import math
from collections import deque
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from ion.adapters.bus.rabbitmq_link import Link
from ion.adapters.bus.rabbitmq_publisher import Outgoing, Publisher
from ion.adapters.bus.rabbitmq_settings import RabbitSettings
from ion.adapters.bus.rabbitmq_topology import DELAY_HEADER, Topology, bucket_for
from ion.errors import InvalidError, IonError, NotFoundError, UnavailableError
from ion.messaging import codec
from ion.ports.bus import Delivery, Receiver

if TYPE_CHECKING:
    from aiormq.abc import AbstractChannel, DeliveredMessage

TRIES_HEADER = "ion-tries"
"""Deliveries before the last delay, which makes a new message of an event."""
FIRST_S = 0.5
"""How long a new consumer is waited for where the broker says that events are there."""


class Consumer:
    """One channel's deliveries: those that wait here to be received, and the tags of all that are unsettled."""

    def __init__(self, link: Link, channel: "AbstractChannel", queue: str, news: asyncio.Event) -> None:
        self.waiting: deque[DeliveredMessage] = deque()
        self._link = link
        self._channel = channel
        self._queue = queue
        self._news = news
        self._held: set[int] = set()
        self._cancelled = False

    @property
    def alive(self) -> bool:
        return not self._cancelled and self._link.serves(self._channel)

    async def start(self, prefetch: int) -> int:
        """Tells how many events are ready."""
        self._channel.closing.add_done_callback(lambda _: self._news.set())
        self._channel.on_consumer_cancel_callbacks.add(self._on_cancel)
        ready = await self._channel.queue_declare(self._queue, passive=True)
        await self._channel.basic_qos(prefetch_count=prefetch)
        await self._channel.basic_consume(self._queue, self._on_message)
        return ready.message_count or 0

    def holds(self, message: "DeliveredMessage") -> bool:
        return self.alive and message.delivery_tag in self._held

    async def ack(self, tags: Collection[int]) -> None:
        """Returns once the broker has taken them.

        Acknowledgements have no answer; but a channel's requests are done in order, and this one's last has.
        """
        top, chosen = max(tags), set(tags)
        if all(tag in chosen for tag in self._held if tag < top):
            await self._channel.basic_ack(top, multiple=True, wait=False)
            self._held -= chosen
        else:
            for tag in chosen:
                await self._channel.basic_ack(tag, wait=False)
                self._held.discard(tag)
        await self._channel.queue_declare(self._queue, passive=True)

    async def requeue(self, tags: Collection[int]) -> None:
        for tag in sorted(tags):
            await self._channel.basic_nack(tag, requeue=True, wait=False)
            self._held.discard(tag)
        await self._channel.queue_declare(self._queue, passive=True)

    async def close(self) -> None:
        """A channel of a connection that was given up is closed with it."""
        if self._link.serves(self._channel):
            await self._channel.close()

    async def _on_message(self, message: "DeliveredMessage") -> None:
        assert message.delivery_tag is not None
        self._held.add(message.delivery_tag)
        self.waiting.append(message)
        self._news.set()

    def _on_cancel(self, _: Any) -> None:
        """The broker ended the consumer: its queue was deleted or moved."""
        self._cancelled = True
        self._news.set()


class _Token(msgspec.Struct, frozen=True):
    consumer: Consumer
    message: Any


class RabbitReceiver(Receiver):
    """An open receiver; made and closed by the bus. One `receive` at a time."""

    def __init__(
        self,
        settings: RabbitSettings,
        link: Link,
        publisher: Publisher,
        topology: Topology,
        *,
        topics: Sequence[str],
        group: str,
    ) -> None:
        self._settings = settings
        self._link = link
        self._publisher = publisher
        self._topology = topology
        self._topics = topics
        self._group = group
        self._queue = topology.queue(group)
        self._news = asyncio.Event()
        self._consumer: Consumer | None = None
        self._was_open = False

    async def receive(self, most: int, wait_s: float) -> Sequence[Delivery]:
        clock = asyncio.get_running_loop().time
        until = clock() + wait_s
        while most > 0:
            self._news.clear()  # before looking, so that what happens while a consumer is opened is not forgotten
            consumer = self._consumer
            if consumer is None or not consumer.alive:
                consumer, ready = await self._consume()
                until = max(until, clock() + FIRST_S) if ready else until
            if consumer.waiting:
                taken = [consumer.waiting.popleft() for _ in range(min(most, len(consumer.waiting)))]
                return [_delivery(consumer, message) for message in taken]
            if (left_s := until - clock()) <= 0:
                break
            with suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await self._news.wait()
        return ()

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        consumer, mine = self._mine(deliveries)
        if consumer is not None and mine:
            async with self._link.bounded("acknowledging"):
                await consumer.ack([delivery.token.message.delivery_tag for delivery in mine])

    async def release(self, deliveries: Sequence[Delivery], after_s: float = 0.0) -> None:
        """With a delay, a copy is stored first, so that an event may come twice but is never without a place."""
        consumer, mine = self._mine(deliveries)
        if consumer is None or not mine:
            return
        if after_s > 0:
            await self._delay(mine, after_s)
            await self.ack(mine)
        else:
            async with self._link.bounded("giving back"):
                await consumer.requeue([delivery.token.message.delivery_tag for delivery in mine])

    async def close(self) -> None:
        """The broker gives back what is unsettled when the channel ends, in whichever way."""
        self._link.at_loss.discard(self._news)
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            with suppress(IonError):
                async with self._link.bounded("closing a receiver"):
                    await consumer.close()

    def _mine(self, deliveries: Sequence[Delivery]) -> tuple[Consumer | None, list[Delivery]]:
        consumer = self._consumer
        if consumer is None:
            return None, []
        return consumer, [
            one for one in deliveries if one.token.consumer is consumer and consumer.holds(one.token.message)
        ]

    async def _consume(self) -> tuple[Consumer, int]:
        """A consumer on a new channel. One that was there before makes its queue again, should the broker lack it."""
        await self.close()
        self._link.at_loss.add(self._news)
        if self._was_open:
            await self._topology.make(self._link, self._topics, [self._group])
        async with self._link.bounded("receiving"):
            channel = await self._link.channel()
            consumer = Consumer(self._link, channel, self._queue, self._news)
            try:
                ready = await consumer.start(self._settings.prefetch)
            except BaseException:
                await consumer.close()
                raise
        self._consumer, self._was_open = consumer, True
        self._link.works()
        return consumer, ready

    async def _delay(self, deliveries: Sequence[Delivery], after_s: float) -> None:
        bucket_s = bucket_for(after_s)
        await self._topology.make_delay(self._link, bucket_s)
        copies = [self._copy(delivery, bucket_s, after_s) for delivery in deliveries]
        try:
            homeless = await self._publisher.send(copies)
        except NotFoundError as error:
            raise UnavailableError("RabbitMQ lost what delays events; release again") from error
        if homeless:
            raise UnavailableError("RabbitMQ lost a queue that delays events; release again")

    def _copy(self, delivery: Delivery, bucket_s: int, after_s: float) -> Outgoing:
        return Outgoing(
            exchange=self._topology.delays,
            key=self._queue,
            id=delivery.token.message.header.properties.message_id or "",
            body=delivery.raw,
            headers={DELAY_HEADER: bucket_s, TRIES_HEADER: delivery.tries},
            expiration_ms=math.ceil(after_s * 1000),
        )


def _delivery(consumer: Consumer, message: "DeliveredMessage") -> Delivery:
    """What somebody else put into the queue may not be readable; it comes with its reason, so that it can be buried."""
    token = _Token(consumer, message)
    try:
        return Delivery(event=codec.decode(message.body), raw=message.body, tries=_tries(message), token=token)
    except InvalidError as error:
        return Delivery(event=None, raw=message.body, fault=str(error), tries=_tries(message), token=token)


def _tries(message: "DeliveredMessage") -> int:
    headers: dict[str, Any] = message.header.properties.headers or {}
    before = headers.get(TRIES_HEADER, 0), headers.get("x-delivery-count", 0)
    earlier, returned = (number if isinstance(number, int) else 0 for number in before)
    return earlier + max(returned, int(bool(message.redelivered))) + 1
