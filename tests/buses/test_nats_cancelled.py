"""Whoever is cancelled while it receives learns of it, also where a delivery comes at the same moment."""

import asyncio
from pathlib import Path

from tests.buses.nats_server import NatsServer

from ion.adapters.bus.nats import NatsBus
from ion.adapters.bus.nats_settings import NatsSettings
from ion.testing.conformance.bus_harness import ids_of, made

ROUNDS, TURNS = 200, 30
"""How often it is tried, and after how many turns of the loop at most: a delivery comes within them as a rule."""
PATIENCE_S = 120.0


async def test_a_cancelled_receive_ends_as_such_though_something_comes(tmp_path: Path) -> None:
    """It never answers as if nothing had been, and the delivery is the next one's."""
    with NatsServer(tmp_path / "nats") as server:
        async with NatsBus(NatsSettings(servers=(server.url,))) as bus:
            await bus.ensure(["photo"], ["detect"])
            async with bus.subscribe(["photo"], "detect") as receiver:
                cancelled = 0
                for number in range(ROUNDS):
                    call = asyncio.create_task(receiver.receive(1, PATIENCE_S))
                    await asyncio.sleep(0)
                    event = made("photo")
                    publishing = asyncio.create_task(bus.publish([event]))
                    for _ in range(number % TURNS):
                        await asyncio.sleep(0)
                    if call.cancel():
                        cancelled += 1
                        await asyncio.wait([call])
                        assert call.cancelled(), "it was cancelled, and answered"
                    await publishing
                    received = await (receiver.receive(1, PATIENCE_S) if call.cancelled() else call)
                    assert ids_of(received) == [event.id]
                    await receiver.ack(received)
                assert cancelled > 0
