"""A NATS server that dies, loses its disk, or is cut off, under load: nothing is lost, and work goes on by itself.

The tests wait for what must happen, for at most `PATIENCE_S`; what they measure is in `docs/buses/nats.md`.
"""

import asyncio
import logging
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from tests.buses.nats_server import NatsServer
from tests.buses.proxy import Proxy

from ion.adapters.bus.nats import NatsBus
from ion.adapters.bus.nats_settings import NatsSettings
from ion.dispatcher.backoff import persist
from ion.errors import UnavailableError
from ion.model.event import Event
from ion.ports.bus import Bus
from ion.testing.conformance.bus_harness import ids_of, made
from ion.testing.conformance.elsewhere import running

PATIENCE_S = 180.0
TOPIC, GROUPS = "photo", ("detect", "outside")
HOLD_S = 5.0
LONG_HOLD_S = 20.0
"""Where nothing may come twice, on a busy machine either."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    with NatsServer(tmp_path / "nats") as server:
        yield server


def opened(port: int, *, hold_s: float = HOLD_S, timeout_s: float = 60.0) -> NatsBus:
    return NatsBus(NatsSettings(servers=(f"nats://127.0.0.1:{port}",), ack_wait_s=hold_s, timeout_s=timeout_s))


class Load:
    """Publishes for as long as it is open, as a relay does: what is not confirmed is published again. Each group
    receives and acknowledges, as an admission does.
    """

    def __init__(self, bus: Bus, other: Bus) -> None:
        self._bus, self._other = bus, other
        self.confirmed: set[str] = set()
        self.received: dict[str, Counter[str]] = {group: Counter() for group in GROUPS}
        self._stop = False

    @asynccontextmanager
    async def under_way(self) -> AsyncIterator[None]:
        for group in GROUPS:
            await self._other.ensure([TOPIC], [group])
        receiving = [asyncio.create_task(self._receive(group), name=group) for group in GROUPS]
        publishing = asyncio.create_task(self._publish(), name="publish")
        try:
            yield
            self._stop = True
            await asyncio.wait_for(publishing, PATIENCE_S)
            await until(lambda: all(self.confirmed <= set(self.received[group]) for group in GROUPS))
        finally:
            for task in (publishing, *receiving):
                task.cancel()
            await asyncio.gather(publishing, *receiving, return_exceptions=True)

    async def goes_on(self, events: int = 1) -> float:
        """Waits until both sides have done more; how many seconds that took."""
        begun = time.monotonic()
        confirmed = len(self.confirmed)
        received = {group: len(self.received[group]) for group in GROUPS}
        await until(
            lambda: (
                len(self.confirmed) >= confirmed + events
                and all(len(self.received[group]) >= received[group] + events for group in GROUPS)
            )
        )
        return time.monotonic() - begun

    async def replay(self) -> None:
        """Publishes again what some group has not received."""
        lost = {one for one in self.confirmed if not all(one in received for received in self.received.values())}
        await self._persist([made(TOPIC, id=event_id) for event_id in lost])

    async def _publish(self) -> None:
        while not self._stop:
            events = [made(TOPIC) for _ in range(20)]
            await self._persist(events)
            self.confirmed |= {event.id for event in events}
            await asyncio.sleep(0.002)

    async def _persist(self, events: list[Event]) -> None:
        while True:
            try:
                await self._bus.publish(events)
            except UnavailableError:
                await asyncio.sleep(0.1)
            else:
                return

    async def _receive(self, group: str) -> None:
        while True:
            with suppress(UnavailableError):
                async with self._other.subscribe([TOPIC], group) as receiver:
                    while True:
                        deliveries = await receiver.receive(50, 120.0)
                        self.received[group].update(ids_of(deliveries))
                        await receiver.ack(deliveries)
            await asyncio.sleep(0.1)


async def until(met: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not met():  # noqa: ASYNC110  a condition of the whole test, not an event
            await asyncio.sleep(0.02)


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def turns(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Each "away" and "back" of a line that the log tells."""
    found = [re.match(r"the bus NATS at \S+ is (away|back)\b", line) for line in said(caplog)]
    return [one[1] for one in found if one is not None]


async def test_a_killed_server_loses_nothing(server: NatsServer, caplog: pytest.LogCaptureFixture) -> None:
    """Killed three times under load and started again: every confirmed event reaches both groups, and each death has
    one line in the log when it comes and one when it is over.
    """
    async with opened(server.port) as bus, opened(server.port) as other:
        load = Load(bus, other)
        async with load.under_way():
            for _ in range(3):
                await load.goes_on(300)
                server.kill()
                await asyncio.sleep(1.0)
                server.start()
                print("back at work after", await load.goes_on())
        assert await bus.depth(GROUPS[0]) == 0
    assert Counter(turns(caplog)) == {"away": 6, "back": 6}  # of two buses, three times each
    assert len(said(caplog)) == 12


