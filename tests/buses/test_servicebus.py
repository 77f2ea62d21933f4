"""The bus on Azure Service Bus, against the suite of every adapter, on a double that the vendor's client speaks to."""

import asyncio
import time
import uuid
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Any

import pytest
from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient
from azure.servicebus.aio.management import ServiceBusAdministrationClient
from tests.buses.servicebus_double.process import Double

from ion.adapters.bus.servicebus import ServiceBusSettings, open_servicebus
from ion.errors import InvalidError, NotFoundError, UnavailableError, UnsupportedError
from ion.messaging import codec
from ion.ports.bus import Bus, Delivery, Receiver
from ion.testing.conformance.bus import BusConformance
from ion.testing.conformance.bus_harness import ids_of, made

GROUP = "detect"
LOCK_S = 15.0
"""It is renewed in time also where this process, or the broker, stands still for some seconds."""


def settings_for(double: Double, **changes: object) -> ServiceBusSettings:
    fields: dict[str, object] = {
        "connection_string": double.connection_string(),
        "ca_file": str(double.ca_file),
        "lock_s": LOCK_S,
        **changes,
    }
    return ServiceBusSettings(**fields)  # type: ignore[arg-type]


class TestServiceBus(BusConformance):
    @pytest.fixture(autouse=True)
    def server(self, servicebus: Double) -> None:
        self.settings = settings_for(servicebus)

    def open_bus(self) -> AbstractAsyncContextManager[Bus]:
        return open_servicebus(self.settings)

    def elsewhere(self) -> str:
        fields = {name: getattr(self.settings, name) for name in self.settings.__struct_fields__}
        return f"""
from ion.adapters.bus.servicebus import ServiceBusSettings, open_servicebus

def open_bus():
    return open_servicebus(ServiceBusSettings(**{fields!r}))
"""


# ---- beyond the port -----------------------------------------------------------------------------------------------


@pytest.fixture
def topic() -> str:
    return f"photo.{uuid.uuid4().hex}"


def administration(double: Double) -> ServiceBusAdministrationClient:
    return ServiceBusAdministrationClient.from_connection_string(
        double.connection_string(), connection_verify=str(double.ca_file)
    )


async def received(receiver: Receiver, count: int) -> list[Delivery]:
    deliveries: list[Delivery] = []
    async with asyncio.timeout(180):
        while len(deliveries) < count:
            deliveries += await receiver.receive(count - len(deliveries), 5.0)
    return deliveries


async def test_an_event_published_again_within_the_window_is_dropped(servicebus: Double, topic: str) -> None:
    """Also after it was acknowledged, and within one batch: the topic knows it by its id."""
    event, last = made(topic), made(topic)
    async with open_servicebus(settings_for(servicebus)) as bus:
        await bus.ensure([topic], [GROUP])
        async with bus.subscribe([topic], GROUP) as receiver:
            await bus.publish([event, event])
            await receiver.ack(await received(receiver, 1))
            await bus.publish([event, last])
            assert ids_of(await received(receiver, 1)) == [last.id]


async def test_locks_are_renewed_while_deliveries_are_held(servicebus: Double, topic: str) -> None:
    """A delivery held longer than its lock stays with its receiver, and can be acknowledged."""
    async with open_servicebus(settings_for(servicebus)) as bus:
        await bus.ensure([topic], [GROUP])
        await bus.publish([made(topic)])
        async with bus.subscribe([topic], GROUP) as one, bus.subscribe([topic], GROUP) as two:
            held = await received(one, 1)
            assert list(await two.receive(1, 1.5 * LOCK_S)) == []
            await one.ack(held)
            assert await bus.depth(GROUP) == 0


async def test_a_lost_lock_is_forgotten(servicebus: Double, topic: str) -> None:
    """What was delivered again meanwhile is neither acknowledged nor given back by whoever had it first."""
    async with open_servicebus(settings_for(servicebus)) as bus:
        await bus.ensure([topic], [GROUP])
        await bus.publish([event := made(topic)])
        async with bus.subscribe([topic], GROUP) as receiver:
            first = await received(receiver, 1)
            servicebus.tell("unlock")
            (second,) = await received(receiver, 1)
            await receiver.ack(first)
            await receiver.release(first)
            assert await bus.depth(GROUP) == 1
            assert second.event == event
            assert second.tries == 2
            await receiver.ack([second])
            assert await bus.depth(GROUP) == 0


