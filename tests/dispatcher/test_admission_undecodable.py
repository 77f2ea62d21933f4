"""Messages that cannot be decoded: each becomes a dead letter that a person can look at, and stops nobody."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ion.adapters.blobs.filesystem import FilesystemBlobs
from ion.adapters.bus.sqlite import SqliteBus
from ion.adapters.sqlite.database import Database
from ion.dispatcher.admit import Admission
from ion.model.job import FailureClass, Job, State
from ion.model.module import Module, Subscription
from ion.ports.blobs import Blobs
from ion.ports.ledger import JobFilter
from ion.testing.conformance.bus_harness import made

if TYPE_CHECKING:
    from tests.dispatcher.conftest import Bench

PATIENCE_S = 120.0
RAW = b'{"specversion": "1.0", "type": '
DETECT = Module(name="detect", pipeline="media", on=(Subscription(type="photo"),))


class Elsewhere:
    """A bus on a store of its own, on which somebody publishes what Ion cannot read."""

    def __init__(self, database: Database, bus: SqliteBus) -> None:
        self.database, self.bus = database, bus

    async def publish(self, *raws: bytes) -> None:
        for raw in raws:
            await self.bus.publish([made("photo")])
            await self.database.write(partial(_spoil_last, raw))

    @asynccontextmanager
    async def admitting(self, bench: "Bench", blobs: Blobs | None = None) -> AsyncIterator[None]:
        """Admits until nothing is left on the bus, which the context waits for at its end."""
        admission = Admission(self.bus, bench.ledger, blobs or bench.blobs, DETECT, max_hops=8)
        async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as tasks:
            task = tasks.create_task(admission.run())
            yield
            while await self.bus.depth(DETECT.group):  # noqa: ASYNC110 - what is waited for makes no news
                await asyncio.sleep(0.005)
            task.cancel()


def _spoil_last(raw: bytes, connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE bus_events SET raw = ? WHERE seq = (SELECT max(seq) FROM bus_events)", (raw,))


@pytest.fixture
async def elsewhere() -> AsyncIterator[Elsewhere]:
    async with Database(None) as database, SqliteBus(database) as bus:
        await bus.ensure(["photo"], [DETECT.group])
        yield Elsewhere(database, bus)


async def jobs(bench: "Bench") -> Sequence[Job]:
    return (await bench.ledger.query(JobFilter(module="detect"))).jobs


async def test_it_becomes_a_dead_job_with_its_bytes_in_a_blob(bench: "Bench", elsewhere: Elsewhere) -> None:
    """The contract was broken, so no retry would help; the subject names the blob, the failure says the fault."""
    await elsewhere.publish(RAW)
    async with elsewhere.admitting(bench):
        pass
    (job,) = await jobs(bench)
    assert (job.state, job.event.type) == (State.DEAD, "ion.undecodable")
    assert job.failure is not None
    assert job.failure.kind is FailureClass.CONTRACT
    assert "cannot be read" in job.failure.message
    assert await bench.blobs.get_bytes(job.event.subject) == RAW


async def test_what_comes_beside_it_is_admitted(bench: "Bench", elsewhere: Elsewhere) -> None:
    """One sender's broken message is not another's trouble."""
    before, after = made("photo"), made("photo")
    await elsewhere.bus.publish([before])
    await elsewhere.publish(RAW)
    await elsewhere.bus.publish([after])
    async with elsewhere.admitting(bench):
        pass
    good = [job.event for job in await jobs(bench) if job.state is State.WAITING]
    assert good == [before, after]


async def test_the_same_bytes_are_one_dead_letter(bench: "Bench", elsewhere: Elsewhere) -> None:
    """Twice in one receipt, and once more later; other bytes are another letter."""
    await elsewhere.publish(RAW, RAW)
    async with elsewhere.admitting(bench):
        pass
    async with elsewhere.admitting(bench):
        await elsewhere.publish(RAW, b"\x00")
    assert [await bench.blobs.get_bytes(job.event.subject) for job in await jobs(bench)] == [RAW, b"\x00"]


@pytest.mark.parametrize("late", [False, True], ids=["unheard", "answer lost"])
async def test_it_is_not_acknowledged_before_it_is_buried(bench: "Bench", elsewhere: Elsewhere, late: bool) -> None:
    """Its blob is stored already when the admission is repeated, which is no hindrance."""
    bench.line.fail("admit", late=late)
    await elsewhere.publish(RAW)
    async with elsewhere.admitting(bench):
        pass
    assert bench.line.calls.count("admit") == 2
    assert [job.state for job in await jobs(bench)] == [State.DEAD]


class Contested(FilesystemBlobs):
    """A store into which another dispatcher puts the same message, between our look and our own."""

    async def put_bytes(self, path: str, content: bytes) -> None:
        await super().put_bytes(path, content)
        await super().put_bytes(path, content)


async def test_two_dispatchers_may_bury_the_same_bytes_at_once(
    bench: "Bench", elsewhere: Elsewhere, tmp_path: Path
) -> None:
    """Who comes second finds the blob stored, which is all it wanted."""
    await elsewhere.publish(RAW)
    async with Contested(tmp_path / "blobs") as blobs, elsewhere.admitting(bench, blobs):
        pass
    assert [job.state for job in await jobs(bench)] == [State.DEAD]
