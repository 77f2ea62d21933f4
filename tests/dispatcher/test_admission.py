"""Deliveries of a bus on another store than the ledger's: they become jobs, and only then are they acknowledged."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from ion.adapters.bus.sqlite import SqliteBus
from ion.adapters.sqlite.database import Database
from ion.dispatcher.admit import Admission
from ion.errors import UnavailableError
from ion.model.ids import job_id
from ion.model.job import Hold, Job, State
from ion.model.module import Module, Subscription
from ion.ports.bus import Bus, Delivery, Receiver
from ion.ports.ledger import JobFilter
from ion.testing.conformance.bus_harness import made

if TYPE_CHECKING:
    from tests.dispatcher.conftest import Bench

PATIENCE_S = 120.0
MAX_HOPS = 8
DETECT = Module(
    name="detect",
    pipeline="media",
    on=(Subscription(type="photo"), Subscription(type="scan", filters=({"suffix": {"subject": ".tif"}},))),
)

ONLY_CATS = Module(
    name="detect",
    pipeline="media",
    on=(Subscription(type="scan", filters=({"exact": {"data.kind": "cat"}},)),),
)


class Unheard(Receiver):
    """A receiver whose first acknowledgement does not reach the bus."""

    def __init__(self, receiver: Receiver, *, fails: bool) -> None:
        self._receiver, self._fails = receiver, fails

    async def receive(self, most: int, wait_s: float) -> Sequence[Delivery]:
        return await self._receiver.receive(most, wait_s)

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        if self._fails:
            raise UnavailableError("the bus went away before it heard of the acknowledgement")
        await self._receiver.ack(deliveries)

    async def release(self, deliveries: Sequence[Delivery], after_s: float = 0.0) -> None:
        await self._receiver.release(deliveries, after_s)


class ForgetfulBus(SqliteBus):
    """A bus that loses the acknowledgements of its first receiver. `subscriptions` counts them."""

    subscriptions = 0

    @asynccontextmanager
    async def subscribe(self, topics: Sequence[str], group: str) -> AsyncIterator[Receiver]:
        self.subscriptions += 1
        async with super().subscribe(topics, group) as receiver:
            yield Unheard(receiver, fails=self.subscriptions == 1)


@pytest.fixture
async def elsewhere() -> AsyncIterator[Database]:
    async with Database(None) as database:
        yield database


@pytest.fixture
async def bus(elsewhere: Database) -> AsyncIterator[SqliteBus]:
    """A bus on a store of its own, with the subscriptions of `DETECT`."""
    async with SqliteBus(elsewhere) as bus:
        await bus.ensure(["photo", "scan"], [DETECT.group])
        yield bus


@asynccontextmanager
async def admitting(bench: "Bench", bus: Bus, module: Module | None = None) -> AsyncIterator[None]:
    """Admits for a module, `DETECT` by default, until the context is left or the admission breaks."""
    admission = Admission(bus, bench.ledger, bench.blobs, module or DETECT, max_hops=MAX_HOPS)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(admission.run())
        yield
        task.cancel()


async def until(met: Callable[[], Awaitable[bool]]) -> None:
    """Waits for a condition, for a while."""
    async with asyncio.timeout(PATIENCE_S):
        while not await met():  # noqa: ASYNC110 - a line, or a bus elsewhere, makes no news
            await asyncio.sleep(0.005)


async def taken(bus: Bus) -> None:
    """Waits until the bus has nothing left for `DETECT`."""

    async def met() -> bool:
        return await bus.depth(DETECT.group) == 0

    await until(met)


async def jobs(bench: "Bench", module: str = "detect") -> Sequence[Job]:
    return (await bench.ledger.query(JobFilter(module=module), most=1000)).jobs


async def test_a_delivery_becomes_a_waiting_job_and_is_acknowledged(bench: "Bench", bus: SqliteBus) -> None:
    """The event arrives whole; the module's other topics are received as well, if they pass its filters."""
    photo, wanted = made("photo", data={"n": 1}), made("scan", subject="a.tif")
    await bus.publish([photo, made("scan", subject="a.png"), wanted])
    async with admitting(bench, bus):
        await taken(bus)
    assert [(job.event, job.state, job.hold) for job in await jobs(bench)] == [
        (photo, State.WAITING, None),
        (wanted, State.WAITING, None),
    ]


async def test_many_deliveries_all_become_jobs(bench: "Bench", bus: SqliteBus) -> None:
    """More than one receipt brings, some of them while it is admitting."""
    async with admitting(bench, bus):
        for _ in range(5):
            await bus.publish([made("photo") for _ in range(99)])
        await taken(bus)
    assert len(await jobs(bench)) == 495


async def test_nothing_is_acknowledged_before_its_job_is_in_the_ledger(bench: "Bench", bus: SqliteBus) -> None:
    """While the ledger is away the bus keeps everything; when it is back, each event is admitted once."""
    bench.line.cut("admit")
    await bus.publish([made("photo")])

    async def tried_twice() -> bool:
        return bench.line.calls.count("admit") >= 2

    async with admitting(bench, bus):
        await until(tried_twice)
        assert (await bus.depth(DETECT.group), await jobs(bench)) == (1, ())
        bench.line.cut()
        await taken(bus)
    assert [job.state for job in await jobs(bench)] == [State.WAITING]


