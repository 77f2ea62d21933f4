"""The bus on NATS JetStream, for Ions and outsiders on many hosts.

One stream holds all events, in files. Its retention is by interest: an event stays until every group of its topic has
acknowledged it, and then goes at once. Kept by limits instead, acknowledged events would fill the stream until their
age was up, and a full stream must refuse new events (discard `new`), for the other choice is to drop old ones that
somebody still needs. So the stream is full only when a group is behind, and an event that no group wants is not kept.

Each group has a durable consumer for each of its topics, not one for all: a subject's filter can then never be lost
between two processes that add to it, and a dispatcher that knows an older version of a module is not given, and does
not acknowledge, what only the newer one wants.

What this adapter made it makes again, whenever a server is back without it (a disk was lost, somebody removed it): each
process its own groups, before anything is published. What the ledger holds can then be published again.

A process that published before knows a stream that another made again by its numbers, which begin anew; what it has
just published is published again, for it may have been confirmed before any group was there.

The server drops an id that it has seen within the window (`Nats-Msg-Id`: the event's, and when the stream was made),
also for a group that came in between: who publishes events again for a new group does so after `dedupe_window_s`.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import product
from types import TracebackType
from typing import Self, TypeVar

from ion.adapters.bus.nats_connection import Connection
from ion.adapters.bus.nats_line import Line, MissingError, Request
from ion.adapters.bus.nats_names import consumer_of, subject_of
from ion.adapters.bus.nats_receiver import NatsReceiver
from ion.adapters.bus.nats_settings import NatsSettings
from ion.adapters.bus.nats_stream import Stream
from ion.errors import InvalidError
from ion.messaging import codec
from ion.model.event import Event
from ion.ports.bus import Bus, BusGuarantees, Receiver

log = logging.getLogger(__name__)
T = TypeVar("T")

SERVER_MESSAGE_MOST = 1024**2
"""What a server takes unless it is told otherwise; it says so itself once there is a line."""
HEADERS = 96
"""Bytes of a message's headers: `Nats-Msg-Id` with a UUID and the time of the stream."""
SETTLE_S = 4.0
"""How long nothing is published into a stream that was made again, so that all processes make their groups again."""


