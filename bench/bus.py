"""Each bus beside its bare client: events per second published, received with their acknowledgement, and admitted.

The servers are real ones on this machine, started for it. Of Service Bus there is only the double of the tests, written
in Python: the rates are the double's, and only their ratio says something of the adapter.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from bench.measure import folder, line
from tests.buses.nats_server import NatsServer
from tests.buses.rabbit import CONFIGURATION, opened
from tests.buses.servicebus_double.process import Double

from ion.adapters.blobs.filesystem import FilesystemBlobs
from ion.adapters.bus.nats import NatsBus
from ion.adapters.bus.nats_settings import NatsSettings
from ion.adapters.bus.rabbitmq import open_rabbit
from ion.adapters.bus.servicebus import open_servicebus
from ion.adapters.bus.servicebus_settings import ServiceBusSettings
from ion.adapters.bus.sqlite import SqliteBus
from ion.adapters.ledger.sqlite import SqliteLedger
from ion.adapters.sqlite.database import Database
from ion.dispatcher.admit import Admission
from ion.messaging import codec
from ion.model.event import Event
from ion.model.module import Module, Subscription
from ion.ports.bus import Bus
from ion.testing.conformance.bus_harness import made

COUNT, AT_ONCE, TOPIC = 10_000, 500, "photo_taken"
BATCH = 250
"""Of these events, what one message of 256 KiB takes on Service Bus."""


def events() -> list[Event]:
    return [made(TOPIC, subject=f"{number}.jpg", data={"number": number, "text": "x" * 200}) for number in range(COUNT)]


async def rate(work: Callable[[], Awaitable[None]]) -> float:
    """Events a second."""
    began = time.perf_counter()
    await work()
    return COUNT / (time.perf_counter() - began)


async def through(bus: Bus, place: Path) -> Sequence[float]:
    """The three rates of an adapter."""
    await bus.ensure([TOPIC], ["one", "two"])
    sent = events()

    async def publish() -> None:
        await bus.publish(sent)

    async def receive() -> None:
        count = 0
        async with bus.subscribe([TOPIC], "one") as receiver:
            while count < COUNT:
                deliveries = await receiver.receive(AT_ONCE, 30.0)
                await receiver.ack(deliveries)
                count += len(deliveries)

    async with Database(place / f"{uuid.uuid4().hex}.db") as database, FilesystemBlobs(place / "blobs") as blobs:
        ledger = SqliteLedger(database)
        module = Module(name="two", command=("true",), on=(Subscription(type=TOPIC),))

        async def admit() -> None:
            admission = asyncio.create_task(Admission(bus, ledger, blobs, module, max_hops=32).run())
            while database.read(lambda db: db.execute("SELECT count(*) FROM jobs").fetchone()[0]) < COUNT:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            admission.cancel()
            await asyncio.gather(admission, return_exceptions=True)

        return await rate(publish), await rate(receive), await rate(admit)


async def bare_nats(url: str) -> Sequence[float]:
    import nats
    from nats.js.api import ConsumerConfig

    client = await nats.connect(url)
    stream = client.jetstream(publish_async_max_pending=AT_ONCE)
    await stream.add_stream(name="bare", subjects=["bare.>"])
    held = await stream.pull_subscribe("bare.>", "bare", config=ConsumerConfig(max_ack_pending=COUNT))
    bodies = [(event.id, codec.encode(event)) for event in events()]

    async def publish() -> None:
        for start in range(0, COUNT, AT_ONCE):
            await asyncio.gather(
                *(
                    stream.publish("bare.photo", body, headers={"Nats-Msg-Id": key})
                    for key, body in bodies[start : start + AT_ONCE]
                )
            )

    async def receive() -> None:
        count = 0
        while count < COUNT:
            messages = await held.fetch(AT_ONCE, timeout=30)
            await asyncio.gather(*(message.ack_sync() for message in messages))
            count += len(messages)

    rates = await rate(publish), await rate(receive)
    await client.close()
    return rates


async def bare_rabbit(port: int) -> Sequence[float]:
    import aio_pika

    connection = await aio_pika.connect(host="127.0.0.1", port=port)
    channel = await connection.channel(publisher_confirms=True)
    await channel.set_qos(AT_ONCE)
    queue = await channel.declare_queue("bare", durable=True, arguments={"x-queue-type": "quorum"})
    bodies = [(event.id, codec.encode(event)) for event in events()]

    async def publish() -> None:
        for start in range(0, COUNT, AT_ONCE):
            await asyncio.gather(
                *(
                    channel.default_exchange.publish(aio_pika.Message(body, message_id=key, delivery_mode=2), "bare")
                    for key, body in bodies[start : start + AT_ONCE]
                )
            )

    async def receive() -> None:
        count = 0
        async with queue.iterator() as messages:
            async for message in messages:
                await message.ack()
                count += 1
                if count == COUNT:
                    return

    rates = await rate(publish), await rate(receive)
    await connection.close()
    return rates


async def bare_servicebus(double: Double) -> Sequence[float]:
    """One sender, and one receiver that completes a batch at once."""
    from azure.servicebus import ServiceBusMessage
    from azure.servicebus.aio import ServiceBusClient
    from azure.servicebus.aio.management import ServiceBusAdministrationClient

    address, topic, group = double.connection_string(), "bare", "one"
    async with ServiceBusAdministrationClient.from_connection_string(
        address, connection_verify=str(double.ca_file)
    ) as administration:
        await administration.create_topic(topic)
        await administration.create_subscription(topic, group)
    messages = [ServiceBusMessage(codec.encode(event), message_id=event.id) for event in events()]

    async with ServiceBusClient.from_connection_string(address) as client:

        async def publish() -> None:
            async with client.get_topic_sender(topic) as sender:
                for start in range(0, COUNT, BATCH):
                    await sender.send_messages(messages[start : start + BATCH])

        async def receive() -> None:
            count = 0
            async with client.get_subscription_receiver(topic, group) as receiver:
                while count < COUNT:
                    received = await receiver.receive_messages(AT_ONCE, max_wait_time=30)
                    await asyncio.gather(*(receiver.complete_message(message) for message in received))
                    count += len(received)

        return await rate(publish), await rate(receive)


def shown(name: str, rates: Sequence[float], floors: Sequence[float]) -> None:
    for what, figure, floor in zip(("published", "received", "admitted"), rates, floors, strict=True):
        line(
            f"{name}: events {what}", f"{figure:,.0f} /s", f"{floor:,.0f} /s", f"{figure / floor:.2f} of it (goal 0.7)"
        )


@asynccontextmanager
async def embedded(place: Path) -> AsyncIterator[Bus]:
    async with Database(place / "bus.db") as database, SqliteBus(database) as bus:
        yield bus


async def run_embedded(place: Path) -> None:
    async with embedded(place) as bus:
        for what, figure in zip(("published", "received", "admitted"), await through(bus, place), strict=True):
            line(f"embedded: events {what}", f"{figure:,.0f} /s", "-")


async def run_nats(place: Path) -> None:
    with NatsServer(place / "nats") as server:
        floors = await bare_nats(server.url)
        async with NatsBus(NatsSettings(servers=(server.url,))) as bus:
            shown("nats", await through(bus, place), (*floors, floors[1]))


async def run_rabbit(place: Path) -> None:
    (place / "rabbitmq").mkdir()
    broker = opened(place / "rabbitmq", CONFIGURATION)
    try:
        floors = await bare_rabbit(broker.port)
        async with open_rabbit(broker.settings()) as bus:
            shown("rabbitmq", await through(bus, place), (*floors, floors[1]))
    finally:
        broker.close()


async def run_servicebus(place: Path) -> None:
    double = Double(place)
    double.start()
    try:
        floors = await bare_servicebus(double)
        settings = ServiceBusSettings(connection_string=double.connection_string(), ca_file=str(double.ca_file))
        async with open_servicebus(settings) as bus:
            shown("servicebus, a double", await through(bus, place), (*floors, floors[1]))
    finally:
        double.kill()


def main() -> None:
    with folder() as place:
        for one in (run_embedded, run_nats, run_rabbit, run_servicebus):
            asyncio.run(one(place))
