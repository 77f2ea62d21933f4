"""The bus on a real RabbitMQ, against the suite of every adapter, and what it promises beyond it."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import msgspec
import pytest
from tests.buses.rabbit import Broker
from tests.ports import free_ports

from ion.adapters.bus import rabbitmq_topology
from ion.adapters.bus.rabbitmq import RabbitBus, open_rabbit
from ion.adapters.bus.rabbitmq_publisher import Outgoing
from ion.errors import ConflictError, InvalidError, NotFoundError, UnavailableError, UnsupportedError
from ion.messaging import codec
from ion.model import ids
from ion.model.event import Event
from ion.ports.bus import Bus, Delivery, Receiver
from ion.testing.conformance.bus import BusConformance
from ion.testing.conformance.bus_harness import ids_of, made

PATIENCE_S = 120.0


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody kills this broker, so that a new queue need not be waited for."""
    monkeypatch.setattr(rabbitmq_topology, "SETTLE_S", 0.0)


class TestRabbitBus(BusConformance):
    @pytest.fixture(autouse=True)
    def server(self, broker: Broker) -> None:
        self.broker = broker

    def open_bus(self) -> AbstractAsyncContextManager[Bus]:
        return open_rabbit(self.broker.settings())

    def elsewhere(self) -> str:
        return f"""
from ion.adapters.bus.rabbitmq import open_rabbit
from ion.adapters.bus.rabbitmq_settings import RabbitSettings

def open_bus():
    return open_rabbit(RabbitSettings(port={self.broker.port}))
"""


@pytest.fixture
def names() -> tuple[str, str]:
    return f"topic.{ids.new_id()}", f"group-{ids.new_id()}"


@pytest.fixture
async def bus(broker: Broker) -> AsyncIterator[RabbitBus]:
    async with RabbitBus(broker.settings()) as bus:
        yield bus


async def received(receiver: Receiver, count: int) -> list[Delivery]:
    deliveries: list[Delivery] = []
    while len(deliveries) < count:
        more = await receiver.receive(count - len(deliveries), PATIENCE_S)
        assert more
        deliveries += more
    return deliveries


async def fill(bus: Bus, event: Event) -> int:
    """A queue with a limit takes some events more before it refuses: how many."""
    for taken in range(20):
        try:
            await bus.publish([event])
        except UnavailableError as error:
            if "full" not in str(error):
                raise
            return taken
    pytest.fail("it is never full")


async def test_an_event_of_the_limits_size_is_carried(bus: RabbitBus, names: tuple[str, str]) -> None:
    """16 MiB by default, and a megabyte beside small ones."""
    topic, group = names
    room = bus.guarantees.event_limit - len(codec.encode(made(topic, data="")))
    events = [made(topic), made(topic, data="x" * 1024 * 1024), made(topic, data="x" * room), made(topic)]
    await bus.ensure([topic], [group])
    await bus.publish(events)
    async with bus.subscribe([topic], group) as receiver:
        assert [delivery.event for delivery in await received(receiver, 4)] == events


async def test_a_full_queue_refuses_what_is_new(broker: Broker, names: tuple[str, str]) -> None:
    """What waits there stays; once there is room the same publication succeeds."""
    topic, group = names
    async with open_rabbit(broker.settings(queue_limit=5)) as bus:
        assert not bus.guarantees.ordered
        await bus.ensure([topic], [group])
        first = [made(topic) for _ in range(6)]
        await bus.publish(first[:5])
        late = made(topic)
        more = await fill(bus, late)
        async with bus.subscribe([topic], group) as receiver:
            deliveries = await received(receiver, 5)
            assert ids_of(deliveries) == [event.id for event in first[:5]]
            await receiver.ack(deliveries)
            await receiver.ack(await received(receiver, more))
            await bus.publish([late])
            assert late.id in ids_of(await received(receiver, 1))


async def test_a_group_with_other_arguments_is_not_made_anew(broker: Broker, names: tuple[str, str]) -> None:
    """Nobody's queue changes because somebody's settings did."""
    topic, group = names
    async with open_rabbit(broker.settings()) as bus:
        await bus.ensure([topic], [group])
    async with open_rabbit(broker.settings(queue_limit=5)) as bus:
        with pytest.raises(ConflictError, match="delete it there"):
            await bus.ensure([topic], [group])


