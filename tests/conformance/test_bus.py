"""The bus in memory and in a file, against the suite of every adapter, and what SQLite's promises beyond it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from ion.adapters.bus.presence import Presence
from ion.adapters.bus.sqlite import SqliteBus
from ion.adapters.sqlite.database import Database
from ion.errors import NotFoundError
from ion.ports.bus import Bus
from ion.ports.ledger import Changes
from ion.testing.conformance.bus import BusConformance
from ion.testing.conformance.bus_harness import ids_of, made

TOPIC, GROUP = "photo", "detect"


@asynccontextmanager
async def open_bus(path: Path | None) -> AsyncIterator[Bus]:
    async with Database(path) as database, SqliteBus(database) as bus:
        yield bus


class TestMemoryBus(BusConformance):
    def open_bus(self) -> AbstractAsyncContextManager[Bus]:
        return open_bus(None)


class TestFileBus(BusConformance):
    @pytest.fixture(autouse=True)
    def store(self, tmp_path: Path) -> None:
        self.path = tmp_path / "ion.db"

    def open_bus(self) -> AbstractAsyncContextManager[Bus]:
        return open_bus(self.path)

    def elsewhere(self) -> str:
        return f"""
from contextlib import asynccontextmanager
from pathlib import Path
from ion.adapters.bus.sqlite import SqliteBus
from ion.adapters.sqlite.database import Database

@asynccontextmanager
async def open_bus():
    async with Database(Path({str(self.path)!r})) as database, SqliteBus(database) as bus:
        yield bus
