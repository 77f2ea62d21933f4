"""PostgreSQL when its disk is full, and when its answers are slow: nothing is half done, and everything goes on."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager

import msgspec
import pytest
from tests.buses.proxy import Proxy
from tests.stores.postgres_server import PostgresServer, postgres_server
from tests.stores.small_disk import fill, small_disk

from ion.adapters.documents.postgres import PostgresDocuments
from ion.adapters.ledger.postgres import PostgresLedger
from ion.adapters.postgres.database import Postgres
from ion.adapters.postgres.settings import PostgresSettings
from ion.errors import UnavailableError
from ion.management.run import jobs_of
from ion.model.job import Job, State
from ion.ports.documents import RecordFilter
from ion.ports.ledger import JobFilter
from ion.testing.conformance.documents import record
from ion.testing.conformance.ledger_stage import claim, manifest, waiting_job

PATIENCE_S = 180.0
FULL = r"has no room left on its disk; free some space there \(could not .*No space left on device\)"
_BATCH = 5
_LONG = "x" * 3000


@asynccontextmanager
async def opened(settings: PostgresSettings) -> AsyncIterator[PostgresLedger]:
    async with Postgres(settings) as database:
        yield PostgresLedger(database)


def batch() -> list[Job]:
    """Jobs that take some room."""
    jobs = [waiting_job(flow="f") for _ in range(_BATCH)]
    long = [msgspec.structs.replace(job.event, data={"long": _LONG}) for job in jobs]
    return [msgspec.structs.replace(job, event=event) for job, event in zip(jobs, long, strict=True)]


async def until_refused(verb: Callable[[], Awaitable[None]]) -> UnavailableError:
    """Repeats a verb until it fails."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                await verb()
            except UnavailableError as error:
                return error


async def until_full(documents: PostgresDocuments) -> None:
    """Puts records until there is no room for a further one."""
    while True:
        await documents.put([record("b", text=_LONG * 10)])


async def until_dead(server: PostgresServer) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if server.dead:
                return
            await asyncio.sleep(0.1)