async def test_a_body_that_cannot_be_read_comes_with_its_fault(bus: RabbitBus, names: tuple[str, str]) -> None:
    """Anybody may publish to the exchange: it is delivered, to be buried, and does not stop what comes behind."""
    topic, group = names
    await bus.ensure([topic], [group])
    await bus._publisher.send([Outgoing(exchange="ion.events", key=topic, id="x", body=b"\0")])
    await bus.publish([event := made(topic)])
    async with bus.subscribe([topic], group) as receiver:
        broken, whole = await received(receiver, 2)
        assert (broken.event, broken.raw) == (None, b"\0")
        assert "cannot be read" in broken.fault
        assert whole.event == event


async def test_strange_topics_are_only_themselves(bus: RabbitBus, names: tuple[str, str]) -> None:
    """What means any word or any words to the broker is a topic like others here."""
    topic, group = names
    topics = [f"{topic}.*", f"{topic}.#", f"{topic}.ä/%2A", f"{topic}." + "ü" * 200, "#", "*", "..", "amq.x"]
    await bus.ensure(topics[:-1], [group])
    async with bus.subscribe(topics[:-1], group) as receiver:
        await bus.publish([made(one) for one in topics])
        await bus.publish([made(f"{topic}.photo"), made("video")])
        assert [one.event.type for one in await received(receiver, 7) if one.event] == topics[:-1]
        assert await receiver.receive(9, 0.5) == ()


async def test_tries_are_counted_over_delays(bus: RabbitBus, names: tuple[str, str]) -> None:
    """A delay makes a new message of the event, which remembers; releasing at once is counted by the broker."""
    topic, group = names
    await bus.ensure([topic], [group])
    await bus.publish([made(topic)])
    async with bus.subscribe([topic], group) as receiver:
        for tries, after_s in ((1, 0.0), (2, 0.3), (3, 0.2), (4, 0.0), (5, 0.0)):
            held = await received(receiver, 1)
            assert held[0].tries == tries
            await receiver.release(held, after_s)
        assert (await received(receiver, 1))[0].tries == 6


async def test_an_event_may_be_released_any_number_of_times(bus: RabbitBus, names: tuple[str, str]) -> None:
    """No delivery limit drops it."""
    topic, group = names
    await bus.ensure([topic], [group])
    await bus.publish([made(topic)])
    async with bus.subscribe([topic], group) as receiver:
        for _ in range(50):
            await receiver.release(await received(receiver, 1))
        assert (await received(receiver, 1))[0].tries == 51


async def test_a_shorter_delay_is_not_held_up_by_much(bus: RabbitBus, names: tuple[str, str]) -> None:
    """Delays of other lengths are other queues; of one length none waits twice as long as asked."""
    topic, group = names
    await bus.ensure([topic], [group])
    long, short = made(topic), made(topic)
    await bus.publish([long, short])
    async with bus.subscribe([topic], group) as receiver:
        one, two = await received(receiver, 2)
        await receiver.release([one], 12.0)
        await receiver.release([two], 0.5)
        assert [delivery.event for delivery in await received(receiver, 2)] == [short, long]


async def test_an_event_cannot_be_shown_and_left(bus: RabbitBus, names: tuple[str, str]) -> None:
    """The refusal says what to do in its place; and a depth tells what is ready, not what somebody holds."""
    topic, group = names
    await bus.ensure([topic], [group])
    await bus.publish([made(topic) for _ in range(3)])
    with pytest.raises(UnsupportedError, match="ion bus depth"):
        await bus.peek(group, 1)
    async with bus.subscribe([topic], group) as receiver:
        await received(receiver, 3)
        assert await bus.depth(group) == 0
    async with asyncio.timeout(PATIENCE_S):  # the broker takes back what was held after it has said goodbye
        while await bus.depth(group) != 3:  # noqa: ASYNC110  it tells nobody
            await asyncio.sleep(0.05)
    with pytest.raises(NotFoundError, match="does not have"):
        await bus.depth(f"{group}-none")


