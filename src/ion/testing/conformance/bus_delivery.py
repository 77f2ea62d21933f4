"""The first half of the bus suite: which events reach whom, and in which order."""

from collections.abc import Sequence

import msgspec
import pytest

from ion.errors import InvalidError
from ion.messaging import codec, trace
from ion.model.event import FileRef
from ion.ports.bus import Bus
from ion.testing.conformance.bus_harness import BusHarness, ids_of, made

ODD_TOPICS = (
    "TOPIC",
    "TOPIC.*",
    "TOPIC.>",
    "TOPIC.#",
    "TOPIC..a",
    "TOPIC.",
    ".TOPIC",
    "TOPIC.é",
    "TOPIC.e",
    "TOPIC.=2A",
    "TOPIC/a",
    "TOPIC%2F",
    "TOPIC.A",
    "TOPIC.a",
    "$SYS.TOPIC",
    "TOPIC.🜁",
    "TOPIC'\"\\",
)
ODD_GROUPS = ("GROUP", "GROUP.a", "GROUP-a", "GROUP a", "GROUP~a", "GROUP/a", "GROUP*", "GROUP>", "GROUPé", "GROUPA")


class BusDelivery(BusHarness):
    async def test_an_event_arrives_as_it_was_published(self) -> None:
        """Every field comes through, with the bytes it came in and a first try."""
        event = made(
            self.topic,
            subject="ä b.jpg",
            traceparent=trace.new_trace(),
            hops=3,
            files=(FileRef(path="a/ü.png", blob="job/1/x/a", size=7, sha256="00"),),
            data={"k": "🜁", "n": [1, 2.5, None, {"deep": True}]},
        )
        async with self.open_bus() as bus:
            await bus.ensure([self.topic], [self.group])
            await bus.publish([event])
            async with bus.subscribe([self.topic], self.group) as receiver:
                (delivery,) = await self.collect(receiver, 1)
        assert (delivery.event, delivery.fault, delivery.tries) == (event, "", 1)
        assert event.id.encode() in delivery.raw

    async def test_every_group_gets_every_event(self) -> None:
        """What one group acknowledges stays with the others."""
        groups = [f"{self.group}-{number}" for number in range(3)]
        events = self.events(5)
        async with self.open_bus() as bus:
            await bus.ensure([self.topic], groups)
            await bus.publish(events)
            for group in groups:
                async with bus.subscribe([self.topic], group) as receiver:
                    assert set(ids_of(await self.collect(receiver, 5))) == {event.id for event in events}

    async def test_a_group_gets_only_its_topics(self) -> None:
        """It may have several; what is published on another does not come to it."""
        topics = [f"{self.topic}.{number}" for number in range(3)]
        async with self.open_bus() as bus:
            await bus.ensure(topics[:2], [self.group])
            await bus.ensure(topics[2:], [f"{self.group}-other"])
            await bus.publish([made(topic) for topic in reversed(topics)])
            async with bus.subscribe(topics[:2], self.group) as receiver:
                deliveries = await self.collect(receiver, 2)
                assert {one.event.type for one in deliveries if one.event} == set(topics[:2])
                assert list(await receiver.receive(1, 0.0)) == []

    async def test_making_topics_and_groups_again_changes_nothing(self) -> None:
        """`ensure` may be repeated, also with more, while events wait."""
        events = self.events(2)
        async with self.open_bus() as bus:
            await bus.ensure([self.topic], [self.group])
            await bus.publish(events[:1])
            await bus.ensure([self.topic], [self.group])
            await bus.ensure([self.topic, f"{self.topic}.more"], [self.group, f"{self.group}-more"])
            await bus.publish(events[1:])
            async with bus.subscribe([self.topic], self.group) as receiver:
                assert set(ids_of(await self.collect(receiver, 2))) == {event.id for event in events}

    async def test_a_topic_that_nobody_has_is_no_error(self) -> None:
        """Not one nobody made, nor one without groups; events beside it arrive."""
        event = made(self.topic)
        async with self.open_bus() as bus:
            await bus.ensure([self.topic], [self.group])
            await bus.ensure([f"{self.topic}.quiet"], [])
            await bus.publish([made(f"{self.topic}.unknown"), made(f"{self.topic}.quiet"), event])
            await bus.publish([])
            async with bus.subscribe([self.topic], self.group) as receiver:
                assert ids_of(await self.collect(receiver, 1)) == [event.id]

    async def test_one_publication_may_have_many_topics(self) -> None:
        """Each event goes to the groups of its own."""
        topics = [f"{self.topic}.{number}" for number in range(4)]
        events = [made(topic) for topic in topics]
        async with self.open_bus() as bus:
            for topic in topics:
                await bus.ensure([topic], [f"{self.group}-{topic}"])
            await bus.publish(events)
            for event in events:
                async with bus.subscribe([event.type], f"{self.group}-{event.type}") as receiver:
                    assert ids_of(await self.collect(receiver, 1)) == [event.id]

    async def test_events_come_in_the_order_of_publication(self) -> None:
        """Where the bus is ordered and nothing is released."""
        events = self.events(300)
        async with self.open_bus() as bus:
            if not bus.guarantees.ordered:
                pytest.skip("this bus does not promise an order")
            await bus.ensure([self.topic], [self.group])
            await bus.publish(events[:200])
            for event in events[200:]:
                await bus.publish([event])
            async with bus.subscribe([self.topic], self.group) as receiver:
                deliveries = await self.collect(receiver, 300)
        assert ids_of(deliveries) == [event.id for event in events]

    async def test_an_event_published_twice_reaches_a_group_once(self) -> None:
        """Where the bus de-duplicates, by id."""
        event = made(self.topic)
        async with self.open_bus() as bus:
            if not bus.guarantees.dedupes:
                pytest.skip("this bus does not promise to de-duplicate")
            await bus.ensure([self.topic], [self.group])
            async with bus.subscribe([self.topic], self.group) as receiver:
                await bus.publish([event, event])
                await self.collect(receiver, 1)
                await bus.publish([event])
                assert list(await receiver.receive(1, 1.0)) == []

    async def test_an_event_that_is_too_large_is_refused(self) -> None:
        """Where the bus has a bound on an event's bytes: nothing that is published with it arrives."""
        async with self.open_bus() as bus:
            await bus.ensure([self.topic], [self.group])
            if not bus.guarantees.event_limit:
                pytest.skip("this bus has no bound on an event's size")
            with pytest.raises(InvalidError):
                await bus.publish([made(self.topic), made(self.topic, data="x" * bus.guarantees.event_limit)])
            async with bus.subscribe([self.topic], self.group) as receiver:
                assert list(await receiver.receive(2, 0.5)) == []

    async def test_an_event_as_large_as_declared_arrives(self) -> None:
        """To the last byte of the bound, or a megabyte where there is none."""
        async with self.open_bus() as bus:
            await bus.ensure([self.topic], [self.group])
            size = bus.guarantees.event_limit or 1024**2
            event = made(self.topic, data="")
            event = msgspec.structs.replace(event, data="x" * (size - len(codec.encode(event)) - 2))
            event = msgspec.structs.replace(event, data=f"{event.data}{'x' * (size - len(codec.encode(event)))}")
            assert len(codec.encode(event)) == size
            await bus.publish([event])
            async with bus.subscribe([self.topic], self.group) as receiver:
                (delivery,) = await self.collect(receiver, 1)
        assert delivery.event == event

    async def test_a_topic_means_only_itself(self) -> None:
        """Whatever a broker makes of its letters: an event type is a topic of its own, or refused in one sentence."""
        async with self.open_bus() as bus:
            taken = [topic for topic in self.odd(ODD_TOPICS) if await self.takes(bus, topic, f"{self.group}-{topic}")]
            events = {topic: made(topic) for topic in taken}
            await bus.publish(list(events.values()))
            for topic, event in events.items():
                async with bus.subscribe([topic], f"{self.group}-{topic}") as receiver:
                    assert ids_of(await self.collect(receiver, 1)) == [event.id]
                    assert list(await receiver.receive(1, 0.0)) == []

    async def test_a_group_is_only_itself(self) -> None:
        """Whatever a broker makes of its letters, each group gets the event, or its name is refused."""
        async with self.open_bus() as bus:
            groups = [group for group in self.odd(ODD_GROUPS) if await self.takes(bus, self.topic, group)]
            await bus.publish([event := made(self.topic)])
            for group in groups:
                async with bus.subscribe([self.topic], group) as receiver:
                    assert ids_of(await self.collect(receiver, 1)) == [event.id]

    def odd(self, patterns: Sequence[str]) -> list[str]:
        return [pattern.replace("TOPIC", self.topic).replace("GROUP", self.group) for pattern in patterns]

    async def takes(self, bus: Bus, topic: str, group: str) -> bool:
        try:
            await bus.ensure([topic], [group])
        except InvalidError:
            return False
        return True
