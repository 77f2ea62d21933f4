"""The bus on RabbitMQ: one topic exchange, an event's type as its routing key, and a quorum queue for each group.

What holds: a confirmed event is on disk in the queue of every group of its topic, on most of the nodes where the
broker is a cluster. An acknowledgement has no answer in AMQP 0-9-1; `ack` returns when the broker has taken it, and a
broker that is killed within the next milliseconds may deliver that event once more, which admission drops. A killed
receiver's deliveries are given back at once, and a delayed one keeps its delay, for the broker holds both.

The broker sends back what no queue took. That is no error for a topic that nobody has. But where a group was made or
is received by this process, the broker has lost it (restored from a backup, deleted by hand): then groups are made
again and the publication is refused, to be repeated, so that nothing is confirmed to nobody.

A connection is opened when it is needed; whatever breaks raises `UnavailableError`, and the next call opens another.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Self

from ion.adapters.bus.rabbitmq_link import Link, Outage
from ion.adapters.bus.rabbitmq_names import routing_key
from ion.adapters.bus.rabbitmq_publisher import Outgoing, Publisher
from ion.adapters.bus.rabbitmq_receiver import RabbitReceiver
from ion.adapters.bus.rabbitmq_settings import RabbitSettings
from ion.adapters.bus.rabbitmq_topology import SETTLE_S, Topology
from ion.errors import ConflictError, InvalidError, NotFoundError, UnavailableError, UnsupportedError
from ion.messaging import codec
from ion.model.event import Event
from ion.ports.bus import Bus, BusGuarantees, Receiver


class RabbitBus(Bus):
    def __init__(self, settings: RabbitSettings) -> None:
        self._settings = settings
        outage = Outage(settings)
        self._publishing = Link(settings, outage, "publishing")
        self._receiving = Link(settings, outage, "receiving")
        self._publisher = Publisher(settings, self._publishing)
        self._topology = Topology(settings)
        self._made = False
        self._topics: dict[str, set[str]] = {}
        """Of each group that this process made or received."""

    @property
    def guarantees(self) -> BusGuarantees:
        """AMQP tells what is ready, not what is being delivered; and looking at an event moves it."""
        return BusGuarantees(
            store=self._settings.address,
            durable=True,
            ordered=not self._settings.queue_limit,  # what is refused is published again, behind what was taken
            dedupes=False,
            delays=True,
            peeks=False,
            depths=True,
            depths_held=False,
            event_limit=self._settings.event_limit_bytes,
            keeps_s=self._settings.max_age_s,
        )

    async def __aenter__(self) -> Self:
        """Connects to nothing yet: whoever only reads the ledger needs no broker."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._publishing.close()
        await self._receiving.close()

    async def ensure(self, topics: Sequence[str], groups: Sequence[str]) -> None:
        """Raises ConflictError if a group's queue is there with other arguments, such as another `queue_limit`."""
        await self._topology.make(self._receiving, topics, groups)
        self._made = True
        for group in groups:
            self._topics.setdefault(group, set()).update(topics)

    async def publish(self, events: Sequence[Event]) -> None:
        messages = [self._message(event) for event in events]
        if not self._made:
            await self._topology.make(self._receiving, [], [])
            self._made = True
        try:
            homeless = {message.key for message in await self._publisher.send(messages)}
        except (NotFoundError, ConflictError) as error:
            await self._restore()
            raise UnavailableError(f"{error}; it is made again, publish again") from error
        expected = {routing_key(topic) for topics in self._topics.values() for topic in topics}
        if lost := sorted(homeless & expected):
            await self._restore()
            raise UnavailableError(f"RabbitMQ lost the groups of {lost[0]!r}; they are made again, publish again")

    def subscribe(self, topics: Sequence[str], group: str) -> AbstractAsyncContextManager[Receiver]:
        """Raises NotFoundError on entry if `ensure` did not make the group.

        A group has one queue: what `ensure` bound to it comes, also what is not among these topics.
        """
        return self._subscribed(topics, group)

    @asynccontextmanager
    async def _subscribed(self, topics: Sequence[str], group: str) -> AsyncIterator[Receiver]:
        async with self._receiving.brief(f"subscribing the group {group!r}") as channel:
            await channel.queue_declare(self._topology.queue(group), passive=True)
        self._topics.setdefault(group, set()).update(topics)
        receiver = RabbitReceiver(
            self._settings, self._receiving, self._publisher, self._topology, topics=topics, group=group
        )
        try:
            yield receiver
        finally:
            await receiver.close()

    async def depth(self, group: str) -> int:
        """What is ready in the group's queue. Not what receivers hold, up to `prefetch` each, or what is delayed."""
        async with self._receiving.brief(f"counting what waits for the group {group!r}") as channel:
            found = await channel.queue_declare(self._topology.queue(group), passive=True)
        return found.message_count or 0

    async def peek(self, group: str, most: int) -> Sequence[Event]:  # noqa: ARG002
        """AMQP only gives an event out and takes it back, which counts as a try and lets others overtake it."""
        raise UnsupportedError(
            f"RabbitMQ cannot show events of {group!r} and leave them in place: count them by `ion bus depth`, or take "
            "the next one by `ion event get`"
        )

    async def _restore(self) -> None:
        """Not at once: a queue that is made again while the broker still parts with the former one of its name takes
        over that one's consumers, and what it gives them does not arrive.
        """
        await asyncio.sleep(SETTLE_S)
        await self._topology.make(self._receiving, [], [])
        for group, topics in list(self._topics.items()):
            await self._topology.make(self._receiving, sorted(topics), [group])

    def _message(self, event: Event) -> Outgoing:
        body = codec.encode(event)
        if len(body) > (limit := self._settings.event_limit_bytes):
            raise InvalidError(f"the event {event.id!r} has {len(body)} bytes; RabbitMQ is set to take {limit}")
        age_s = self._settings.max_age_s
        return Outgoing(
            exchange=self._topology.events,
            key=routing_key(event.type),
            id=event.id,
            body=body,
            expiration_ms=None if age_s is None else int(age_s * 1000),
        )


def open_rabbit(settings: RabbitSettings) -> AbstractAsyncContextManager[Bus]:
    """The bus, to be opened by `async with`."""
    return RabbitBus(settings)
