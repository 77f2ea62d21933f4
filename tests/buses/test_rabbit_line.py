"""What the bus on RabbitMQ makes of a line that hangs, or ends in an awkward moment.

Where a test hangs a line, heartbeats are far apart, so that only what the test does can tell.
"""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from tests.buses.proxy import Proxy
from tests.buses.rabbit import Broker

from ion.adapters.bus import rabbitmq_topology
from ion.adapters.bus.rabbitmq import RabbitBus, open_rabbit
from ion.adapters.bus.rabbitmq_link import translated
from ion.adapters.bus.rabbitmq_receiver import Consumer, RabbitReceiver
from ion.adapters.bus.rabbitmq_settings import RabbitSettings
from ion.errors import UnavailableError
from ion.model import ids
from ion.ports.bus import Bus
from ion.testing.conformance.bus_harness import ids_of, made

PATIENCE_S = 180.0
SLOW_BEATS = {"timeout_s": 8.0, "heartbeat_s": 60}


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody kills this broker, so that a new queue need not be waited for."""
    monkeypatch.setattr(rabbitmq_topology, "SETTLE_S", 0.0)


@pytest.fixture
def names() -> tuple[str, str]:
    return f"topic.{ids.new_id()}", f"group-{ids.new_id()}"


@pytest.fixture
async def proxy(broker: Broker) -> AsyncIterator[Proxy]:
    async with Proxy(broker.port) as proxy:
        yield proxy


@pytest.fixture
async def sound(broker: Broker, names: tuple[str, str]) -> AsyncIterator[RabbitBus]:
    """A bus whose line holds, with topic and group made."""
    async with RabbitBus(broker.settings()) as bus:
        await bus.ensure([names[0]], [names[1]])
        yield bus


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110  nobody tells
            await asyncio.sleep(0.01)


async def test_an_acknowledgement_without_an_answer_may_have_been_taken(
    broker: Broker, proxy: Proxy, sound: Bus, names: tuple[str, str]
) -> None:
    """It is told as a failure, and the event does not come again: whoever acknowledges has done with it before."""
    topic, group = names
    async with open_rabbit(broker.settings(port=proxy.port, **SLOW_BEATS)) as bus:
        await sound.publish([made(topic)])
        async with bus.subscribe([topic], group) as receiver:
            held = await receiver.receive(1, PATIENCE_S)
            proxy.hold_answers()
            with pytest.raises(UnavailableError, match="while acknowledging"):
                await receiver.ack(held)
            proxy.resume()
    await sound.publish([event := made(topic)])
    async with sound.subscribe([topic], group) as receiver:
        assert ids_of(await receiver.receive(2, PATIENCE_S)) == [event.id]


async def test_a_line_that_was_given_up_is_not_used_again(
    broker: Broker, proxy: Proxy, sound: Bus, names: tuple[str, str]
) -> None:
    """Closing it may take long. The next publication has a new one at once, and so has a receiver that waits, as soon
    as somebody else's request is not answered.
    """
    topic, group = names
    settings = broker.settings(port=proxy.port, **SLOW_BEATS)
    async with open_rabbit(settings) as bus, bus.subscribe([topic], group) as receiver:
        await bus.publish([made(topic)])
        held = await receiver.receive(1, PATIENCE_S)
        waiting = asyncio.create_task(receiver.receive(1, 2 * PATIENCE_S))
        proxy.strand()
        with pytest.raises(UnavailableError, match="did not answer"):
            await bus.publish([made(topic)])
        await bus.publish([made(topic)])
        with pytest.raises(UnavailableError, match="did not answer"):
            await bus.depth(group)
        await receiver.ack(held)  # of the line that was given up: does nothing
        async with asyncio.timeout(PATIENCE_S):
            while not waiting.done():  # the broker, which sees no end of the former line, gives that one its share
                await sound.publish([made(topic)])
                await asyncio.sleep(0.05)
        assert await waiting


async def test_a_slow_line_is_not_given_up(
    broker: Broker, proxy: Proxy, sound: Bus, names: tuple[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """The time-out is for each confirmation; a whole publication may take longer, also behind others."""
    topic, group = names
    async with open_rabbit(broker.settings(port=proxy.port, publish_window=6, timeout_s=3.0)) as bus:
        await bus.publish([made(topic)])
        proxy.slow(400_000)
        await asyncio.gather(*(bus.publish([made(topic, data="x" * 200_000) for _ in range(6)]) for _ in range(2)))
    assert await sound.depth(group) == 13
    assert not caplog.records


async def test_a_request_of_a_former_line_does_not_end_the_new_one(broker: Broker, proxy: Proxy) -> None:
    """Two that wait for the same dead line give up one after the other; only the first one costs a connection."""
    settings = broker.settings(port=proxy.port, **SLOW_BEATS | {"timeout_s": 1.5})  # before the client is done closing
    async with RabbitBus(settings) as bus:
        await bus.ensure([], [])
        link = bus._receiving
        proxy.strand()
        late = asyncio.create_task(bus.ensure([], []))
        await asyncio.sleep(0)
        link.drop("noticed by another")
        async with link.bounded("connecting"):
            channel = await link.channel()
        with pytest.raises(UnavailableError):
            await late
        assert link.serves(channel)


async def test_an_idle_receiver_notices_a_line_that_hangs(
    broker: Broker, proxy: Proxy, sound: Bus, names: tuple[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """By the heartbeats that do not come, while it waits; what is published then comes over the next line."""
    topic, group = names
    settings = broker.settings(port=proxy.port, heartbeat_s=1)
    async with open_rabbit(settings) as bus, bus.subscribe([topic], group) as receiver:
        assert await receiver.receive(1, 0.0) == ()
        waiting = asyncio.create_task(receiver.receive(1, PATIENCE_S))
        proxy.strand()
        await until(lambda: any("is away (receiving" in record.getMessage() for record in caplog.records))
        await sound.publish([event := made(topic)])
        assert ids_of(await waiting) == [event.id]


class Unlucky(RabbitReceiver):
    """Its first consumer is ended by the broker just when it begins."""

    lucky = False

    async def _consume(self) -> tuple[Consumer, int]:
        consumer, ready = await super()._consume()
        if not self.lucky:
            await consumer._channel.close()
            await asyncio.sleep(0.1)  # until all that hear of it have heard
            self.lucky = True
        return consumer, ready


async def test_a_consumer_that_ends_as_it_begins_is_followed_by_another(
    sound: RabbitBus, names: tuple[str, str]
) -> None:
    """In the same `receive`: it does not sit out its time with a consumer to which nothing comes."""
    topic, group = names
    parts = (sound._settings, sound._receiving, sound._publisher, sound._topology)
    receiver = Unlucky(*parts, topics=[topic], group=group)
    waiting = asyncio.create_task(receiver.receive(1, 10 * PATIENCE_S))
    await until(lambda: receiver.lucky)
    await sound.publish([event := made(topic)])
    async with asyncio.timeout(PATIENCE_S):
        assert ids_of(await waiting) == [event.id]
    await receiver.close()


def lines() -> int:
    """How many connections this process reads from."""
    return sum("Connection.__reader" in repr(task.get_coro()) for task in asyncio.all_tasks())


async def test_a_connection_whose_opening_is_cancelled_is_closed(broker: Broker) -> None:
    """Also in the moment in which it is open and nobody has it yet; it would stay until the process ends."""
    async with RabbitBus(broker.settings()) as bus:
        for turns in range(6):
            opening = asyncio.create_task(bus.ensure([], []))
            while not lines():  # noqa: ASYNC110  in the very turn
                await asyncio.sleep(0)
            for _ in range(turns):
                await asyncio.sleep(0)
            opening.cancel()
            await asyncio.wait([opening])
            await bus._receiving.close()
            assert lines() == 0


async def test_a_cancellation_is_not_lost_behind_the_clients_error(broker: Broker) -> None:
    """A task is cancelled while its connection dies, of which the client tells; it ends."""
    begun = asyncio.Event()

    async def work(settings: RabbitSettings) -> None:
        with translated(settings, "working"):
            begun.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError as error:
                raise ConnectionResetError("reset") from error

    task = asyncio.create_task(work(broker.settings()))
    await begun.wait()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
