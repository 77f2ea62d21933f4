"""What the relay does with a committed job whose results it cannot make known: it waits, and never drops it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest

from ion.adapters.bus.sqlite import SqliteBus
from ion.dispatcher.relay import AWAY_MOST_S, DEFER_FIRST_S, Relay
from ion.errors import InvalidError
from ion.model.event import Event
from ion.model.ids import new_id
from ion.model.job import Job, State
from ion.ports.ledger import DEFER_MOST_S, Control

if TYPE_CHECKING:
    from tests.dispatcher.conftest import Bench

A_FACE = {"events/1.json": '{"type": "face", "data": {"kind": "cat"}}'}
A_DOG = {"events/1.json": '{"type": "face", "data": {"kind": "dog"}}'}


class CatsOnly(SqliteBus):
    """A bus that has no room for dogs."""

    async def publish(self, events: Sequence[Event]) -> None:
        if any(event.data.get("kind") == "dog" for event in events):
            raise InvalidError("a dog is larger than this bus allows")
        await super().publish(events)


async def wait_until_due(bench: "Bench", job: Job) -> float:
    """Sets the clock to when a committed job is due again; how many seconds that were."""
    deferred = await bench.ledger.get(job.id)
    assert deferred.state is State.COMMITTED
    assert deferred.not_before is not None
    wait_s = deferred.not_before.timestamp() - bench.clock()
    bench.clock.advance(wait_s + 0.001)  # a time is kept in microseconds
    return wait_s


async def children(bench: "Bench", flow: str) -> int:
    return sum(count for (module, _), count in (await bench.ledger.tally(flow)).items() if module == "count")


async def test_a_job_that_cannot_be_published_stays_committed(bench: "Bench") -> None:
    """Its flow stays open, its history says why, and its children are in already."""
    job = await bench.committed(A_FACE)
    bench.line.cut("publish")
    await bench.relay().drain()
    deferred = await bench.ledger.get(job.id)
    assert deferred.state is State.COMMITTED
    assert deferred.history[-1].note == "publish is away"
    assert (await bench.ledger.open(job.correlation_id)).committed == 1
    assert await children(bench, job.correlation_id) == 1


async def test_it_is_tried_again_when_it_is_due_and_not_before(bench: "Bench") -> None:
    """Looking again at once costs nothing; after the wait it is published, and once."""
    job = await bench.committed(A_FACE)
    bench.line.cut("publish")
    relay = bench.relay()
    await relay.drain()
    await relay.drain()
    assert len(bench.bus.published) == 1
    bench.line.cut()
    await wait_until_due(bench, job)
    await relay.drain()
    assert (await bench.ledger.get(job.id)).state is State.RELEASED
    assert len(await bench.bus.peek("outside", 9)) == 1
    assert await children(bench, job.correlation_id) == 1


@pytest.mark.parametrize(("away", "most_s"), [("publish", AWAY_MOST_S), ("put", DEFER_MOST_S)])
async def test_it_waits_ever_longer_up_to_a_bound_and_is_never_dropped(
    bench: "Bench", away: str, most_s: float
) -> None:
    """After twenty tries it is still committed, and released once all is back; a bus is asked again within seconds."""
    job = await bench.committed(A_FACE)
    bench.line.cut(away)
    relay, waits = bench.relay(), []
    for _ in range(20):
        await relay.drain()
        waits.append(await wait_until_due(bench, job))
    for times, wait in enumerate(waits):
        full = min(most_s, DEFER_FIRST_S * 2.0**times)
        assert full / 2 - 0.001 <= wait <= full + 0.001
    bench.line.cut()
    await relay.drain()
    assert (await bench.ledger.get(job.id)).state is State.RELEASED


async def test_a_bus_that_is_away_is_told_once_for_all_jobs(bench: "Bench", caplog: pytest.LogCaptureFixture) -> None:
    """One line when it goes, one when it is back, however many jobs wait for it."""
    jobs = [await bench.committed(A_FACE) for _ in range(3)]
    bench.line.cut("publish")
    relay = bench.relay()
    await relay.drain()
    bench.line.cut()
    bench.clock.advance(DEFER_FIRST_S)
    await relay.drain()
    assert {(await bench.ledger.get(job.id)).state for job in jobs} == {State.RELEASED}
    assert [record.message for record in caplog.records] == [
        "publishing failed and will be tried again: publish is away",
        "publishing works again",
    ]


async def test_one_that_cannot_be_published_holds_up_no_other(bench: "Bench") -> None:
    """An event too large for the bus is deferred by itself; what was committed beside it goes out."""
    dog, cat = await bench.committed(A_DOG), await bench.committed(A_FACE)
    bus = CatsOnly(bench.database)
    await Relay(bench.ledger, bench.documents, bench.blobs, bus, owner="one", max_hops=8).drain()
    assert (await bench.ledger.get(dog.id)).state is State.COMMITTED
    assert (await bench.ledger.get(cat.id)).state is State.RELEASED


async def test_a_manifest_that_is_gone_defers_its_job(bench: "Bench") -> None:
    """A person may bring the blob back; until then the job is neither released nor lost."""
    job = await bench.committed({f"events/{n:03}.json": '{"type": "face"}' for n in range(200)})
    assert job.manifest is not None
    manifest = await bench.blobs.get_bytes(job.manifest.blob)
    await bench.blobs.delete(f"{job.id}/")
    relay = bench.relay()
    await relay.drain()
    assert (await bench.ledger.get(job.id)).state is State.COMMITTED
    await bench.blobs.put_bytes(job.manifest.blob, manifest)
    bench.clock.advance(DEFER_FIRST_S)
    await relay.drain()
    assert (await bench.ledger.get(job.id)).state is State.RELEASED


async def test_jobs_of_another_living_dispatcher_are_left_to_it(bench: "Bench") -> None:
    """A relay takes its own and what has no owner."""
    theirs, ours = await bench.committed(A_FACE, owner="two"), await bench.committed(A_FACE)
    await bench.relay().drain()
    assert (await bench.ledger.get(theirs.id)).state is State.COMMITTED
    assert (await bench.ledger.get(ours.id)).state is State.RELEASED
    await bench.ledger.adopt(["two"], "three")
    await bench.relay().drain()
    assert (await bench.ledger.get(theirs.id)).state is State.RELEASED


@pytest.mark.parametrize(
    ("control", "state", "held"), [(Control.CANCELLED, State.CANCELLED, 0), (Control.PAUSED, State.WAITING, 1)]
)
async def test_children_of_a_controlled_flow_are_born_controlled(
    bench: "Bench", control: Control, state: State, held: int
) -> None:
    """A running job commits and is relayed; what it would have started is cancelled, or held."""
    flow = new_id()
    job = await bench.running(flow=flow)
    await bench.ledger.control(flow, control, "test")
    assert await bench.ledger.commit(job.id, job.attempt, await bench.results(job, A_FACE))
    await bench.relay().drain()
    assert await bench.ledger.tally(flow) == {("detect", State.RELEASED): 1, ("count", state): 1}
    assert (await bench.ledger.open(flow)).held == held


async def test_a_child_too_far_from_the_root_is_held(bench: "Bench") -> None:
    """A loop between modules comes to rest in the ledger, to be looked at."""
    job = await bench.committed(A_FACE)
    strict = Relay(bench.ledger, bench.documents, bench.blobs, bench.bus, owner="one", max_hops=1)
    await strict.drain()
    assert (await bench.ledger.open(job.correlation_id)).held == 1
    assert await bench.ledger.tally(job.correlation_id) == {
        ("detect", State.RELEASED): 1,
        ("count", State.WAITING): 1,
    }