async def until_done(verb: Callable[[], Awaitable[object]]) -> None:
    """Repeats a verb until it does not fail."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                await verb()
            except UnavailableError:
                await asyncio.sleep(0.1)
            else:
                return


class Work:
    """What was asked of a ledger, and what of that was answered."""

    def __init__(self, ledger: PostgresLedger) -> None:
        self.ledger = ledger
        self.admitted: list[Sequence[Job]] = []
        self.refused: list[Sequence[Job]] = []
        self.claimed: list[Job] = []
        self.committed: list[Job] = []

    async def admit(self) -> None:
        jobs = batch()
        self.refused.append(jobs)
        await self.ledger.admit(jobs)
        self.refused.remove(jobs)
        self.admitted.append(jobs)

    async def claim(self) -> None:
        self.claimed += await self.ledger.claim(claim(2))

    async def commit(self) -> None:
        job = self.claimed[len(self.committed)]
        await self.decide(job)
        self.committed.append(job)

    async def decide(self, job: Job) -> None:
        """The same again and again has the same answer, however often it is asked."""
        assert await self.ledger.commit(job.id, job.attempt, manifest(job.id))

    async def check(self) -> None:
        """Batches are whole, no job was given out twice, and the counts are those of the jobs."""
        there = {job.id: job async for job in jobs_of(self.ledger, JobFilter(correlation_id="f"))}
        for jobs in self.admitted:
            assert all(job.id in there for job in jobs)
        for jobs in self.refused:
            assert len({job.id in there for job in jobs}) == 1
        assert max(Counter(job.id for job in self.claimed).values()) == 1
        for job in there.values():
            assert [change.state for change in job.history].count(State.RUNNING) == job.attempt <= 1
        for job in self.claimed:
            assert there[job.id].attempt == 1
        for job in self.committed:
            assert there[job.id].state is State.COMMITTED
        assert Counter(job.state for job in there.values()) == {
            state: count for (_, state), count in (await self.ledger.tally("f")).items() if count
        }

    async def finish(self) -> None:
        """Every job comes to its end."""
        known = {job.id for job in self.claimed}
        # What a claim took while its answer was lost is found by its owner.
        self.claimed += [job for job in await self.ledger.running("one") if job.id not in known]
        while jobs := await self.ledger.claim(claim(50)):
            self.claimed += jobs
        for job in self.claimed:
            await self.decide(job)
            assert await self.ledger.released(job.id, "one")
        assert (await self.ledger.open("f")).total == 0


async def test_a_full_disk_is_waited_for() -> None:
    """Admissions, claims, commits and records fail with one sentence, whole; with space they go on, unasked."""
    with small_disk("96m") as disk, postgres_server(disk=disk) as server:
        async with Postgres(server.settings()) as database:
            work, documents = Work(PostgresLedger(database)), PostgresDocuments(database)
            for _ in range(20):
                await work.admit()
            for _ in range(20):
                await work.claim()
            ballast = fill(disk)
            put = [record(f"a{n}", text=_LONG) for n in range(20)]
            for verb in (work.admit, work.claim, work.commit, lambda: documents.put(put)):
                told = await until_refused(verb)
                assert told.args[0].startswith(database.store)
                assert "\n" not in told.args[0]
                assert len(told.args[0]) < 300
            with pytest.raises(UnavailableError, match=FULL):
                await until_full(documents)
            assert not server.dead
            ballast.unlink()
            await until_done(work.ledger.waiting)
            found = {one.id async for one in documents.query(RecordFilter())}
            assert found & {one.id for one in put} in (set(), {one.id for one in put})
            await work.check()
            await documents.put(put)
            await work.finish()


async def test_a_full_disk_of_the_log_stops_the_server() -> None:
    """It ends itself then, in the middle of what goes on; started again with space, nothing is lost or done twice."""
    with ExitStack() as stack:
        disk = stack.enter_context(small_disk("128m"))
        configuration = "min_wal_size = 2MB\nmax_wal_size = 64MB\n"
        server = stack.enter_context(postgres_server(configuration, wal=disk / "wal"))
        async with opened(server.settings()) as ledger:
            work = Work(ledger)
            for _ in range(20):
                await work.admit()
            for _ in range(20):
                await work.claim()
            ballast = fill(disk)
            told = await asyncio.gather(*(until_refused(verb) for verb in (work.admit, work.claim, work.admit)))
            for one in told:
                assert "\n" not in str(one)
            await until_dead(server)  # it tries to recover, and has no room for that either
            with pytest.raises(UnavailableError, match="does not answer; see that it runs"):
                await work.commit()
            ballast.unlink()
            await asyncio.to_thread(server.start)
            await until_done(work.ledger.waiting)
            await work.check()
            await work.finish()


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


async def test_slow_answers_are_given_up_in_time_and_no_claim_is_done_twice(server: PostgresServer) -> None:
    """Claims and commits go over a line that stalls again and again, for longer than they may take."""
    async with Proxy(server.port) as proxy, opened(server.settings()) as steady:
        settings = msgspec.structs.replace(steady._database._settings, port=proxy.port, pool_size=2)
        async with opened(settings) as ledger:
            hasty = msgspec.structs.replace(settings, timeout_s=0.5)
            ledger._database._settings = ledger._database._pool._settings = hasty
            work, told = Work(ledger), Counter[str]()
            for _ in range(8):
                await until_done(work.admit)

            async def go_on() -> None:
                while (await steady.open("f")).waiting:
                    jobs: Sequence[Job] = ()
                    with counting(told):
                        jobs = await ledger.claim(claim(2))
                    work.claimed += jobs
                    left = list(jobs)
                    while left:
                        with counting(told):
                            await work.decide(left[0])
                            del left[0]

            async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
                disturbing = group.create_task(disturb(proxy, work, told))
                await asyncio.wait([group.create_task(go_on()) for _ in range(4)])
                disturbing.cancel()
            proxy.resume()
            late = f"{settings.place} did not answer within 0.5 s; try again"
            assert late in told
            others = (f"{settings.place} keeps 2 connections busy;", f"{settings.place} took too long for a statement")
            assert all(one == late or one.startswith(others) for one in told), told
            ledger._database._settings = ledger._database._pool._settings = settings
            await work.check()
            await work.finish()


@contextmanager
def counting(told: Counter[str]) -> Iterator[None]:
    try:
        yield
    except UnavailableError as error:
        told[str(error)] += 1


async def disturb(proxy: Proxy, work: Work, told: Counter[str]) -> None:
    """Stalls the line until somebody has given up, and then lets some claims through."""
    while True:
        proxy.stall()
        await grown(told.total)
        proxy.resume()
        await grown(lambda: len(work.claimed))


async def grown(number: Callable[[], int]) -> None:
    before = number()
    while number() == before:  # noqa: ASYNC110  nobody tells
        await asyncio.sleep(0.01)
