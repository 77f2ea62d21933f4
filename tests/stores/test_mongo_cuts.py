"""The line is cut at each write of a verb, before or after it took effect; then somebody else goes on.

As if the process had been killed between any two writes: what one verb does with several documents must be complete,
repeatable or repaired by who comes next.
"""

import gc
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import msgspec
import pytest
from tests.leftovers import LEAVES, collected
from tests.stores.mongo_proxy import Proxy
from tests.stores.mongo_server import MongoServer, mongo_server

from ion.adapters.documents.mongo import MongoDocuments
from ion.adapters.ledger.mongo import MongoLedger
from ion.adapters.mongo.database import MongoDatabase
from ion.adapters.mongo.settings import MongoSettings
from ion.errors import ConflictError, UnavailableError
from ion.model.job import FailureClass, Hold, State
from ion.model.record import Kind, Record
from ion.ports.documents import RecordFilter
from ion.ports.ledger import Bury, Control, GiveBack, Owner, Retry
from ion.testing.conformance.documents import record
from ion.testing.conformance.ledger_keeping import next_run
from ion.testing.conformance.ledger_stage import claim, failure, manifest, revision, waiting_job

__all__ = ["collected", "mongo_server"]

pytestmark = LEAVES  # a client that is closed while it connects leaves its socket

WRITES_MOST = 40

Verb = Callable[[MongoLedger], Awaitable[object]]


@pytest.fixture(params=[False, True], ids=["before", "after"])
def after(request: pytest.FixtureRequest) -> bool:
    """Whether the write at which the line is cut takes effect."""
    return bool(request.param)


@asynccontextmanager
async def opened(settings: MongoSettings) -> AsyncIterator[MongoLedger]:
    async with MongoDatabase(settings) as database:
        yield MongoLedger(database, max_jobs=100)


@asynccontextmanager
async def hasty(settings: MongoSettings) -> AsyncIterator[MongoDatabase]:
    """Gives up soon what cannot be; on a busy machine that may be its opening."""
    async with AsyncExitStack() as stack:
        while True:
            with suppress(UnavailableError):
                database = await stack.enter_async_context(MongoDatabase(settings))
                break
        yield database


async def cut(server: MongoServer, settings: MongoSettings, at: int, verb: Verb, *, after: bool) -> bool:
    """Runs a verb on a line that is cut at its write number `at`; whether it has so many."""
    async with (
        Proxy(server.port) as proxy,
        hasty(MongoSettings(uri=proxy.uri, database=settings.database, timeout_s=0.5)) as database,
    ):
        proxy.writes, proxy.cut_at, proxy.cut_after = 0, at, after
        try:
            await verb(MongoLedger(database, max_jobs=100))
        except UnavailableError:
            return True
        finally:
            gc.collect()
        # What was cut may have been news, of which the verb knows nothing.
        return proxy.writes >= at


async def everywhere(server: MongoServer, verb: Verb, before: Verb, check: Verb, *, after: bool) -> None:
    """Cuts a verb at every write it makes; `before` prepares, and `check` says what must be true."""
    for at in range(WRITES_MOST):
        settings = server.settings()
        async with opened(settings) as ledger:
            await before(ledger)
        was_cut = await cut(server, settings, at, verb, after=after)
        async with opened(settings) as ledger:
            await check(ledger)
        if not was_cut:
            assert at > 0
            return
    pytest.fail(f"more than {WRITES_MOST} writes")


async def test_an_admission_is_completed_by_its_repetition(mongo_server: MongoServer, after: bool) -> None:
    """All its jobs are there once, counted exactly, and can be claimed."""
    jobs = [waiting_job(flow=flow) for flow in ("a", "a", "b", "c")]

    async def nothing(ledger: MongoLedger) -> None:
        await ledger.apply([revision()], "test")

    async def check(ledger: MongoLedger) -> None:
        await ledger.admit(jobs)
        assert {flow: (await ledger.flow(flow)).jobs for flow in "abc"} == {"a": 2, "b": 1, "c": 1}
        assert Counter(job.id for job in await ledger.claim(claim(10))) == Counter(job.id for job in jobs)
        assert not await ledger.admit(jobs)

    await everywhere(mongo_server, lambda ledger: ledger.admit(jobs), nothing, check, after=after)


