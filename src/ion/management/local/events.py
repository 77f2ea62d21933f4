"""Verbs on events, done here."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from ion.errors import InvalidError, NotFoundError, UnavailableError
from ion.management.events import Raised, RootEvent, raise_event, require_hearer
from ion.management.local.site import Site, within
from ion.management.verbs.events import EventVerbs, Files, NewEvent
from ion.messaging import codec

log = logging.getLogger(__name__)

PEEKED = 100
"""So many events are looked at to find one of the type."""
LOOK_AGAIN_S = 0.2
WAIT_MOST_S = 86_400.0


class LocalEvents(EventVerbs):
    def __init__(self, site: Site) -> None:
        self._stores = site.stores

    async def create(self, *, event: NewEvent, files: Files = ()) -> Raised:
        if not event.force:
            await require_hearer(event.type, self._stores.ledger)
        root = RootEvent(
            type=event.type,
            data=event.data,
            files=tuple(await files() if callable(files) else files),
            subject=event.subject,
            id=event.id,
            correlation_id=event.correlation_id,
            parent_id=event.parent_id,
            time=event.time,
            traceparent=event.traceparent,
        )
        return await raise_event(root, gateway=event.gateway, ledger=self._stores.ledger, blobs=self._stores.blobs)

    async def next(self, *, event_type: str, group: str, timeout_s: float = 5.0, take: bool) -> AsyncIterator[bytes]:
        within("the seconds to wait", timeout_s, 0, WAIT_MOST_S)
        if not codec.valid_type(event_type) or not group:
            raise InvalidError("give the type of the events and the name of a subscription")
        found = False
        async with aclosing((self._take if take else self._look)(event_type, group, timeout_s)) as events:
            async for event in events:
                found = True
                yield event
        if not found:
            within_it = f"{timeout_s:g}s" if timeout_s >= 1 else f"{timeout_s * 1000:g}ms"
            raise NotFoundError(
                f"no event of type '{event_type}' came for the subscription '{group}' within {within_it}; wait longer?"
            )

    async def _look(self, event_type: str, group: str, timeout_s: float) -> AsyncGenerator[bytes]:
        bus, clock = self._stores.bus, asyncio.get_running_loop().time
        deadline = clock() + timeout_s
        if bus.guarantees.peeks:  # else it would gather events that nobody takes
            await bus.ensure([event_type], [group])
        while True:
            if found := [one for one in await bus.peek(group, PEEKED) if one.type == event_type]:
                yield codec.encode(found[0])
                return
            if clock() >= deadline:
                return
            await asyncio.sleep(LOOK_AGAIN_S)

    async def _take(self, event_type: str, group: str, timeout_s: float) -> AsyncGenerator[bytes]:
        bus = self._stores.bus
        await bus.ensure([event_type], [group])
        async with bus.subscribe([event_type], group) as receiver:
            deliveries = await receiver.receive(1, timeout_s)
            if not deliveries:
                return
            yield bytes(deliveries[0].raw)
            try:
                await receiver.ack(deliveries)
            except UnavailableError as error:  # it may have been taken: rather given twice than never
                log.warning("the event may come again: %s", error)