class NatsBus(Bus):
    """A bus on the servers of `settings`; opening it connects to none yet."""

    def __init__(self, settings: NatsSettings) -> None:
        self._settings = settings
        self._connection = Connection(settings)
        self._stream = Stream(settings)
        self._pairs: set[tuple[str, str]] = set()
        self._whole_on: Line | None = None
        self._making = asyncio.Lock()
        self._known = ""
        self._confirmed = 0
        """The highest number of a message that the stream has confirmed to this process."""
        self._message_most = SERVER_MESSAGE_MOST
        self._settled_at = 0.0

    @property
    def guarantees(self) -> BusGuarantees:
        return BusGuarantees(
            store=f"nats:{self._settings.stream} at {', '.join(self._settings.servers)}",
            durable=True,
            ordered=True,
            dedupes=True,
            delays=True,
            peeks=True,
            depths=True,
            event_limit=self._message_most - HEADERS,
            keeps_s=self._settings.max_age_s,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._connection.close()

    async def ensure(self, topics: Sequence[str], groups: Sequence[str]) -> None:
        pairs = set(product(topics, groups))
        for topic in topics:
            subject_of(self._settings.prefix, topic)
        for topic, group in pairs:
            consumer_of(group, topic)

        async def work(line: Line) -> None:
            self._pairs |= pairs
            await self._make(line, pairs)

        await self._do(work)

    async def publish(self, events: Sequence[Event]) -> None:
        if not events:
            return

        async def work(line: Line) -> None:
            messages = [self._message(event) for event in events]
            self._check_sizes(events, messages)
            await asyncio.sleep(max(0.0, self._settled_at - time.monotonic()))
            before = self._confirmed
            documents = [answer.document() for answer in await line.ask(messages)]
            numbers = [document["seq"] for document in documents if not document.get("duplicate")]
            if numbers and min(numbers) <= before:  # another has made it again, and what is here may have had no group
                raise MissingError("the stream is a new one")
            self._confirmed = max([self._confirmed, *numbers])

        await self._do(work)

    def subscribe(self, topics: Sequence[str], group: str) -> AbstractAsyncContextManager[Receiver]:
        """A group that is not there (any more) is made: nobody is left to do it after a server has lost its disk."""
        return self._subscribed(list(dict.fromkeys(topics)), group)

    @asynccontextmanager
    async def _subscribed(self, topics: Sequence[str], group: str) -> AsyncIterator[Receiver]:
        await self.ensure(topics, [group])
        consumers = [consumer_of(group, topic) for topic in topics]
        receiver = NatsReceiver(self._settings, self._connection, consumers, whole=self._whole_line, doubt=self._doubt)
        renewing = asyncio.create_task(receiver.renew(), name=f"hold deliveries of {group}")
        try:
            yield receiver
        finally:
            renewing.cancel()
            await receiver.close()

    async def depth(self, group: str) -> int:
        waiting = await self._do(lambda line: self._stream.waiting(line, group))
        return sum(one.ahead + one.held for one in waiting)

    async def peek(self, group: str, most: int) -> Sequence[Event]:
        """Those that were not delivered yet. What cannot be decoded is left out; receiving it tells why."""

        async def work(line: Line) -> list[tuple[int, bytes]]:
            found: list[tuple[int, bytes]] = []
            for waiting in await self._stream.waiting(line, group):
                found += await self._stream.read(line, waiting, most)
            return sorted(found)

        return [event for _, raw in (await self._do(work))[:most] if (event := _decoded(raw)) is not None]

    def _message(self, event: Event) -> Request:
        # A stream that was made again may have confirmed it to nobody: its next publication is not a repetition.
        number = f"{event.id}@{self._known}"
        return Request(subject_of(self._settings.prefix, event.type), codec.encode(event), {"Nats-Msg-Id": number})

    def _check_sizes(self, events: Sequence[Event], messages: Sequence[Request]) -> None:
        most = self.guarantees.event_limit
        for event, message in zip(events, messages, strict=True):
            if len(message.payload) > most:
                raise InvalidError(
                    f"the event {event.id} has {len(message.payload)} bytes, and the NATS server takes {most}: put its "
                    "data into a file, or raise the server's max_payload"
                )

    # ---- what must be there -----------------------------------------------------------------------------------

    async def _do(self, work: Callable[[Line], Awaitable[T]]) -> T:
        """Does it where stream and consumers are; what proves to be missing is made again once."""
        try:
            return await work(await self._whole_line())
        except MissingError:
            self._doubt()
            return await work(await self._whole_line())

    async def _whole_line(self) -> Line:
        line = await self._connection.line()
        self._message_most = line.message_most
        if self._whole_on is not line:
            async with self._making:
                if self._whole_on is not line:
                    await self._make(line, self._pairs)
                    self._whole_on = line
        return line

    async def _make(self, line: Line, pairs: Collection[tuple[str, str]]) -> None:
        made = await self._stream.make(line)
        lost = self._known not in ("", made.created)
        self._known = made.created
        if lost:
            self._doubt()  # until all is there
            self._confirmed = 0
            pairs = self._pairs
            self._settled_at = time.monotonic() + max(0.0, SETTLE_S - made.age_s)
            log.warning(
                "NATS had lost the stream %s, with what groups had not yet received; it is made again, and %d "
                "subscriptions from here: publish again what the ledger holds by `ion bus replay`",
                self._stream.name,
                len(pairs),
            )
        await self._stream.subscribe(line, pairs)

    def _doubt(self) -> None:
        self._whole_on = None


def _decoded(raw: bytes) -> Event | None:
    try:
        return codec.decode(raw)
    except InvalidError:
        return None