async def test_the_limit_of_a_flow_is_exact_after_a_cut(mongo_server: MongoServer, after: bool) -> None:
    """Places that were taken and never used hold no job that is within `max_jobs`."""
    jobs = [waiting_job(flow="f") for _ in range(60)]
    more = [waiting_job(flow="f") for _ in range(41)]

    async def nothing(ledger: MongoLedger) -> None:
        await ledger.apply([revision()], "test")

    async def check(ledger: MongoLedger) -> None:
        await ledger.admit(jobs)
        await ledger.admit(more)
        holds = Counter([(await ledger.get(job.id)).hold for job in (*jobs, *more)])
        assert holds == {None: 100, Hold.JOBS: 1}

    await everywhere(mongo_server, lambda ledger: ledger.admit(jobs), nothing, check, after=after)


@pytest.mark.parametrize("most", [None, 2])
async def test_devices_and_bounds_survive_a_claim_that_was_cut(
    mongo_server: MongoServer, most: int | None, after: bool
) -> None:
    """No device is given twice, none is lost, and no more jobs run than may."""
    asked = claim(5, gpus_each=1, devices=("0", "1"), module_most=most)

    async def before(ledger: MongoLedger) -> None:
        await ledger.admit([waiting_job(flow="f") for _ in range(6)])

    async def check(ledger: MongoLedger) -> None:
        more = await ledger.claim(msgspec.structs.replace(asked, owner="two"))
        running = [*await ledger.running("one"), *await ledger.running("two")]
        assert sorted(device for job in running for device in job.devices) == ["0", "1"]
        assert {job.id for job in more} <= {job.id for job in running}
        await ledger.adopt(["one"], "two")
        for job in running:
            assert await ledger.settle(job.id, job.attempt, "two", GiveBack(reason="test"))
        assert len(await ledger.claim(asked)) == 2

    await everywhere(mongo_server, lambda ledger: ledger.claim(asked), before, check, after=after)


async def test_a_control_is_completed_by_its_repetition(mongo_server: MongoServer, after: bool) -> None:
    """Cut short, a cancelling has let nothing of the flow be claimed; repeated, it ends the flow."""

    async def before(ledger: MongoLedger) -> None:
        await ledger.admit([waiting_job(flow="f") for _ in range(3)])
        await ledger.claim(claim(1))

    async def check(ledger: MongoLedger) -> None:
        await ledger.control("f", Control.CANCELLED, "me")
        assert not await ledger.claim(claim(5))
        assert (await ledger.open("f")).waiting == 0
        (running,) = await ledger.running("one")
        assert running.cancelling

    async def cancel(ledger: MongoLedger) -> None:
        await ledger.control("f", Control.CANCELLED, "me")

    await everywhere(mongo_server, cancel, before, check, after=after)


async def test_a_control_holds_from_its_first_write_on(mongo_server: MongoServer) -> None:
    """A pause that was cut right after it was written down is met by every claim."""

    async def pause(ledger: MongoLedger) -> None:
        await ledger.control("f", Control.PAUSED, "me")

    settings = mongo_server.settings()
    async with opened(settings) as ledger:
        jobs = [waiting_job(flow="f") for _ in range(3)]
        await ledger.admit(jobs)
        assert await cut(mongo_server, settings, 0, pause, after=True)
        assert not await ledger.claim(claim(5))
        assert (await ledger.open("f")).held == 3
        await ledger.control("f", Control.NONE, "me")
        assert len(await ledger.claim(claim(5))) == 3


async def test_a_further_run_is_completed_by_its_repetition(mongo_server: MongoServer, after: bool) -> None:
    """It waits once and can be claimed; cut short it is not claimed before it is complete."""
    job = waiting_job(flow="f")

    async def before(ledger: MongoLedger) -> None:
        await ledger.apply([revision()], "test")
        await ledger.admit([job])
        (mine,) = await ledger.claim(claim())
        await ledger.commit(mine.id, 1, manifest())
        await ledger.released(mine.id, "one")

    async def rerun(ledger: MongoLedger) -> None:
        await ledger.rerun(next_run(job), (job.id,), "me")

    async def check(ledger: MongoLedger) -> None:
        with suppress(ConflictError):
            await rerun(ledger)
        assert (await ledger.open("f")).waiting == 1
        (again,) = await ledger.claim(claim(5))
        assert [change.actor for change in again.history] == ["admission", "me", "one"]

    await everywhere(mongo_server, rerun, before, check, after=after)


