"""What every adapter of `ion.ports.bus` must do; subclass it as `Test...` and say how to open one.

The suite reads the guarantees and skips, with the reason, what an adapter does not promise. Topics and groups are new
in each test, so that a server may be shared. It asks for what the port says and no more: events may come more than
once.
"""

import asyncio
import time
from collections import Counter

import pytest

from ion.errors import UnsupportedError
from ion.model import ids
from ion.ports.bus import Bus, Delivery, Receiver
from ion.testing.conformance.bus_delivery import BusDelivery
from ion.testing.conformance.bus_harness import ids_of, made
from ion.testing.conformance.elsewhere import running

_RECEIVE_ELSEWHERE = """
import asyncio

async def main():
    async with open_bus() as bus, bus.subscribe([{topic!r}], {group!r}) as receiver:
        held = []
        while len(held) < {most}:
            held += await receiver.receive({most}, 1.0)
        print("holding", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""
_PUBLISH_ELSEWHERE = """
import asyncio
from ion.testing.conformance.bus_harness import made

async def main():
    async with open_bus() as bus:
        await bus.publish([made({topic!r}, id={id!r})])
        print("published", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


class BusConformance(BusDelivery):
    # ---- receiving --------------------------------------------------------------------------------------------

    async def test_receiving_gives_what_there_is_up_to_most(self) -> None:
        """Never more than asked for, and nothing, after the wait, when there is nothing."""
        async with self.open_bus() as bus:
            await bus.ensure([self.topic], [self.group])
            async with bus.subscribe([self.topic], self.group) as receiver:
                assert list(await receiver.receive(10, 0.0)) == []
                assert list(await receiver.receive(10, 0.2)) == []
                await bus.publish(self.events(5))
                assert len(await self.collect(receiver, 3)) == 3
                assert len(await self.collect(receiver, 2)) == 2
                assert list(await receiver.receive(10, 0.0)) == []

    async def test_a_waiting_receiver_is_woken(self) -> None:
        """An event published during the wait ends it."""
        event = made(self.topic)
        async with self.open_bus() as bus:
            await bus.ensure([self.topic], [self.group])
            async with bus.subscribe([self.topic], self.group) as receiver, asyncio.TaskGroup() as tasks:
                waiting = tasks.create_task(self.collect(receiver, 1))
                await asyncio.sleep(0)
                await bus.publish([event])
                assert ids_of(await waiting) == [event.id]

    async def test_two_receivers_of_a_group_share_its_events(self) -> None:
        """Each event goes to one of them as long as it is not given back."""
        events = self.events(100)
        async with self.open_bus() as bus:
            await bus.ensure([self.topic], [self.group])
            await bus.publish(events)
            async with (
                bus.subscribe([self.topic], self.group) as one,
                bus.subscribe([self.topic], self.group) as two,
            ):
                held: list[Delivery] = []
                until = time.monotonic() + self.patience_s
                while len(held) < 100 and time.monotonic() < until:
                    held += await one.receive(7, 0.1)
                    held += await two.receive(5, 0.1)
                assert Counter(ids_of(held)) == Counter(event.id for event in events)
                assert list(await one.receive(1, 0.0)) == []

    async def test_an_acknowledged_event_does_not_come_again(self) -> None:
        """Not to another receiver, nor after the bus was closed."""
        async with self.open_bus() as bus:
            await bus.ensure([self.topic], [self.group])
            await bus.publish(self.events(3))
            async with bus.subscribe([self.topic], self.group) as receiver:
                await self.collect(receiver, 3)
            async with bus.subscribe([self.topic], self.group) as receiver:
                assert list(await receiver.receive(3, 0.5)) == []

    async def test_what_a_closed_receiver_held_comes_again(self) -> None:
        """Unacknowledged deliveries go back to the group, and count as tried."""
        events = self.events(3)
        async with self.open_bus() as bus:
            await bus.ensure([self.topic], [self.group])
            await bus.publish(events)
            async with bus.subscribe([self.topic], self.group) as receiver:
                held = await self.collect(receiver, 3, ack=False)
                await receiver.ack(held[:1])
            async with bus.subscribe([self.topic], self.group) as receiver:
                again = await self.collect(receiver, 2)
            assert set(ids_of(again)) == set(ids_of(held[1:]))
            assert all(delivery.tries > 1 for delivery in again)

    async def test_what_a_failing_receiver_held_comes_again(self) -> None:
        """Also where its context is left by an exception."""
        event = made(self.topic)
        async with self.open_bus() as bus:
            await bus.ensure([self.topic], [self.group])
            await bus.publish([event])
            with pytest.raises(ZeroDivisionError):
                await self.fail_holding(bus)
            async with bus.subscribe([self.topic], self.group) as receiver:
                assert ids_of(await self.collect(receiver, 1)) == [event.id]

    async def fail_holding(self, bus: Bus) -> None:
        async with bus.subscribe([self.topic], self.group) as receiver:
            await self.collect(receiver, 1, ack=False)
            raise ZeroDivisionError

    async def test_a_cancelled_receive_loses_nothing(self) -> None:
        """Wherever it is cancelled, what it was about to give comes again, at the latest after the receiver closed."""
        async with self.open_bus() as bus:
            await bus.ensure([self.topic], [self.group])
            for turns in range(12):
                event = made(self.topic)
                async with bus.subscribe([self.topic], self.group) as receiver:
                    receiving = asyncio.create_task(receiver.receive(1, self.patience_s))
                    await bus.publish([event])
                    for _ in range(turns):
                        await asyncio.sleep(0)
                    receiving.cancel()
                    await asyncio.wait([receiving])
                async with bus.subscribe([self.topic], self.group) as receiver:
                    assert ids_of(await self.collect(receiver, 1)) == [event.id]

    async def test_what_a_slow_receiver_holds_is_its_own(self) -> None:
        """However long it works on it: while it lives, nobody else is given it, and its acknowledgement counts."""
        async with self.open_bus() as bus:
            await bus.ensure([self.topic], [self.group])
            await bus.publish(self.events(3))
            async with (
                bus.subscribe([self.topic], self.group) as slow,
                bus.subscribe([self.topic], self.group) as quick,
            ):
                held = await self.collect(slow, 3, ack=False)
                assert list(await quick.receive(3, 3 * self.hold_s)) == []
                await slow.ack(held)
                assert list(await quick.receive(3, self.hold_s)) == []

    async def test_a_slow_group_holds_up_no_other(self) -> None:
        """What one group holds, the others are given, and what is published meanwhile too."""
        events = self.events(40)
        other = f"{self.group}-other"
        async with self.open_bus() as bus:
            await bus.ensure([self.topic], [self.group, other])
            await bus.publish(events[:20])
            async with bus.subscribe([self.topic], self.group) as slow, bus.subscribe([self.topic], other) as quick:
                await self.collect(slow, 20, ack=False)
                await bus.publish(events[20:])
                assert set(ids_of(await self.collect(quick, 40))) == {event.id for event in events}

    # ---- giving back ------------------------------------------------------------------------------------------

    async def test_a_released_event_comes_again(self) -> None:
        """To any receiver of the group, one try later; acknowledging the old delivery is harmless."""
        event = made(self.topic)
        async with self.open_bus() as bus:
            await bus.ensure([self.topic], [self.group])
            await bus.publish([event])
            async with bus.subscribe([self.topic], self.group) as receiver:
                first = await self.collect(receiver, 1, ack=False)
                await receiver.release(first)
                second = await self.collect(receiver, 1, ack=False)
                assert ids_of(second) == [event.id]
                assert second[0].tries > first[0].tries
                await receiver.ack(second)
                await receiver.ack(first)
                await receiver.ack([])

    async def test_a_delayed_release_is_kept(self) -> None:
        """Where the bus delays, an event comes no sooner than asked, and others overtake it."""
        last, slow, quick = self.events(3)
        async with self.open_bus() as bus:
            if not bus.guarantees.delays:
                pytest.skip("this bus does not promise delays")
            await bus.ensure([self.topic], [self.group])
            await bus.publish([last])
            async with bus.subscribe([self.topic], self.group) as receiver:
                await receiver.release(await self.collect(receiver, 1, ack=False), 3600.0)
                await bus.publish([slow])
                held = await self.collect(receiver, 1, ack=False)
                assert ids_of(held) == [slow.id]
                released_s = time.monotonic()
                await receiver.release(held, 1.0)
                assert ids_of(await self.collect(receiver, 1)) == [slow.id]
                assert time.monotonic() - released_s >= 0.99
                await bus.publish([quick])
                assert ids_of(await self.collect(receiver, 1)) == [quick.id]

    # ---- looking ----------------------------------------------------------------------------------------------

    async def test_peeking_leaves_events_where_they_are(self) -> None:
        """The next events of a group, up to the number asked for, and they are still delivered."""
        events = self.events(5)
        async with self.open_bus() as bus:
            await bus.ensure([self.topic], [self.group])
            if not bus.guarantees.peeks:
                with pytest.raises(UnsupportedError):
                    await bus.peek(self.group, 1)
                pytest.skip("this bus cannot peek")
            assert list(await bus.peek(self.group, 3)) == []
            await bus.publish(events)
            for _ in range(2):
                peeked = await bus.peek(self.group, 3)
                assert len(peeked) == 3
                assert all(event in events for event in peeked)
            async with bus.subscribe([self.topic], self.group) as receiver:
                deliveries = await self.collect(receiver, 5)
            assert {delivery.tries for delivery in deliveries} == {1}
            assert list(await bus.peek(self.group, 3)) == []

    async def test_the_depth_counts_what_is_not_acknowledged(self) -> None:
        """Events being delivered are included where that is promised, those of other groups are not."""
        async with self.open_bus() as bus:
            await bus.ensure([self.topic], [self.group, f"{self.group}-other"])
            if not bus.guarantees.depths:
                with pytest.raises(UnsupportedError):
                    await bus.depth(self.group)
                pytest.skip("this bus cannot tell its depth")
            assert await bus.depth(self.group) == 0
            await bus.publish(self.events(4))
            assert await bus.depth(self.group) == 4
            async with bus.subscribe([self.topic], self.group) as receiver:
                held = await self.collect(receiver, 2, ack=False)
                with_held = await bus.depth(self.group)
                await receiver.ack(held)
                without = await bus.depth(self.group)
                if bus.guarantees.depths_held:
                    assert (with_held, without) == (4, 2)
                else:
                    assert max(with_held, without) <= 2
            async with asyncio.timeout(self.patience_s):
                while await bus.depth(self.group) != 2:  # noqa: ASYNC110  what was given back may be on its way
                    await asyncio.sleep(0.05)
            assert await bus.depth(f"{self.group}-other") == 4

    # ---- many, and over deaths --------------------------------------------------------------------------------

    async def test_ten_thousand_events_arrive(self) -> None:
        """Published by many at once and received by two, none is missing."""
        events = self.events(10_000)
        missing = {event.id for event in events}

        async def drain(receiver: Receiver) -> None:
            while missing:
                deliveries = await receiver.receive(200, 1.0)
                await receiver.ack(deliveries)
                missing.difference_update(ids_of(deliveries))

        async with self.open_bus() as bus:
            await bus.ensure([self.topic], [self.group])
            async with (
                bus.subscribe([self.topic], self.group) as one,
                bus.subscribe([self.topic], self.group) as two,
                asyncio.timeout(600),
                asyncio.TaskGroup() as tasks,
            ):
                for start in range(0, 10_000, 500):
                    tasks.create_task(bus.publish(events[start : start + 500]))
                tasks.create_task(drain(one))
                tasks.create_task(drain(two))
        assert not missing

    async def test_events_and_groups_last(self) -> None:
        """Where the bus is durable, what was published is there after everything was closed."""
        events = self.events(3)
        async with self.open_bus() as bus:
            if not bus.guarantees.durable:
                pytest.skip("this bus does not promise to be durable")
            await bus.ensure([self.topic], [self.group])
            await bus.publish(events)
        async with self.open_bus() as bus, bus.subscribe([self.topic], self.group) as receiver:
            assert set(ids_of(await self.collect(receiver, 3))) == {event.id for event in events}

    async def test_what_a_killed_process_held_comes_again(self) -> None:
        """A receiver whose process died by SIGKILL gives nothing back itself; the others get it all the same."""
        events = self.events(20)
        async with self.open_bus() as bus:
            self.needs_another_process(bus)
            await bus.ensure([self.topic], [self.group])
            await bus.publish(events)
            async with bus.subscribe([self.topic], self.group) as receiver:
                program = _RECEIVE_ELSEWHERE.format(topic=self.topic, group=self.group, most=20)
                async with running(self.elsewhere() + program) as output:
                    assert await output.readline() == b"holding\n"
                    assert list(await receiver.receive(20, 0.0)) == []
                deliveries = await self.collect(receiver, 20)
        assert set(ids_of(deliveries)) == {event.id for event in events}
        assert all(delivery.tries > 1 for delivery in deliveries)

    async def test_what_a_killed_process_published_arrives(self) -> None:
        """Once `publish` returned, a SIGKILL takes nothing away; and a receiver elsewhere is woken."""
        event_id = ids.new_id()
        async with self.open_bus() as bus:
            self.needs_another_process(bus)
            await bus.ensure([self.topic], [self.group])
            async with bus.subscribe([self.topic], self.group) as receiver, asyncio.TaskGroup() as tasks:
                waiting = tasks.create_task(self.collect(receiver, 1))
                async with running(self.elsewhere() + _PUBLISH_ELSEWHERE.format(topic=self.topic, id=event_id)) as out:
                    assert await out.readline() == b"published\n"
                assert ids_of(await waiting) == [event_id]