"""


@pytest.fixture
async def database() -> AsyncIterator[Database]:
    async with Database(None) as database:
        yield database


@pytest.fixture
async def bus(database: Database) -> AsyncIterator[SqliteBus]:
    async with SqliteBus(database) as bus:
        await bus.ensure([TOPIC], [GROUP])
        yield bus


def count(database: Database, table: str) -> int:
    return int(database.read(lambda connection: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]))


async def test_the_bus_lives_in_the_databases_store(database: Database, bus: SqliteBus) -> None:
    """So that wiring can see that admission is the publication."""
    assert bus.guarantees.store == database.store


async def test_a_body_is_stored_once_and_as_long_as_a_group_needs_it(database: Database, bus: SqliteBus) -> None:
    """Two groups share it; it goes with the last acknowledgement, and without a group it is not stored at all."""
    await bus.ensure([TOPIC], ["second"])
    await bus.publish([made(TOPIC), made("unheard")])
    assert count(database, "bus_events") == 1
    for group, left in ((GROUP, 1), ("second", 0)):
        async with bus.subscribe([TOPIC], group) as receiver:
            await receiver.ack(await receiver.receive(9, 0.0))
        assert count(database, "bus_events") == left
    assert count(database, "bus_deliveries") == count(database, "bus_receivers") == 0


async def test_an_event_published_again_while_it_is_pending_is_dropped(database: Database, bus: SqliteBus) -> None:
    """A publication repeated after a failure piles nothing up, in flight or not; once acknowledged it comes again."""
    event = made(TOPIC)
    await bus.publish([event, event])
    async with bus.subscribe([TOPIC], GROUP) as receiver:
        (delivery,) = await receiver.receive(9, 0.0)
        await bus.publish([event])
        assert await bus.depth(GROUP) == count(database, "bus_events") == 1
        await receiver.ack([delivery])
        await bus.publish([event])
        assert ids_of(await receiver.receive(9, 0.0)) == [event.id]


async def test_an_old_delivery_cannot_acknowledge_or_release_a_new_one(bus: SqliteBus) -> None:
    """What was redelivered meanwhile belongs to whoever has it now."""
    await bus.publish([made(TOPIC)])
    async with bus.subscribe([TOPIC], GROUP) as one, bus.subscribe([TOPIC], GROUP) as two:
        old = await one.receive(1, 0.0)
        await one.release(old)
        assert len(await two.receive(1, 0.0)) == 1
        await one.ack(old)
        await one.release(old)
        assert await bus.depth(GROUP) == 1
        assert await one.receive(1, 0.0) == ()


async def test_a_body_that_cannot_be_read_comes_with_its_fault(database: Database, bus: SqliteBus) -> None:
    """Another version may have written it: it is delivered, to be buried, and does not stop what comes behind."""
    first, second = made(TOPIC), made(TOPIC)
    await bus.publish([first, second])
    await database.write(
        lambda connection: connection.execute("UPDATE bus_events SET raw = x'00' WHERE seq = 1") and None
    )
    assert list(await bus.peek(GROUP, 9)) == [second]
    async with bus.subscribe([TOPIC], GROUP) as receiver:
        broken, whole = await receiver.receive(9, 0.0)
        assert (broken.event, broken.raw) == (None, b"\0")
        assert "cannot be read" in broken.fault
        assert whole.event == second
        await receiver.ack([broken, whole])
    assert await bus.depth(GROUP) == 0


async def test_a_released_event_returns_to_its_place(bus: SqliteBus) -> None:
    """Without a delay it comes before what was published later."""
    events = [made(TOPIC) for _ in range(3)]
    await bus.publish(events)
    async with bus.subscribe([TOPIC], GROUP) as receiver:
        await receiver.release(await receiver.receive(2, 0.0))
        assert ids_of(await receiver.receive(9, 0.0)) == [event.id for event in events]


async def test_a_delay_is_by_the_databases_clock() -> None:
    """A released event is due when that clock says so."""
    now = [1000.0]
    async with Database(None, clock=lambda: now[0]) as database, SqliteBus(database) as bus:
        await bus.ensure([TOPIC], [GROUP])
        await bus.publish([made(TOPIC)])
        async with bus.subscribe([TOPIC], GROUP) as receiver:
            await receiver.release(await receiver.receive(1, 0.0), 3600.0)
            assert await receiver.receive(1, 0.0) == ()
            now[0] += 3600.0
            assert len(await receiver.receive(1, 0.0)) == 1


async def test_a_cancelled_receive_is_undone_by_the_next(bus: SqliteBus) -> None:
    """What a cancelled call claimed is free again while its receiver stays open, and was not tried."""
    async with bus.subscribe([TOPIC], GROUP) as receiver:
        for turns in range(12):
            await bus.publish([made(TOPIC)])
            receiving = asyncio.create_task(receiver.receive(1, 10.0))
            for _ in range(turns):
                await asyncio.sleep(0)
            receiving.cancel()
            await asyncio.wait([receiving])
            if receiving.cancelled():
                (delivery,) = await receiver.receive(1, 0.0)
                assert delivery.tries == 1
            else:
                (delivery,) = receiving.result()
            await receiver.ack([delivery])


async def test_subscribing_to_what_was_not_made_is_refused(bus: SqliteBus) -> None:
    """A misspelt topic or group would wait for ever."""
    for topic, group in (("foto", GROUP), (TOPIC, "detekt")):
        with pytest.raises(NotFoundError, match="ensure"):
            async with bus.subscribe([topic], group):
                pass


async def test_what_a_closed_bus_held_is_free(tmp_path: Path) -> None:
    """A receiver whose context could not be left in order loses its deliveries with its bus's lock."""
    async with Database(tmp_path / "ion.db") as database, SqliteBus(database) as living:
        await living.ensure([TOPIC], [GROUP])
        await living.publish([made(TOPIC)])
        abandoned = SqliteBus(database)
        context = abandoned.subscribe([TOPIC], GROUP)
        receiver = await context.__aenter__()
        assert len(await receiver.receive(1, 0.0)) == 1
        async with living.subscribe([TOPIC], GROUP) as other:
            assert await other.receive(1, 0.0) == ()
        await abandoned.__aexit__(None, None, None)
        async with living.subscribe([TOPIC], GROUP) as other:
            assert len(await other.receive(1, 0.0)) == 1
        await context.__aexit__(None, None, None)


async def test_news_of_others_does_not_end_a_wait(database: Database, bus: SqliteBus) -> None:
    """A listener is also woken by the ledger; the receiver looks and waits on."""
    async with bus.subscribe([TOPIC], GROUP) as receiver, asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(receiver.receive(1, 30.0))
        for _ in range(5):
            await database.write(lambda _: None, changes=Changes.DUE)
        await bus.publish([event := made(TOPIC)])
        assert ids_of(await waiting) == [event.id]


def test_a_lock_tells_life_from_death(tmp_path: Path) -> None:
    """A held lock is alive, a closed or missing one gone; opening clears what the dead left, and spares the living."""
    living, other = Presence(tmp_path / "ion.db"), Presence(tmp_path / "ion.db")
    name = living.show()
    (tmp_path / "ion.db.receivers" / "dead").touch()
    other.show()
    assert not other.gone(name)
    assert other.gone("dead")
    assert {path.name for path in (tmp_path / "ion.db.receivers").iterdir()} == {name, other.name}
    living.hide()
    assert other.gone(name)
    other.hide()
    assert list((tmp_path / "ion.db.receivers").iterdir()) == []