async def test_a_delayed_release_is_held_and_returned_on_closing(servicebus: Double, topic: str) -> None:
    """It comes no sooner than asked while its receiver lives, and at once when that closes; it is never lost."""
    async with open_servicebus(settings_for(servicebus)) as bus:
        await bus.ensure([topic], [GROUP])
        await bus.publish([event := made(topic)])
        async with bus.subscribe([topic], GROUP) as receiver:
            held = await received(receiver, 1)
            released_s = time.monotonic()
            await receiver.release(held, 1.0)
            held = await received(receiver, 1)
            assert time.monotonic() - released_s >= 0.99
            await receiver.release(held, 3600.0)
            assert list(await receiver.receive(1, 0.5)) == []
        async with bus.subscribe([topic], GROUP) as receiver:
            assert ids_of(await received(receiver, 1)) == [event.id]


async def test_what_the_broker_buried_is_received(servicebus: Double, topic: str) -> None:
    """Dead letters are deliveries of the same subscription, and counted by its depth."""
    settings = settings_for(servicebus, most_deliveries=1, dead_letters_every_s=1.0)
    async with open_servicebus(settings) as bus:
        await bus.ensure([topic], [GROUP])
        await bus.publish([event := made(topic)])
        async with bus.subscribe([topic], GROUP) as receiver:
            await receiver.release(await received(receiver, 1))
            assert await bus.depth(GROUP) == 1
            again = await received(receiver, 1)
            assert ids_of(again) == [event.id]
            await receiver.ack(again)
            assert await bus.depth(GROUP) == 0


async def test_a_foreign_message_that_cannot_be_read_comes_with_its_fault(servicebus: Double, topic: str) -> None:
    """So that the ledger keeps it; it does not stop what comes behind."""
    async with open_servicebus(settings_for(servicebus)) as bus:
        await bus.ensure([topic], [GROUP])
        async with (
            ServiceBusClient.from_connection_string(servicebus.connection_string()) as client,
            client.get_topic_sender(topic) as sender,
        ):
            await sender.send_messages(ServiceBusMessage(b"\0", message_id="foreign"))
        await bus.publish([event := made(topic)])
        assert list(await bus.peek(GROUP, 9)) == [event]
        async with bus.subscribe([topic], GROUP) as receiver:
            broken, whole = await received(receiver, 2)
            assert (broken.event, broken.raw) == (None, b"\0")
            assert "cannot be read" in broken.fault
            assert whole.event == event


async def test_large_events_go_through_up_to_the_limit(servicebus: Double, topic: str) -> None:
    """Each in a batch of its own; what the broker does not take after all is refused like what is over the limit."""
    small = len(codec.encode(made(topic, data="")))
    limit = settings_for(servicebus).event_limit
    events = [made(topic, data="x" * (limit - small - 8)) for _ in range(3)]
    async with open_servicebus(settings_for(servicebus, event_limit=2 * limit)) as bus:
        await bus.ensure([topic], [GROUP])
        await bus.publish(events)
        with pytest.raises(InvalidError, match="as large as one of these"):
            await bus.publish([made(topic, data="x" * (limit + 32 * 1024))])
        async with bus.subscribe([topic], GROUP) as receiver:
            assert set(ids_of(await received(receiver, 3))) == {event.id for event in events}


async def test_another_process_finds_a_groups_topics(servicebus: Double, topic: str) -> None:
    """A bus that has made nothing itself lists them, hashed names too."""
    other = f"{topic}.Ä"
    async with open_servicebus(settings_for(servicebus, prefix="ion-")) as bus:
        await bus.ensure([topic, other], [topic])
        await bus.publish([made(topic), made(other)])
    async with open_servicebus(settings_for(servicebus, prefix="ion-")) as bus:
        assert await bus.depth(topic) == 2
        assert {event.type for event in await bus.peek(topic, 9)} == {topic, other}


async def test_names_are_the_originals(servicebus: Double, topic: str) -> None:
    """A topic is called as its event type, a subscription `event_module`."""
    async with open_servicebus(settings_for(servicebus)) as bus:
        await bus.ensure(["file_downloaded"], ["words"])
    async with administration(servicebus) as client:
        found = await client.get_subscription("file_downloaded", "file_downloaded_words")
        assert (found.lock_duration, found.max_delivery_count) == (timedelta(seconds=LOCK_S), 2_147_483_647)
        assert found.dead_lettering_on_message_expiration