@pytest.mark.parametrize(
    "outcome", [Retry(failure=failure(FailureClass.MODULE), delay_s=0), Bury(failure=failure(FailureClass.MODULE))]
)
async def test_a_failure_is_counted_once(mongo_server: MongoServer, outcome: Retry | Bury, after: bool) -> None:
    """Settled again after a cut, the job has one failure and one state."""
    job = waiting_job(flow="f")

    async def before(ledger: MongoLedger) -> None:
        await ledger.apply([revision()], "test")
        await ledger.admit([job])
        await ledger.claim(claim())

    async def settle(ledger: MongoLedger) -> None:
        await ledger.settle(job.id, 1, "one", outcome)

    async def check(ledger: MongoLedger) -> None:
        await settle(ledger)
        found = await ledger.get(job.id)
        assert found.failures == {FailureClass.MODULE: 1}
        assert found.state is (State.WAITING if isinstance(outcome, Retry) else State.DEAD)

    await everywhere(mongo_server, settle, before, check, after=after)


async def test_an_adoption_is_completed_by_somebody_else(mongo_server: MongoServer, after: bool) -> None:
    """The dead owner is seen as long as something of it is left."""

    async def before(ledger: MongoLedger) -> None:
        await ledger.beat(Owner(id="one", scope="here", host="h", pid=1))
        await ledger.admit([waiting_job(flow="f") for _ in range(4)])
        for job in (await ledger.claim(claim(4)))[:2]:
            await ledger.commit(job.id, 1, manifest())

    async def adopt(ledger: MongoLedger) -> None:
        await ledger.adopt(["one"], "two")

    async def check(ledger: MongoLedger) -> None:
        owners = await ledger.beat(Owner(id="three", scope="here", host="h", pid=3))
        await ledger.adopt([owner.id for owner in owners if owner.id == "one"], "three")
        assert not await ledger.running("one")
        assert len([*await ledger.running("two"), *await ledger.running("three")]) == 2
        assert len(await ledger.unreleased(9, "three")) == 2

    await everywhere(mongo_server, adopt, before, check, after=after)


async def test_forgetting_is_completed_by_its_repetition(mongo_server: MongoServer, after: bool) -> None:
    """Neither tombstones nor their flow stay behind."""
    jobs = [waiting_job(flow="f", state=State.DEAD, failure=failure()) for _ in range(3)]

    async def before(ledger: MongoLedger) -> None:
        await ledger.admit(jobs)
        for job in jobs:
            await ledger.expire(job.id, "retention")
            await ledger.strip(job.id)

    async def forget(ledger: MongoLedger) -> None:
        await ledger.forget("f", 10)

    async def check(ledger: MongoLedger) -> None:
        await forget(ledger)
        assert [flow.correlation_id async for flow in ledger.flows()] == []
        assert await ledger.admit(jobs) == {job.id for job in jobs}

    await everywhere(mongo_server, forget, before, check, after=after)


async def test_records_are_whole_after_a_cut(mongo_server: MongoServer, after: bool) -> None:
    """Put again, each record is there once, in one piece and in its place, though it moved to another flow."""
    long = "x" * 600_000

    def records(flow: str) -> list[Record]:
        return [record("a", correlation_id=flow, text=long, flow=flow), record("b", correlation_id=flow, flow=flow)]

    for at in range(WRITES_MOST):
        settings = mongo_server.settings()
        async with MongoDatabase(settings) as database:
            documents = MongoDocuments(database)
            await documents.put([*records("old"), record("c")])
            was_cut = await cut(mongo_server, settings, at, lambda ledger: _put(ledger, records("new")), after=after)
            seen = [one async for one in documents.query(RecordFilter())]
            assert all(len(one.body["text"]) == len(long) for one in seen if one.id == "a")
            await documents.put(records("new"))
            seen = [one async for one in documents.query(RecordFilter())]
            assert Counter(one.id for one in seen) == {"a": 1, "b": 1, "c": 1}
            assert {one.body["flow"] for one in seen if one.id != "c"} == {"new"}
            assert (await documents.get(Kind.EVENT_META, "a")).body["text"] == long
        if not was_cut:
            return
    pytest.fail(f"more than {WRITES_MOST} writes")


async def _put(ledger: MongoLedger, records: list[Record]) -> None:
    await MongoDocuments(ledger._database).put(records)
