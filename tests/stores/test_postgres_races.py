"""What several processes do to one PostgreSQL ledger at the same instant: bounds hold, and nobody is overlooked."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from tests.stores.postgres_server import PostgresServer, postgres_server

from ion.adapters.ledger.postgres import PostgresLedger
from ion.adapters.postgres.database import Postgres
from ion.model.job import Hold, Job, State
from ion.ports.ledger import Control, JobFilter, Open, Retry
from ion.testing.conformance.ledger_stage import claim, failure, manifest, revision, waiting_job


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


@asynccontextmanager
async def opened(
    server: PostgresServer, number: int, max_jobs: int = 1_000_000
) -> AsyncIterator[Sequence[PostgresLedger]]:
    """So many ledgers on one new schema, each with connections of its own."""
    settings = server.settings()
    async with AsyncExitStack() as stack:
        databases = [await stack.enter_async_context(Postgres(settings)) for _ in range(number)]
        yield [PostgresLedger(database, max_jobs=max_jobs) for database in databases]


async def test_the_bound_of_a_flow_is_exact(server: PostgresServer) -> None:
    """Forty admissions at once into a flow that may have a hundred jobs leave a hundred free and the rest held."""
    async with opened(server, 4, max_jobs=100) as ledgers:
        await asyncio.gather(*(ledgers[n % 4].admit([waiting_job(flow="f") for _ in range(5)]) for n in range(40)))
        assert await ledgers[0].open("f") == Open(waiting=200, held=100)
        page = await ledgers[1].query(JobFilter(correlation_id="f"), most=300)
        assert Counter(job.hold for job in page.jobs) == {None: 100, Hold.JOBS: 100}


async def test_one_event_that_comes_everywhere_is_one_job(server: PostgresServer) -> None:
    """Of many admissions of the same jobs at once each job is new to exactly one."""
    async with opened(server, 4) as ledgers:
        for _ in range(10):
            jobs = [waiting_job(flow=f"f{n % 3}") for n in range(12)]
            news = await asyncio.gather(*(ledger.admit(jobs[::step]) for ledger in ledgers for step in (1, -1)))
            assert Counter(key for new in news for key in new) == Counter(job.id for job in jobs)


async def test_a_bound_over_all_owners_holds(server: PostgresServer) -> None:
    """Claims with `module_most` at once never get more together."""
    async with opened(server, 4) as ledgers:
        await ledgers[0].admit([waiting_job(flow="f") for _ in range(50)])
        claims = await asyncio.gather(*(ledgers[n % 4].claim(claim(5, owner=str(n), module_most=7)) for n in range(16)))
        assert sum(len(batch) for batch in claims) == 7


async def test_devices_are_given_once(server: PostgresServer) -> None:
    """Claims for devices of one scope at once never share one."""
    async with opened(server, 4) as ledgers:
        await ledgers[0].admit([waiting_job(flow="f") for _ in range(50)])
        devices = tuple(str(n) for n in range(6))
        claims = await asyncio.gather(
            *(ledgers[n % 4].claim(claim(4, owner=str(n), gpus_each=2, devices=devices)) for n in range(12))
        )
        given = [device for batch in claims for job in batch for device in job.devices]
        assert sorted(given) == list(devices)


async def test_a_pause_overlooks_nobody(server: PostgresServer) -> None:
    """Once a flow is paused none of its jobs is claimed, however many were claimed, failed and admitted meanwhile."""
    async with opened(server, 4) as ledgers:
        for turn in range(5):
            flow = f"f{turn}"
            await ledgers[0].admit([waiting_job(flow=flow) for _ in range(60)])
            running: list[Job] = list(await ledgers[1].claim(claim(20)))
            await asyncio.gather(
                ledgers[0].control(flow, Control.PAUSED, "me"),
                *(ledgers[1].settle(job.id, 1, "one", Retry(failure=failure(), delay_s=0)) for job in running),
                *(ledgers[2].admit([waiting_job(flow=flow)]) for _ in range(20)),
            )
            assert not await ledgers[3].claim(claim(100))
            assert await ledgers[3].open(flow) == Open(waiting=80, held=80)


async def test_a_cancelled_flow_ends_whoever_is_at_work(server: PostgresServer) -> None:
    """After cancelling while jobs are claimed, retried and admitted, all that is left runs and is marked."""
    async with opened(server, 4) as ledgers:
        for turn in range(5):
            flow = f"f{turn}"
            await ledgers[0].admit([waiting_job(flow=flow) for _ in range(60)])
            first = await ledgers[1].claim(claim(10))
            await asyncio.gather(
                ledgers[0].control(flow, Control.CANCELLED, "me"),
                *(ledgers[1].settle(job.id, 1, "one", Retry(failure=failure(), delay_s=0)) for job in first),
                *(ledgers[2].claim(claim(5)) for _ in range(5)),
                *(ledgers[3].admit([waiting_job(flow=flow)]) for _ in range(10)),
            )
            page = await ledgers[3].query(JobFilter(correlation_id=flow), most=200)
            assert {job.state for job in page.jobs} <= {State.RUNNING, State.CANCELLED}
            assert all(job.cancelling for job in page.jobs if job.state is State.RUNNING)
            assert await ledgers[0].open(flow) == Open(running=sum(job.state is State.RUNNING for job in page.jobs))


async def test_counts_are_exact_after_a_storm(server: PostgresServer) -> None:
    """Jobs of ten flows live and die in four processes at once; every tally is what the jobs themselves say."""
    async with opened(server, 4) as ledgers:
        await ledgers[0].apply([revision()], "me")
        await asyncio.gather(
            *(ledgers[n % 4].admit([waiting_job(flow=f"f{n % 10}") for _ in range(10)]) for n in range(40))
        )

        async def work(name: str, ledger: PostgresLedger) -> None:
            while batch := await ledger.claim(claim(9, owner=name)):
                await asyncio.gather(*(_end(ledger, name, job, n) for n, job in enumerate(batch)))

        await asyncio.gather(*(work(f"{n}", ledgers[n % 4]) for n in range(12)))
        for flow in (f"f{n}" for n in range(10)):
            page = await ledgers[1].query(JobFilter(correlation_id=flow), most=100)
            counted = Counter((job.module, job.state) for job in page.jobs)
            assert sum(counted.values()) == 40
            assert dict(await ledgers[2].tally(flow)) == dict(counted)


async def _end(ledger: PostgresLedger, owner: str, job: Job, n: int) -> None:
    if n % 3 == 0 and job.attempt < 3:
        assert await ledger.settle(job.id, job.attempt, owner, Retry(failure=failure(), delay_s=0))
        return
    assert await ledger.commit(job.id, job.attempt, manifest(), by=owner)
    if n % 3 == 1:
        assert await ledger.released(job.id, owner)


async def test_a_run_again_and_an_expiry_see_each_other(server: PostgresServer) -> None:
    """Of a further run and the expiry of what it reads one is refused, however they meet."""
    async with opened(server, 2) as (one, two):
        await one.apply([revision()], "me")
        for turn in range(15):
            (job,) = [waiting_job(flow=f"f{turn}")]
            await one.admit([job])
            await one.claim(claim())
            await one.commit(job.id, 1, manifest())
            await one.released(job.id, "one")
            again = Job(id=f"again {turn}", module=job.module, event=job.event, run=1)
            asked, expired = await asyncio.gather(
                one.rerun(again, [job.id], "me"), two.expire(job.id, "gc"), return_exceptions=True
            )
            assert (asked is True) is (expired is False)
            if asked is True:
                await one.cancel(again.id, "me")