async def test_who_is_killed_before_acknowledging_leaves_the_delivery_to_the_next(
    bench: "Bench", bus: SqliteBus
) -> None:
    """It goes back to the bus unharmed while the ledger is away."""
    bench.line.cut("admit")
    event = made("photo")
    await bus.publish([event])

    async def tried() -> bool:
        return "admit" in bench.line.calls

    async with admitting(bench, bus):
        await until(tried)
    bench.line.cut()
    async with admitting(bench, bus):
        await taken(bus)
    assert [job.event for job in await jobs(bench)] == [event]


@pytest.mark.parametrize("late", [False, True], ids=["unheard", "answer lost"])
async def test_an_admission_is_repeated_until_it_is_confirmed(bench: "Bench", bus: SqliteBus, late: bool) -> None:
    """Also where the ledger had obeyed and only its answer was lost."""
    bench.line.fail("admit", late=late)
    await bus.publish([made("photo")])
    async with admitting(bench, bus):
        await taken(bus)
    assert bench.line.calls.count("admit") == 2
    assert len(await jobs(bench)) == 1


async def test_a_second_delivery_admits_nothing(bench: "Bench", elsewhere: Database, bus: SqliteBus) -> None:
    """The acknowledgement is lost, the bus delivers again: the job is known by its id, and stays as it is by now."""
    forgetful = ForgetfulBus(elsewhere)
    event = made("photo")
    await bus.publish([event])

    async def unheard() -> bool:
        return forgetful.subscriptions == 2

    async with admitting(bench, forgetful):
        await until(unheard)
        claimed = await bench.claimed()
        await taken(bus)
        await bus.publish([event])
        await taken(bus)
    assert claimed.id == job_id(event.id, "detect")
    assert await jobs(bench) == (await bench.ledger.get(claimed.id),)
    assert (await bench.ledger.get(claimed.id)).state is State.RUNNING


async def test_a_bus_that_lost_its_groups_gets_them_again(bench: "Bench", bus: SqliteBus, elsewhere: Database) -> None:
    """What is published from then on is admitted; `ion bus replay` brings what was lost with them."""
    await elsewhere.write(lambda db: db.execute("DELETE FROM bus_subscriptions") and None)
    async with admitting(bench, bus):

        async def made_again() -> bool:
            return bool(elsewhere.read(lambda db: db.execute("SELECT count(*) FROM bus_subscriptions").fetchone())[0])

        await until(made_again)
        event = made("photo")
        await bus.publish([event])
        await taken(bus)
    assert [job.id for job in await jobs(bench)] == [job_id(event.id, "detect")]


async def test_an_event_that_came_too_far_is_held(bench: "Bench", bus: SqliteBus) -> None:
    """It is admitted and acknowledged all the same: nothing is lost, and the loop comes to rest."""
    await bus.publish([made("photo", hops=MAX_HOPS)])
    async with admitting(bench, bus):
        await taken(bus)
    assert [(job.state, job.hold) for job in await jobs(bench)] == [(State.WAITING, Hold.HOPS)]


async def test_filters_see_data_that_lies_in_a_blob(bench: "Bench", bus: SqliteBus) -> None:
    """It is fetched for them, and the job carries the event as it came."""
    await bench.blobs.put_bytes("a/1/x/data.json", b'{"kind": "cat"}')
    await bench.blobs.put_bytes("b/1/x/data.json", b'{"kind": "dog"}')
    cat, dog = (made("scan", subject="a.tif", dataref=f"{name}/1/x/data.json") for name in "ab")
    await bus.publish([cat, dog])
    async with admitting(bench, bus, ONLY_CATS):
        await taken(bus)
    assert [job.event for job in await jobs(bench)] == [cat]


async def test_an_event_whose_data_is_gone_stops_nobody(bench: "Bench", bus: SqliteBus) -> None:
    """A filter cannot judge it; what comes beside it is admitted, and the bus is not asked for ever."""
    gone, good = made("scan", dataref="gone/1/x/data.json"), made("scan", data={"kind": "cat"})
    await bus.publish([gone, good])
    async with admitting(bench, bus, ONLY_CATS):
        await taken(bus)
    assert good in [job.event for job in await jobs(bench)]


async def test_a_bus_that_goes_away_is_waited_for(bench: "Bench", elsewhere: Database, bus: SqliteBus) -> None:
    """Receiving begins anew when it is back; what came meanwhile is admitted."""
    forgetful = ForgetfulBus(elsewhere)
    await bus.publish([made("photo")])
    async with admitting(bench, forgetful):
        await taken(bus)
        await bus.publish([made("photo")])
        await taken(bus)
    assert forgetful.subscriptions == 2
    assert len(await jobs(bench)) == 2
