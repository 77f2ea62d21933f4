"""What the bus on RabbitMQ keeps of its promises while the broker, the line or a process dies."""

import asyncio
import logging
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress

import pytest
from tests.buses.proxy import Proxy
from tests.buses.rabbit import Broker, opened

from ion.adapters.bus.rabbitmq import RabbitBus, open_rabbit
from ion.errors import UnavailableError
from ion.model import ids
from ion.ports.bus import Bus, Delivery
from ion.testing.conformance.bus_harness import ids_of, made
from ion.testing.conformance.elsewhere import running

PATIENCE_S = 240.0
_RELEASE_ELSEWHERE = """
import asyncio
from ion.adapters.bus.rabbitmq import open_rabbit
from ion.adapters.bus.rabbitmq_settings import RabbitSettings

async def main():
    async with open_rabbit(RabbitSettings(port={port})) as bus, bus.subscribe([{topic!r}], {group!r}) as receiver:
        held = await receiver.receive(2, 60.0)
        while len(held) < 2:
            held = [*held, *await receiver.receive(1, 60.0)]
        await receiver.release(held[:1], {after_s})
        print("released", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker that may be killed."""
    broker = opened(tmp_path_factory.mktemp("mortal"))
    yield broker
    broker.close()


class Load:
    """Publishes and receives without a pause, in spite of all failures, and remembers what was confirmed and what came.

    What came is remembered before it is acknowledged, as an admission does: an acknowledgement whose answer was lost
    with the line may have been taken, and then the event does not come again. Each event has two groups; the second one
    is emptied at the end.
    """

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.topic = f"topic.{ids.new_id()}"
        self.groups = [f"one-{self.topic}", f"two-{self.topic}"]
        self.confirmed: list[str] = []
        self.came: set[str] = set()
        self.failures = 0

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        await self.bus.ensure([self.topic], self.groups)
        async with asyncio.TaskGroup() as tasks:
            publishing = tasks.create_task(self._publish())
            receiving = tasks.create_task(self._receive())
            yield
            publishing.cancel()
            await asyncio.wait([publishing])
            await self.until(lambda: self.came >= set(self.confirmed))
            receiving.cancel()
        await self.drain(self.groups[1], set(self.confirmed))

    async def flows(self) -> float:
        """Until what is published from now on is confirmed and has come; tells the seconds that took."""
        started_s, count = time.monotonic(), len(self.confirmed)
        await self.until(lambda: len(self.confirmed) > count + 20)
        last = self.confirmed[-1]
        await self.until(lambda: last in self.came)
        return time.monotonic() - started_s

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not holds():  # noqa: ASYNC110  nobody tells
                await asyncio.sleep(0.01)

    async def drain(self, group: str, missing: set[str]) -> None:
        """Until all of these have come."""
        async with self.bus.subscribe([self.topic], group) as receiver:
            while missing:
                deliveries = await receiver.receive(500, PATIENCE_S)
                assert deliveries, f"{len(missing)} were confirmed and do not come"
                missing -= set(ids_of(deliveries))
                await receiver.ack(deliveries)

    async def _publish(self) -> None:
        while True:
            events = [made(self.topic) for _ in range(20)]
            while True:
                try:
                    await self.bus.publish(events)
                    break
                except UnavailableError:
                    self.failures += 1
                    await asyncio.sleep(0.1)
            self.confirmed += [event.id for event in events]
            await asyncio.sleep(0)

    async def _receive(self) -> None:
        while True:
            with suppress(UnavailableError):
                async with self.bus.subscribe([self.topic], self.groups[0]) as receiver:
                    while True:
                        deliveries = await receiver.receive(50, 30.0)
                        self.came |= set(ids_of(deliveries))
                        await receiver.ack(deliveries)
            await asyncio.sleep(0.1)


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_killed_broker_loses_nothing_that_was_confirmed(
    mortal: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    """Killed under load and started again: all that was confirmed comes to both groups; the log has two lines."""
    async with open_rabbit(mortal.settings(timeout_s=60.0)) as bus:
        load = Load(bus)
        async with load.run():
            await load.flows()
            mortal.kill()
            await load.until(lambda: load.failures > 3)
            await asyncio.to_thread(mortal.start)
            print("flows again after", await load.flows())
        away, again = told(caplog)
        assert "is away" in away
        assert "works again" in again


async def test_a_cut_line_loses_nothing(mortal: Broker, caplog: pytest.LogCaptureFixture) -> None:
    """Cut under load again and again, while connecting too."""
    async with Proxy(mortal.port) as proxy, open_rabbit(mortal.settings(port=proxy.port, timeout_s=60.0)) as bus:
        load = Load(bus)
        async with load.run():
            for cut_s in (0.0, 0.05, 0.3, 1.0):
                await load.flows()
                failures = load.failures
                proxy.cut()
                await load.until(lambda failures=failures: load.failures > failures)  # type: ignore[misc]
                await asyncio.sleep(cut_s)
                proxy.mend()
            await load.flows()
    assert sum("is away" in line for line in told(caplog)) == sum("works again" in line for line in told(caplog)) >= 4


async def test_a_stalled_line_ends_in_an_error_and_loses_nothing(mortal: Broker) -> None:
    """Nothing passes and nothing is closed: publishing gives up after the time-out, and goes on when the line does."""
    hasty = {"timeout_s": 3.0, "heartbeat_s": 1}
    async with Proxy(mortal.port) as proxy, open_rabbit(mortal.settings(port=proxy.port, **hasty)) as bus:
        load = Load(bus)
        async with load.run():
            await load.flows()
            proxy.stall()
            await load.until(lambda: load.failures > 1)
            await asyncio.sleep(8.0)  # past the heartbeats of both sides
            proxy.resume()
            await load.flows()


async def test_a_channel_that_the_broker_closes_is_opened_again(mortal: Broker) -> None:
    """An exchange deleted by hand ends the publishing channel, a bad request the receiving one; both go on."""
    async with RabbitBus(mortal.settings()) as bus:
        load = Load(bus)
        async with load.run():
            await load.flows()
            async with bus._receiving.brief("deleting") as channel:
                await channel.exchange_delete("ion.events")
            await load.until(lambda: load.failures > 0)
            await load.flows()
        topic, group = f"topic.{ids.new_id()}", f"group-{ids.new_id()}"
        await bus.ensure([topic], [group])
        await bus.publish([event := made(topic)])
        async with bus.subscribe([topic], group) as receiver:
            held = await receiver.receive(1, PATIENCE_S)
            consumer = held[0].token.consumer
            await consumer._channel.basic_ack(4711, wait=False)
            again = await receiver.receive(1, PATIENCE_S)
            assert ids_of(again) == [event.id]
            assert again[0].tries == 2
            await receiver.ack(held)  # of the channel that is gone: does nothing
            await receiver.ack(again)
            assert await receiver.receive(1, 0.5) == ()


async def test_a_queue_deleted_under_its_receiver_is_made_again(mortal: Broker) -> None:
    """What it held is gone from the bus, not from the ledger; what comes afterwards is delivered."""
    topic, group = f"topic.{ids.new_id()}", f"group-{ids.new_id()}"
    async with RabbitBus(mortal.settings()) as bus:
        await bus.ensure([topic], [group])
        async with bus.subscribe([topic], group) as receiver:
            assert await receiver.receive(1, 0.1) == ()
            async with bus._receiving.brief("deleting") as channel:
                await channel.queue_delete(f"ion.{group}")
            with pytest.raises(UnavailableError, match="lost the groups"):
                await bus.publish([event := made(topic)])
            await bus.publish([event])
            assert ids_of(await receiver.receive(1, PATIENCE_S)) == [event.id]


async def test_a_broker_that_comes_back_empty_has_its_groups_again(mortal: Broker) -> None:
    """Restored without its disk: what publishing finds missing is made again before anything is confirmed."""
    topic, group = f"topic.{ids.new_id()}", f"group-{ids.new_id()}"
    async with open_rabbit(mortal.settings()) as bus:
        await bus.ensure([topic], [group])
        mortal.kill()
        shutil.rmtree(mortal.folder / "mnesia")
        await asyncio.to_thread(mortal.start)
        event, refused = made(topic), 0
        while True:
            try:
                await bus.publish([event])
                break
            except UnavailableError:
                refused += 1
        assert 1 <= refused <= 3
        async with bus.subscribe([topic], group) as receiver:
            assert event.id in ids_of(await receiver.receive(9, PATIENCE_S))


async def test_a_delay_outlives_its_process_and_its_broker(mortal: Broker) -> None:
    """Both are killed after the release: the event comes, and no sooner than asked; what was held comes as well."""
    topic, group, after_s = f"topic.{ids.new_id()}", f"group-{ids.new_id()}", 12.0
    events = [made(topic), made(topic)]
    async with open_rabbit(mortal.settings()) as bus:
        await bus.ensure([topic], [group])
        await bus.publish(events)
        program = _RELEASE_ELSEWHERE.format(port=mortal.port, topic=topic, group=group, after_s=after_s)
        async with running(program) as output:
            assert await output.readline() == b"released\n"
            released_s = time.monotonic()
        mortal.kill()
        await asyncio.to_thread(mortal.start)
    async with open_rabbit(mortal.settings()) as bus, bus.subscribe([topic], group) as receiver:
        came: list[tuple[float, Delivery]] = []
        while len(came) < 2:
            deliveries = await receiver.receive(2, PATIENCE_S)
            assert deliveries
            came += [(time.monotonic() - released_s, one) for one in deliveries]
            await receiver.ack(deliveries)
    times = {one.event.id: (came_s, one.tries) for came_s, one in came if one.event}
    assert times.keys() == {event.id for event in events}
    came_s, tries = times[events[0].id]
    assert came_s >= after_s - 0.1
    assert tries == 2


async def test_an_alarm_of_the_broker_holds_publishing_and_not_receiving(mortal: Broker) -> None:
    """Without memory it takes no event, which is told within the time-out; acknowledgements pass, and it recovers."""
    topic, group = f"topic.{ids.new_id()}", f"group-{ids.new_id()}"
    async with (
        open_rabbit(mortal.settings(timeout_s=60.0)) as bus,
        open_rabbit(mortal.settings(timeout_s=10.0)) as hasty,
    ):
        await bus.ensure([topic], [group])
        events = [made(topic) for _ in range(10)]
        await bus.publish(events)
        await asyncio.to_thread(mortal.control, "set_vm_memory_high_watermark", "0.00001")
        try:
            with pytest.raises(UnavailableError, match="lacks memory"):
                await hasty.publish([late := made(topic)])
            async with bus.subscribe([topic], group) as receiver:
                held: list[Delivery] = []
                while len(held) < 10:
                    held += await receiver.receive(10, PATIENCE_S)
                assert ids_of(held) == [event.id for event in events]
                await receiver.ack(held)
        finally:
            await asyncio.to_thread(mortal.control, "set_vm_memory_high_watermark", "0.4")
        async with asyncio.timeout(PATIENCE_S):
            await bus.publish([late])
        async with bus.subscribe([topic], group) as receiver:
            assert late.id in ids_of(await receiver.receive(10, PATIENCE_S))
