"""The bus on Azure Service Bus: a topic an event type, a subscription a module on each of its topics.

Deliveries are peek-locked: the broker keeps a message until it was acknowledged, and gives it to another receiver when
its lock expires, which is how what a killed process held comes again. What the broker itself put among the dead letters
of a subscription is received like everything else, so that it ends in the ledger. See `docs/buses/servicebus.md`.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import product
from types import TracebackType
from typing import Self

from ion.adapters.bus.servicebus_clients import Clients
from ion.adapters.bus.servicebus_errors import Outage, Pace
from ion.adapters.bus.servicebus_line import Line, Queue
from ion.adapters.bus.servicebus_names import subscription_name, topic_name
from ion.adapters.bus.servicebus_receiver import ServiceBusReceiver
from ion.adapters.bus.servicebus_sender import TopicSender
from ion.adapters.bus.servicebus_settings import ServiceBusSettings
from ion.errors import InvalidError, NotFoundError, UnavailableError, UnsupportedError
from ion.messaging import codec
from ion.model.event import Event
from ion.ports.bus import Bus, BusGuarantees, Receiver

__all__ = ["ServiceBusBus", "ServiceBusSettings", "open_servicebus"]

log = logging.getLogger(__name__)


@asynccontextmanager
async def open_servicebus(settings: ServiceBusSettings) -> AsyncIterator[Bus]:
    """Opens the bus. Nothing is asked of the namespace before it is used."""
    async with ServiceBusBus(settings) as bus:
        yield bus


class ServiceBusBus(Bus):
    def __init__(self, settings: ServiceBusSettings) -> None:
        self._settings = settings
        self._clients = Clients(settings)
        self._outage = Outage(settings.host)
        self._pace = Pace(settings.busy_s)
        self._senders: dict[str, TopicSender] = {}
        self._known: dict[str, set[str]] = {}

    @property
    def guarantees(self) -> BusGuarantees:
        """`ordered` would need sessions; de-duplication has a window, and delays end with their receiver."""
        return BusGuarantees(
            store=f"servicebus:{self._settings.host}",
            durable=True,
            ordered=False,
            dedupes=False,
            delays=False,
            peeks=True,
            depths=self._settings.may_manage,
            event_limit=self._settings.event_limit,
            keeps_s=self._settings.message_ttl_s,
        )

    async def __aenter__(self) -> Self:
        """Connects to nothing yet: whoever only reads the ledger needs no namespace."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.gather(*(sender.close() for sender in self._senders.values()))
        await self._clients.close()

    async def ensure(self, topics: Sequence[str], groups: Sequence[str]) -> None:
        if self._settings.may_manage:
            entities = await self._clients.entities()
            for topic in dict.fromkeys(topics):
                await entities.make_topic(topic)
                for group in dict.fromkeys(groups):
                    await entities.make_subscription(topic, group)
        else:
            await self._check_made(topics, groups)
        self._remember(topics, groups)

    async def publish(self, events: Sequence[Event]) -> None:
        by_type: dict[str, list[tuple[Event, bytes]]] = {}
        for event in events:
            by_type.setdefault(event.type, []).append((event, self._encoded(event)))
        results = await asyncio.gather(*(self._publish(*item) for item in by_type.items()), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    def subscribe(self, topics: Sequence[str], group: str) -> AbstractAsyncContextManager[Receiver]:
        """Raises NotFoundError on entry if `ensure` did not make it."""
        return self._subscribed(topics, group)

    @asynccontextmanager
    async def _subscribed(self, topics: Sequence[str], group: str) -> AsyncIterator[Receiver]:
        queues = [queue for topic in dict.fromkeys(topics) for queue in self._queues(topic, group)]
        lines = [await self._line(queue) for queue in queues]
        receiver = ServiceBusReceiver(lines, self._settings, self._outage)
        try:
            await receiver.open()
            self._remember(topics, [group])
            yield receiver
        finally:
            await receiver.close()

    async def depth(self, group: str) -> int:
        """By the broker's counts, which may lag by some seconds."""
        if not self._settings.may_manage:
            raise UnsupportedError(
                f"the depth of {group!r} is not to be had: Ion may not manage {self._settings.host}; grant the Manage "
                "right and set may_manage"
            )
        entities = await self._clients.entities()
        types = self._known.get(group) or await entities.types_of(group)
        return sum([await entities.waiting(event_type, group) for event_type in types])

    async def peek(self, group: str, most: int) -> Sequence[Event]:
        """Those in flight included. What cannot be decoded is left out; receiving it tells why."""
        events: list[Event] = []
        for event_type in await self._types_of(group):
            line = await self._line(self._queues(event_type, group)[0])
            try:
                events += [event for raw in await line.peek(most) if (event := _decoded(raw)) is not None]
            finally:
                await line.close()
            if len(events) >= most:
                break
        return events[:most]

    # ---- entities -------------------------------------------------------------------------------------------------

    def _queues(self, event_type: str, group: str) -> tuple[Queue, Queue]:
        """The subscription and its dead letters."""
        topic, name = topic_name(self._settings.prefix, event_type), subscription_name(event_type, group)
        return Queue(topic=topic, subscription=name), Queue(topic=topic, subscription=name, dead=True)

    async def _line(self, queue: Queue) -> Line:
        return Line(await self._clients.messages(), queue, self._settings)

    def _remember(self, topics: Iterable[str], groups: Iterable[str]) -> None:
        for topic, group in product(topics, groups):
            self._known.setdefault(group, set()).add(topic)

    async def _types_of(self, group: str) -> Sequence[str]:
        if known := self._known.get(group):
            return sorted(known)
        if not self._settings.may_manage:
            raise UnsupportedError(
                f"the topics of {group!r} are not known here, and Ion may not manage {self._settings.host} to list "
                "them; grant the Manage right and set may_manage"
            )
        return await (await self._clients.entities()).types_of(group)

    async def _check_made(self, topics: Sequence[str], groups: Sequence[str]) -> None:
        """Without the right to manage only an attempt to open them tells whether they are there."""
        missing = [name for topic in topics if (name := await self._missing_topic(topic))]
        if not missing:
            missing = [name for pair in product(topics, groups) if (name := await self._missing_subscription(*pair))]
        if missing:
            raise UnsupportedError(
                f"{self._settings.host} lacks {', '.join(missing)}, and Ion may not make them: make them by hand, or "
                "grant the Manage right and set may_manage"
            )

    async def _missing_topic(self, event_type: str) -> str:
        sender = await self._sender(event_type)
        try:
            await sender.open()
        except NotFoundError:
            return f"the topic {topic_name(self._settings.prefix, event_type)}"
        return ""

    async def _missing_subscription(self, event_type: str, group: str) -> str:
        line = await self._line(self._queues(event_type, group)[0])
        try:
            await line.open()
        except NotFoundError:
            return str(line.queue)
        finally:
            await line.close()
        return ""

    # ---- publishing -----------------------------------------------------------------------------------------------

    def _encoded(self, event: Event) -> bytes:
        raw = codec.encode(event)
        if len(raw) > self._settings.event_limit:
            raise InvalidError(
                f"the event {event.id} has {len(raw)} bytes, more than event_limit, {self._settings.event_limit}: put "
                "its data into a file, or raise the limit on a premium namespace"
            )
        return raw

    async def _publish(self, event_type: str, events: Sequence[tuple[Event, bytes]]) -> None:
        sender = await self._sender(event_type)
        try:
            await sender.send(events)
        except NotFoundError:
            if not self._settings.may_manage:
                log.debug("nobody has the topic of %s; %d events are not sent", event_type, len(events))
                return
            await (await self._clients.entities()).make_topic(
                event_type
            )  # else every publication would find out anew, slowly
            await self._send_to_new(sender, events)

    async def _send_to_new(self, sender: TopicSender, events: Sequence[tuple[Event, bytes]]) -> None:
        try:
            await sender.send(events)
        except NotFoundError as error:  # deleted at once, or not to be seen yet
            raise UnavailableError(f"{error}; it was made just now") from error

    async def _sender(self, event_type: str) -> TopicSender:
        topic, client = topic_name(self._settings.prefix, event_type), await self._clients.messages()
        if topic not in self._senders:
            self._senders[topic] = TopicSender(client, topic, self._settings, self._pace)
        return self._senders[topic]


def _decoded(raw: bytes) -> Event | None:
    try:
        return codec.decode(raw)
    except InvalidError:
        return None