async def test_without_the_right_to_manage_what_is_missing_is_named(servicebus: Double, topic: str) -> None:
    """It is made by hand then; all but the depth works."""
    worker = settings_for(servicebus, connection_string=servicebus.connection_string("worker"), may_manage=False)
    async with open_servicebus(settings_for(servicebus)) as manager, open_servicebus(worker) as bus:
        with pytest.raises(UnsupportedError, match=f"lacks the topic {topic}, .*make them by hand"):
            await bus.ensure([topic], [GROUP])
        await manager.ensure([topic], [])
        with pytest.raises(UnsupportedError, match=f"lacks the subscription .*detect.* of the topic {topic}"):
            await bus.ensure([topic], [GROUP])
        await manager.ensure([topic], [GROUP])
        await bus.ensure([topic], [GROUP])
        await bus.publish([event := made(topic), made(f"{topic}.unheard")])
        assert list(await bus.peek(GROUP, 1)) == [event]
        with pytest.raises(UnsupportedError, match="Manage"):
            await bus.depth(GROUP)
        with pytest.raises(UnsupportedError, match="not known here"):
            await bus.peek("other", 1)


async def test_a_key_that_may_not_manage_is_told_so(servicebus: Double, topic: str) -> None:
    """One sentence that names the roles."""
    settings = settings_for(servicebus, connection_string=servicebus.connection_string("worker"))
    async with open_servicebus(settings) as bus:
        with pytest.raises(UnavailableError, match=r"refuses the credentials.*role"):
            await bus.ensure([topic], [GROUP])


async def test_subscribing_to_what_was_not_made_is_refused(servicebus: Double, topic: str) -> None:
    """A misspelt topic or group would wait for ever."""
    async with open_servicebus(settings_for(servicebus)) as bus:
        await bus.ensure([topic], [GROUP])
        for pair in ((f"{topic}.x", GROUP), (topic, "detekt")):
            with pytest.raises(NotFoundError, match="make it first"):
                async with bus.subscribe([pair[0]], pair[1]):
                    pass


async def test_what_cannot_be_a_topic_is_refused(servicebus: Double) -> None:
    """With one sentence, before anything is asked of the broker."""
    async with open_servicebus(settings_for(servicebus)) as bus:
        with pytest.raises(InvalidError, match="cannot be a topic"):
            await bus.ensure(["two words"], [GROUP])


@pytest.mark.parametrize("may_manage", [True, False])
async def test_a_torn_connection_string_is_told_when_it_is_used(may_manage: bool) -> None:
    """Nobody else minds it; what of it is there is not repeated."""
    torn = "Endpoint=sb://127.0.0.1:1;SharedAccessKeyName=k;Shared=s3cret"
    async with open_servicebus(ServiceBusSettings(connection_string=torn, may_manage=may_manage)) as bus:
        with pytest.raises(InvalidError, match="copy all of it, with Endpoint") as told:
            await bus.ensure(["photo"], [GROUP])
    assert "s3cret" not in str(told.value)


def test_settings_hide_their_key(servicebus: Double) -> None:
    """Their text names the host and no secret."""
    shown = repr(settings_for(servicebus))
    assert "127.0.0.1" in shown
    assert "cm9vdC1rZXk" not in shown


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({}, "either a connection string or a namespace"),
        ({"connection_string": "Endpoint=sb://a", "namespace": "a"}, "either"),
        ({"connection_string": "secret"}, "names no endpoint"),
        ({"namespace": "a", "prefix": "Ä"}, "prefix"),
        ({"namespace": "a", "lock_s": 301.0}, "lock_s .* from 5 to 300"),
        ({"namespace": "a", "duplicate_window_s": 1.0}, "duplicate_window_s"),
    ],
)
def test_settings_that_cannot_work_are_refused(fields: dict[str, Any], fault: str) -> None:
    """Before anything is asked, with the bounds; a secret is not repeated."""
    with pytest.raises(InvalidError, match=fault):
        ServiceBusSettings(**fields).check_reachable()