async def test_a_server_without_its_disk_is_furnished_again(
    server: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Stream and consumers are made again without a call for it; what is published again from the record arrives."""
    async with opened(server.port) as bus, opened(server.port) as other:
        load = Load(bus, other)
        async with load.under_way():
            await load.goes_on()
            server.kill()
            server.lose_disk()
            await asyncio.sleep(1.0)
            server.start()
            print("back at work after", await load.goes_on())
            await load.replay()
    assert any("NATS had lost the stream ION" in line for line in said(caplog))


async def test_a_removed_stream_is_made_again(server: NatsServer) -> None:
    """Whoever removes it under a running Ion: neither side needs a restart."""
    async with opened(server.port) as bus, opened(server.port) as other:
        load = Load(bus, other)
        async with load.under_way():
            await load.goes_on()
            line = await bus._connection.line()
            await line.client.request("$JS.API.STREAM.DELETE.ION", b"")
            await load.goes_on()
            await load.replay()


async def test_what_a_new_stream_confirmed_to_nobody_is_published_again(server: NatsServer) -> None:
    """Another process made it again, without the groups of this one, and nobody had told this one."""
    async with opened(server.port) as bus, opened(server.port) as other:
        await bus.ensure([TOPIC], [GROUPS[0]])
        await bus.publish([made(TOPIC) for _ in range(3)])
        line = await other._connection.line()
        await line.client.request("$JS.API.STREAM.DELETE.ION", b"")
        await other.ensure([], [])
        await bus.publish([event := made(TOPIC)])
        async with bus.subscribe([TOPIC], GROUPS[0]) as receiver:
            assert ids_of(await receiver.receive(9, PATIENCE_S)) == [event.id]


async def test_a_line_that_is_cut_is_followed_by_a_new_one(
    server: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Both sides go on when it can be had again; meanwhile whoever publishes is told."""
    async with Proxy(server.port) as proxy, opened(proxy.port) as bus, opened(server.port) as other:
        load = Load(bus, other)
        async with load.under_way():
            for _ in range(3):
                await load.goes_on()
                proxy.cut()
                with pytest.raises(UnavailableError):
                    await bus.publish([made(TOPIC)])
                await asyncio.sleep(0.5)
                proxy.mend()
                await load.goes_on()
    assert turns(caplog) == ["away", "back"] * 3


async def test_a_line_that_hangs_is_given_up(server: NatsServer, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing comes and nothing breaks: who asks is told after `timeout_s`, the line is replaced, and what its receiver
    held is given to others.
    """
    async with Proxy(server.port) as proxy, opened(server.port) as bus, opened(proxy.port, timeout_s=5.0) as other:
        load = Load(bus, other)
        async with load.under_way():
            await load.goes_on()
            proxy.stall()
            with pytest.raises(UnavailableError):
                await other.depth(GROUPS[0])
            await until(lambda: any("is away" in line for line in said(caplog)))
            proxy.resume()
            await load.goes_on()


async def test_what_a_killed_consumer_held_is_received_by_others(server: NatsServer) -> None:
    """A process dies with hundreds of unacknowledged deliveries; each comes again, once, to whoever is left."""
    events = [made(TOPIC) for _ in range(500)]
    program = f"""
import asyncio
from tests.buses.test_nats_faults import GROUPS, LONG_HOLD_S, TOPIC, opened

async def main():
    async with opened({server.port}, hold_s=LONG_HOLD_S) as bus, bus.subscribe([TOPIC], GROUPS[0]) as receiver:
        held = []
        while len(held) < 300:
            held += await receiver.receive(300 - len(held), 1.0)
        await receiver.ack(held[:100])
        print("holding", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""
    async with opened(server.port, hold_s=LONG_HOLD_S) as bus:
        await bus.ensure([TOPIC], [GROUPS[0]])
        await bus.publish(events)
        async with running(program) as output:
            assert await output.readline() == b"holding\n"
        received: Counter[str] = Counter()
        async with bus.subscribe([TOPIC], GROUPS[0]) as receiver, asyncio.timeout(PATIENCE_S):
            while len(received) < 400:
                deliveries = await receiver.receive(100, 1.0)
                received.update(ids_of(deliveries))
                await receiver.ack(deliveries)
        assert set(received.values()) == {1}
        assert await bus.depth(GROUPS[0]) == 0


async def test_a_full_stream_refuses_new_events(server: NatsServer) -> None:
    """What waits is not dropped for what comes; once a group has done its work there is room again."""
    settings = NatsSettings(servers=(server.url,), max_bytes=64 * 1024)
    async with NatsBus(settings) as bus:
        await bus.ensure([TOPIC], [GROUPS[0]])
        first = made(TOPIC, data="x" * 40_000)
        await bus.publish([first])
        with pytest.raises(UnavailableError, match="maximum bytes"):
            await bus.publish([made(TOPIC, data="x" * 40_000)])
        async with bus.subscribe([TOPIC], GROUPS[0]) as receiver:
            deliveries = await receiver.receive(9, PATIENCE_S)
            assert ids_of(deliveries) == [first.id]
            await receiver.ack(deliveries)
        await bus.publish([made(TOPIC, data="x" * 40_000)])


async def test_a_server_that_is_not_there_is_told_at_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """In one sentence that names it; when it comes later, the same bus works."""
    with NatsServer(tmp_path / "late") as server:
        server.kill()
        async with opened(server.port) as bus:
            with pytest.raises(UnavailableError, match=f"no NATS server can be used .*{server.port}.*bus.servers"):
                await bus.publish([made(TOPIC)])
            server.start()

            async with asyncio.timeout(PATIENCE_S):
                await persist(lambda: bus.ensure([TOPIC], [GROUPS[0]]), "making a group")
    assert turns(caplog) == ["back"]
