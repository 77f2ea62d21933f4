"""The bus on Azure Service Bus when its broker dies or is busy, its line is cut or stalls, its consumers are killed."""

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.buses.proxy import Proxy
from tests.buses.servicebus_double.process import Double
from tests.buses.test_servicebus import settings_for
from tests.leftovers import LEAVES, collected

from ion.adapters.bus.servicebus import open_servicebus
from ion.errors import UnavailableError
from ion.model.event import Event
from ion.ports.bus import Bus, Delivery, Receiver
from ion.testing.conformance.bus_harness import ids_of, made
from ion.testing.conformance.elsewhere import running

__all__ = ["collected"]

pytestmark = LEAVES

GROUP = "detect"
QUICK = {"answer_s": 5.0, "probe_s": 1.0}
_HOLD_ELSEWHERE = """
import asyncio

from ion.adapters.bus.servicebus import ServiceBusSettings, open_servicebus

async def main():
    settings = ServiceBusSettings(**{fields!r})
    async with open_servicebus(settings) as bus, bus.subscribe([{topic!r}], {group!r}) as receiver:
        taken = []
        while len(taken) < 50:
            taken += await receiver.receive(50 - len(taken), 5.0)
        await receiver.ack(taken[:20])
        print(*(one.event.id for one in taken[:20]), flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
def double(tmp_path: Path) -> Iterator[Double]:
    """One of its own, that may be killed."""
    double = Double(tmp_path)
    double.start()
    yield double
    double.kill()


@pytest.fixture
async def proxy(double: Double) -> AsyncIterator[Proxy]:
    async with Proxy(double.port) as proxy:
        yield proxy


@pytest.fixture
def topic() -> str:
    return f"photo.{uuid.uuid4().hex}"


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """What was logged; its tracebacks hold connections."""
    caplog.set_level(logging.INFO, "ion")
    yield caplog
    caplog.get_records("call").clear()


async def persist(bus: Bus, events: list[Event]) -> None:
    """Publishes again until it is confirmed, as the relay does."""
    while True:
        try:
            return await bus.publish(events)
        except UnavailableError:
            await asyncio.sleep(0.2)


async def acknowledged(receiver: Receiver, missing: set[str]) -> None:
    """Receives until nothing is missing, as an admission does that survives failing acknowledgements."""
    while missing:
        deliveries = await receiver.receive(50, 2.0)
        with suppress(UnavailableError):
            await receiver.ack(deliveries)
        missing.difference_update(ids_of(deliveries))


async def received(receiver: Receiver, count: int) -> list[Delivery]:
    deliveries: list[Delivery] = []
    async with asyncio.timeout(180):
        while len(deliveries) < count:
            deliveries += await receiver.receive(count - len(deliveries), 2.0)
    return deliveries


async def test_a_broker_killed_under_load_loses_nothing(
    double: Double, topic: str, told: pytest.LogCaptureFixture
) -> None:
    """Killed twice while events are published and received, and started again: everything arrives."""
    batches = [[made(topic) for _ in range(20)] for _ in range(60)]
    missing = {event.id for batch in batches for event in batch}

    async def publish_all(bus: Bus) -> None:
        for batch in batches:
            await persist(bus, batch)
            await asyncio.sleep(0.02)

    async with open_servicebus(settings_for(double, **QUICK)) as bus:
        await bus.ensure([topic], [GROUP])
        async with bus.subscribe([topic], GROUP) as receiver, asyncio.timeout(600), asyncio.TaskGroup() as tasks:
            tasks.create_task(publish_all(bus))
            tasks.create_task(acknowledged(receiver, missing))
            for _ in range(2):
                await asyncio.sleep(0.7)
                double.kill()
                await asyncio.sleep(1.0)
                double.start()
    assert not missing


async def test_an_outage_is_told_once(double: Double, topic: str, told: pytest.LogCaptureFixture) -> None:
    """One line when the broker goes, one when it is back, however many wait for it."""
    topics = [topic, f"{topic}.other"]
    async with open_servicebus(settings_for(double, answer_s=10.0, probe_s=1.0)) as bus:
        await bus.ensure(topics, [GROUP])
        async with bus.subscribe(topics, GROUP) as receiver:
            assert list(await receiver.receive(1, 0.0)) == []
            double.kill()
            assert list(await receiver.receive(1, 5.0)) == []
            double.start()
            await persist(bus, [event := made(topic)])
            assert ids_of(await received(receiver, 1)) == [event.id]
            async with asyncio.timeout(180):
                while len(told.messages) < 2:
                    await receiver.receive(1, 0.5)
    gone, back = told.messages
    assert "is away and will be tried again" in gone
    assert "is back" in back


async def test_a_cut_line_is_opened_again(double: Double, proxy: Proxy, topic: str) -> None:
    """Publishing says that it failed; what was held before can be acknowledged after, if its lock still holds."""
    settings = settings_for(double, connection_string=double.connection_string(port=proxy.port), lock_s=60.0, **QUICK)
    async with open_servicebus(settings) as bus:
        await bus.ensure([topic], [GROUP])
        await bus.publish([made(topic)])
        async with bus.subscribe([topic], GROUP) as receiver:
            held = await received(receiver, 1)
            proxy.cut()
            with pytest.raises(UnavailableError, match="sending to the topic"):
                await bus.publish([made(topic)])
            proxy.mend()
            await persist(bus, [event := made(topic)])
            while not (again := await receiver.receive(1, 2.0)):
                pass
            assert event.id in ids_of(again)
            await receiver.ack([*held, *again])
            assert await bus.depth(GROUP) == 0


async def test_a_stalled_line_is_noticed(
    double: Double, proxy: Proxy, topic: str, told: pytest.LogCaptureFixture
) -> None:
    """Nothing comes and nothing breaks: publishing and the waiting receiver find out, and go on when it moves."""
    settings = settings_for(double, connection_string=double.connection_string(port=proxy.port), **QUICK)
    async with open_servicebus(settings) as bus:
        await bus.ensure([topic], [GROUP])
        await bus.publish([made(topic)])
        async with bus.subscribe([topic], GROUP) as receiver:
            await receiver.ack(await received(receiver, 1))
            proxy.stall()
            async with asyncio.timeout(180):
                with pytest.raises(UnavailableError, match="sending to the topic"):
                    await bus.publish([made(topic)])
            async with asyncio.timeout(180):
                while not any("is away" in message for message in told.messages):
                    assert list(await receiver.receive(1, 10.0)) == []
            proxy.resume()
            await persist(bus, [event := made(topic)])
            missing = {event.id}
            async with asyncio.timeout(180):
                await acknowledged(receiver, missing)


async def test_what_a_killed_consumer_held_comes_again(double: Double, topic: str) -> None:
    """Once its locks have expired; what it had acknowledged does not."""
    events = [made(topic) for _ in range(50)]
    settings = settings_for(double)
    fields = {name: getattr(settings, name) for name in settings.__struct_fields__}
    async with open_servicebus(settings) as bus:
        await bus.ensure([topic], [GROUP])
        await bus.publish(events)
        async with running(_HOLD_ELSEWHERE.format(fields=fields, topic=topic, group=GROUP)) as output:
            acked = (await output.readline()).decode().split()
        async with bus.subscribe([topic], GROUP) as receiver:
            again = await received(receiver, 30)
            assert set(ids_of(again)) == {event.id for event in events} - set(acked)
            assert {delivery.tries for delivery in again} == {2}
            await receiver.ack(again)
        assert await bus.depth(GROUP) == 0


async def test_locks_lost_in_an_outage_double_nothing_by_acknowledging(double: Double, topic: str) -> None:
    """The broker forgot them when it died: the events come again, and an old acknowledgement does not touch them."""
    async with open_servicebus(settings_for(double, **QUICK)) as bus:
        await bus.ensure([topic], [GROUP])
        await bus.publish([event := made(topic)])
        async with bus.subscribe([topic], GROUP) as receiver:
            old = await received(receiver, 1)
            double.kill()
            with pytest.raises(UnavailableError, match=r"settling messages .complete. of the subscription"):
                await receiver.ack(old)
            double.start()
            again = await received(receiver, 1)
            assert ids_of(again) == [event.id]
            await receiver.ack(old)
            assert await bus.depth(GROUP) == 1
            await receiver.ack(again)
            assert await bus.depth(GROUP) == 0


async def test_a_busy_broker_is_left_alone(double: Double, topic: str) -> None:
    """For as long as it asks; if it is busy still, publishing says so."""
    async with open_servicebus(settings_for(double, busy_s=1.0)) as bus:
        await bus.ensure([topic], [GROUP])
        await bus.publish([made(topic)])
        double.tell("busy 1")
        started_s = time.monotonic()
        await bus.publish([made(topic)])
        assert time.monotonic() - started_s >= 1.0
        double.tell("busy 100")
        with pytest.raises(UnavailableError, match="is busy and asks to be left alone"):
            await bus.publish([made(topic)])
        double.tell("busy 0")
        await bus.publish([made(topic)])
        assert await bus.depth(GROUP) == 3


async def test_refused_credentials_are_one_sentence(double: Double, topic: str) -> None:
    """When publishing, when receiving and when managing; once they are taken, all works."""
    async with open_servicebus(settings_for(double)) as bus:
        await bus.ensure([topic], [GROUP])
        double.tell("refuse")
        with pytest.raises(UnavailableError, match="refuses the credentials; check the connection string"):
            await bus.publish([made(topic)])
        with pytest.raises(UnavailableError, match="refuses the credentials"):
            async with bus.subscribe([topic], GROUP):
                pass
        with pytest.raises(UnavailableError, match="refuses the credentials"):
            await bus.depth(GROUP)
        double.tell("allow")
        await bus.publish([made(topic)])
        assert await bus.depth(GROUP) == 1