async def test_subscribing_to_a_group_that_was_not_made_is_refused(bus: RabbitBus, names: tuple[str, str]) -> None:
    """A misspelt group would wait for ever."""
    with pytest.raises(NotFoundError, match="ensure"):
        async with bus.subscribe(names[:1], names[1]):
            pass


async def test_a_broker_that_is_not_there_or_refuses_is_named(broker: Broker) -> None:
    """When the bus is first used, with what to mend."""
    (nowhere,) = free_ports(1)
    for settings, words in (
        (broker.settings(port=nowhere), "does not answer"),
        (broker.settings(password="wrong"), "mend user, password or vhost"),
        (broker.settings(vhost="none"), "none"),
    ):
        with pytest.raises(UnavailableError, match=words) as caught:
            async with open_rabbit(settings) as bus:
                await bus.ensure([], [])
        assert "wrong" not in str(caught.value)


async def test_the_documented_permissions_suffice(broker: Broker, names: tuple[str, str]) -> None:
    """A user who may do no more than docs/buses/rabbitmq.md grants makes, publishes, receives and delays."""
    topic, group = names
    page = (Path(__file__).parents[2] / "docs" / "buses" / "rabbitmq.md").read_text()
    (rights,) = re.findall(r"set_permissions -p ion ion '(.*)' '(.*)' '(.*)'", page)
    for command in (("add_vhost", "ion"), ("add_user", "ion", "pw"), ("set_permissions", "-p", "ion", "ion", *rights)):
        await asyncio.to_thread(broker.control, *command)
    async with open_rabbit(broker.settings(user="ion", password="pw", vhost="ion")) as bus:
        await bus.ensure([topic], [group])
        await bus.publish([made(topic)])
        async with bus.subscribe([topic], group) as receiver:
            await receiver.release(await received(receiver, 1), 0.2)
            await receiver.ack(await received(receiver, 1))


async def test_a_line_with_tls_checks_the_certificate(
    broker: Broker, certificates: Path, names: tuple[str, str]
) -> None:
    """The broker's must be signed by whom we trust, and ours is shown; without trust nothing is sent."""
    topic, group = names
    files = {"tls_cert": str(certificates / "client.pem"), "tls_key": str(certificates / "client.key")}
    settings = broker.settings(host="localhost", port=broker.tls_port, tls=True, **files)
    async with open_rabbit(msgspec.structs.replace(settings, tls_ca=str(certificates / "ca.pem"))) as bus:
        await bus.ensure([topic], [group])
        await bus.publish([made(topic)])
        async with bus.subscribe([topic], group) as receiver:
            await received(receiver, 1)
    with pytest.raises(UnavailableError, match="CERTIFICATE_VERIFY_FAILED"):
        async with open_rabbit(settings) as bus:
            await bus.ensure([], [])
    for field, name in (("tls_ca", "tls.ca"), ("tls_cert", "tls.cert")):
        with pytest.raises(InvalidError, match=rf"its {name} '.*none\.pem'"):
            async with open_rabbit(msgspec.structs.replace(settings, **{field: str(certificates / "none.pem")})) as bus:
                await bus.ensure([], [])


async def test_a_receiver_that_is_cancelled_under_load_hinders_nobody(bus: RabbitBus, names: tuple[str, str]) -> None:
    """What is still on its way to it does not stand before what others on the same connection ask for."""
    topic, group = names
    await bus.ensure([topic], [group])
    events = [made(topic, data="x" * 2000) for _ in range(1500)]
    await bus.publish(events)
    for turns in range(0, 20, 2):
        async with bus.subscribe([topic], group) as receiver:
            held = await received(receiver, 1)
            acking = asyncio.create_task(receiver.ack(held))
            for _ in range(turns):
                await asyncio.sleep(0)
            acking.cancel()
            await asyncio.wait([acking])
        async with asyncio.timeout(PATIENCE_S), bus.subscribe([topic], group) as receiver:
            await received(receiver, 1)
