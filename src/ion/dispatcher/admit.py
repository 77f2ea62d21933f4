"""Admission: an event becomes one waiting job for each module that wants it.

The same event gives the same jobs, whoever admits it: the relay at the source, or a dispatcher that receives it from a
bus. A delivery is acknowledged only after its admission is durable (R1); a second one admits nothing (R2).
"""

import asyncio
import functools
import hashlib
import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

import msgspec

from ion.dispatcher.backoff import Backoff, persist
from ion.errors import ExistsError, InvalidError, NotFoundError, UnavailableError
from ion.messaging.filters import compile_filters
from ion.messaging.spilled import restored
from ion.model.event import Event, utc_now
from ion.model.ids import foreign_event_id, job_id
from ion.model.job import Failure, FailureClass, Hold, Job, State
from ion.model.module import Module, Subscription
from ion.ports.blobs import Blobs
from ion.ports.bus import Bus, Delivery, Receiver
from ion.ports.ledger import Ledger, Subscriber

log = logging.getLogger(__name__)

RECEIVE_MOST = 500
"""Some buses need as long for the acknowledgement of many as of few: Service Bus 0.2 s."""
RECEIVE_WAIT_S = 30.0


def jobs_for(event: Event, subscribers: Iterable[Subscriber], *, max_hops: int, seen: Event | None = None) -> list[Job]:
    """The jobs that an event starts; one a module, though several of its subscriptions may want the event.

    `seen` is the event as filters are to see it, where its data lies in a blob; see `as_seen`.
    """
    wanted = dict.fromkeys(s.module for s in subscribers if _passes(s.subscription, seen or event))
    hold = Hold.HOPS if event.hops >= max_hops else None
    return [Job(id=job_id(event.id, module), module=module, event=event, hold=hold) for module in wanted]


async def as_seen(event: Event, subscribers: Iterable[Subscriber], blobs: Blobs) -> Event:
    """The event for filters to look at: with its data if any of them may ask for it."""
    return await restored(event, blobs) if any(s.subscription.filters for s in subscribers) else event


def _passes(subscription: Subscription, event: Event) -> bool:
    if not subscription.filters:
        return True
    return _compiled(msgspec.json.encode(subscription.filters))(event)


@functools.lru_cache(maxsize=1024)
def _compiled(filters: bytes) -> Callable[[Event], bool]:
    compiled: Callable[[Event], bool] = compile_filters(msgspec.json.decode(filters))
    return compiled


class Admission:
    """Receives one module's deliveries from a bus and admits them."""

    def __init__(self, bus: Bus, ledger: Ledger, blobs: Blobs, module: Module, *, max_hops: int) -> None:
        self._bus = bus
        self._ledger = ledger
        self._blobs = blobs
        self._module = module
        self._max_hops = max_hops

    async def run(self) -> None:
        """Until cancelled. A bus that goes away is waited for; in one that lost its disk the group is made again."""
        backoff = Backoff(f"receiving for module {self._module.name}")
        topics = sorted({s.type for s in self._module.on})
        lost = False
        while True:
            try:
                if lost:
                    await self._bus.ensure(topics, [self._module.group])
                    lost = False
                async with self._bus.subscribe(topics, self._module.group) as receiver:
                    while True:
                        await self._take(receiver)
                        backoff.fine()
            except UnavailableError as error:
                await backoff.wait(error)
            except NotFoundError as error:
                lost = True
                await backoff.wait(error)

    async def _take(self, receiver: Receiver) -> None:
        deliveries = await receiver.receive(RECEIVE_MOST, RECEIVE_WAIT_S)
        if not deliveries:
            return
        # Nothing more is received while the ledger is away.
        await persist(lambda: self._admit(deliveries), f"admitting events for module {self._module.name}")
        await receiver.ack(deliveries)

    async def _admit(self, deliveries: Sequence[Delivery]) -> None:
        subscribers = [Subscriber(module=self._module.name, subscription=s) for s in self._module.on]
        jobs: list[Job] = []
        for delivery in deliveries:
            if delivery.event is None:
                jobs.append(await self._poisoned(delivery))
            else:
                event = delivery.event
                wanted = [s for s in subscribers if s.subscription.type == event.type]
                jobs.extend(await self._judged(event, wanted))
        await self._ledger.admit(jobs)

    async def _judged(self, event: Event, wanted: Sequence[Subscriber]) -> list[Job]:
        """The event's jobs; a dead one where its data is not to be had, so that filters cannot judge it."""
        try:
            seen = await as_seen(event, wanted, self._blobs)
        except InvalidError as error:
            failure = Failure(kind=FailureClass.CONTRACT, message=str(error))
            job = job_id(event.id, self._module.name)
            return [Job(id=job, module=self._module.name, event=event, state=State.DEAD, failure=failure)]
        return jobs_for(event, wanted, max_hops=self._max_hops, seen=seen)

    async def _poisoned(self, delivery: Delivery) -> Job:
        """A message that cannot be decoded becomes a dead job, its bytes a blob: kept for a person to look at."""
        digest = hashlib.sha256(delivery.raw).hexdigest()
        event_id = foreign_event_id(f"ion:undecodable/{self._module.group}", digest)
        job = job_id(event_id, self._module.name)
        blob = f"{job}/0/undecodable/message"
        with suppress(ExistsError):  # delivered before, here or elsewhere
            await self._blobs.put_bytes(blob, delivery.raw)
        event = Event(
            id=event_id,
            type="ion.undecodable",
            source=f"ion:undecodable/{self._module.group}",
            correlation_id=event_id,
            parent_id="",
            time=utc_now(),
            subject=blob,
        )
        failure = Failure(kind=FailureClass.CONTRACT, message=delivery.fault)
        log.error(
            "module %s: an event cannot be decoded (%s); kept as dead job %s", self._module.name, delivery.fault, job
        )
        return Job(id=job, module=self._module.name, event=event, state=State.DEAD, failure=failure)


class Admissions:
    """One `Admission` for each module of the registry, as modules come and go."""

    def __init__(self, bus: Bus, ledger: Ledger, blobs: Blobs, *, max_hops: int) -> None:
        self._bus, self._ledger, self._blobs, self._max_hops = bus, ledger, blobs, max_hops
        self._tasks: dict[str, tuple[Module, asyncio.Task[None]]] = {}

    async def follow(self, modules: Iterable[Module], group: asyncio.TaskGroup) -> None:
        """Receives for exactly these modules from now on."""
        wanted = {m.group: m for m in modules if m.on}
        for name, (module, task) in list(self._tasks.items()):
            if wanted.get(name) != module:
                task.cancel()
                del self._tasks[name]
        for name, module in wanted.items():
            if name not in self._tasks:
                admission = Admission(self._bus, self._ledger, self._blobs, module, max_hops=self._max_hops)
                self._tasks[name] = module, group.create_task(admission.run(), name=f"admit {module.name}")
