"""What the PostgreSQL adapter does when its server dies, hangs, is full, refuses, or is shared by many."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager

import msgspec
import pytest
from tests.buses.proxy import Proxy
from tests.stores.postgres_server import PostgresServer, postgres_server

from ion.adapters.documents.postgres import PostgresDocuments
from ion.adapters.ledger.postgres import PostgresLedger
from ion.adapters.postgres.database import Postgres
from ion.adapters.postgres.pool import connected
from ion.adapters.postgres.settings import PostgresSettings
from ion.errors import InvalidError, UnavailableError
from ion.messaging.codec import CORRELATION_MOST
from ion.model.job import Job
from ion.model.record import Kind
from ion.ports.ledger import Changes, Control, JobFilter
from ion.testing.conformance.documents import record
from ion.testing.conformance.ledger_stage import claim, failure, manifest, revision, waiting_job

PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


@pytest.fixture
def mortal() -> Iterator[PostgresServer]:
    """A server of the test's own, to be killed."""
    with postgres_server() as server:
        yield server


@asynccontextmanager
async def opened(settings: PostgresSettings) -> AsyncIterator[PostgresLedger]:
    async with Postgres(settings) as database:
        yield PostgresLedger(database)


def limited(ledger: PostgresLedger, limit_s: float) -> None:
    """How long a call may take from now on; its connections stay as they are."""
    database = ledger._database
    database._settings = database._pool._settings = msgspec.structs.replace(database._settings, timeout_s=limit_s)


async def works(ledger: PostgresLedger) -> None:
    """Waits until the ledger answers again."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                await ledger.waiting()
            except UnavailableError:
                await asyncio.sleep(0.1)
            else:
                return


async def test_a_dead_server_is_told_and_its_return_is_noticed(mortal: PostgresServer) -> None:
    """Verbs say that it does not answer; once it is back they work again on what was stored, and listeners look."""
    async with opened(mortal.settings()) as ledger:
        (first, second) = [waiting_job(flow="f") for _ in range(2)]
        await ledger.admit([first, second])
        (job,) = await ledger.claim(claim())
        async with ledger.listen(Changes.ANY) as news:
            mortal.crash()
            for verb in (ledger.get(job.id), ledger.admit([waiting_job(flow="f")]), ledger.claim(claim())):
                with pytest.raises(UnavailableError, match="127") as told:
                    await verb
                assert "\n" not in str(told.value)
            mortal.start()
            await works(ledger)
            while await news.wait(PATIENCE_S) != Changes.ANY:  # what was told before the crash may come first
                pass
        assert await ledger.commit(job.id, 1, manifest())
        (other,) = await ledger.claim(claim())
        assert {job.id, other.id} == {first.id, second.id}


async def test_news_of_others_comes_after_an_outage(mortal: PostgresServer) -> None:
    """A listener whose connection broke is connected again by itself: what another process does is news."""
    settings = mortal.settings()
    async with opened(settings) as one, opened(settings) as two:
        async with one.listen(Changes.ANY) as news:
            mortal.crash()
            mortal.start()
            while await news.wait(PATIENCE_S) != Changes.ANY:
                pass
        async with one.listen(Changes.DUE) as due:
            await works(two)
            await two.admit([waiting_job(flow="f")])
            assert await due.wait(PATIENCE_S) == Changes.DUE


async def test_nothing_acknowledged_is_lost_in_a_crash(mortal: PostgresServer) -> None:
    """Of admissions that go on while the server crashes, every one that returned is there afterwards."""
    kept: list[Job] = []
    enough = asyncio.Event()

    async def admit(ledger: PostgresLedger) -> None:
        while True:
            job = waiting_job(flow="f")
            await ledger.admit([job])
            kept.append(job)
            if len(kept) == 100:
                enough.set()

    async with opened(mortal.settings()) as ledger:
        writers = [asyncio.create_task(admit(ledger)) for _ in range(8)]
        await asyncio.wait_for(enough.wait(), PATIENCE_S)
        await asyncio.to_thread(mortal.crash)
        ends = await asyncio.wait_for(asyncio.gather(*writers, return_exceptions=True), PATIENCE_S)
        assert {type(end) for end in ends} == {UnavailableError}
        await asyncio.to_thread(mortal.start)
        await works(ledger)
        for job in kept:
            assert (await ledger.get(job.id)).event == job.event
        assert (await ledger.open("f")).waiting >= len(kept)


async def test_a_server_that_hangs_is_given_up_in_time(server: PostgresServer) -> None:
    """Where no answer comes a verb ends with a sentence that tells the time limit, and works when the line does."""
    async with Proxy(server.port) as proxy, opened(server.settings(port=proxy.port)) as ledger:
        (job,) = [waiting_job(flow="f")]
        await ledger.admit([job])
        proxy.stall()
        limited(ledger, 1.0)
        async with asyncio.timeout(PATIENCE_S):
            with pytest.raises(UnavailableError, match="did not answer within 1 s"):
                await ledger.get(job.id)
            with pytest.raises(UnavailableError, match="did not answer within 1 s"):
                await ledger.get(job.id)
        proxy.resume()
        limited(ledger, PATIENCE_S)
        await works(ledger)
        assert (await ledger.get(job.id)).id == job.id


async def test_a_cut_line_is_mended(server: PostgresServer) -> None:
    """Every connection is cut and refused for a while: verbs say so, then they work again."""
    async with Proxy(server.port) as proxy, opened(server.settings(port=proxy.port)) as ledger:
        await asyncio.gather(*(ledger.admit([waiting_job(flow="f")]) for _ in range(4)))
        proxy.cut()
        with pytest.raises(UnavailableError):
            await ledger.waiting()
        proxy.mend()
        await works(ledger)
        assert (await ledger.open("f")).waiting == 4


async def test_a_statement_that_others_block_ends_in_time(server: PostgresServer) -> None:
    """A lock that somebody keeps does not hang a verb: the server ends it, and says what to look for."""
    settings = server.settings()
    async with opened(settings) as ledger:
        await ledger.admit([waiting_job(flow="f")])
        blocker = await connected(settings, PATIENCE_S)
        async with blocker, blocker.transaction(), opened(msgspec.structs.replace(settings, timeout_s=1.0)) as hasty:
            assert await hasty._database.run("SHOW statement_timeout") == [("900ms",)]
            limited(hasty, PATIENCE_S)  # so that it is surely the server who ends it
            await blocker.execute("LOCK TABLE jobs")
            with pytest.raises(UnavailableError, match="took too long for a statement"):
                await hasty.admit([waiting_job(flow="f")])
        assert await ledger.admit([waiting_job(flow="f")])


async def test_a_cancelled_verb_leaves_the_pool_whole(server: PostgresServer) -> None:
    """However often callers are cancelled in the middle, later ones get connections that work."""
    async with opened(server.settings(pool_size=2)) as ledger:
        await ledger.admit([waiting_job(flow="f") for _ in range(200)])
        for _ in range(20):
            calls = [asyncio.create_task(ledger.claim(claim())) for _ in range(4)]
            await asyncio.sleep(0)
            await asyncio.sleep(0.002)
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
        found = await asyncio.wait_for(asyncio.gather(*(ledger.open("f") for _ in range(8))), PATIENCE_S)
        assert {one.total for one in found} == {200}


async def test_no_server_at_all_is_told() -> None:
    """A port on which nobody listens is a sentence with the place, at once."""
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:1/ion/ion does not answer"):
        async with opened(PostgresSettings(port=1)):
            pass


async def test_a_full_pool_is_waited_for(server: PostgresServer) -> None:
    """Two hundred verbs at once get by on one connection."""
    async with opened(server.settings(pool_size=1)) as ledger:
        jobs = [waiting_job(flow="f") for _ in range(200)]
        await asyncio.gather(*(ledger.admit([job]) for job in jobs))
        assert (await ledger.open("f")).waiting == 200


async def test_several_dispatchers_get_by_on_few_connections(mortal: PostgresServer) -> None:
    """Eight dispatchers with 200 running jobs stay within the server's 50 connections, and finish every job once."""
    settings = mortal.settings()  # nobody else's connections are there
    jobs = [waiting_job(flow="f") for _ in range(400)]

    async def work(name: str, ledger: PostgresLedger) -> int:
        done = 0
        while batch := await ledger.claim(claim(25, owner=name)):
            await asyncio.gather(*(_live(ledger, name, job) for job in batch))
            done += len(batch)
        return done

    async with opened(settings) as first:
        await first.admit(jobs)
        async with _many(settings, 7) as others:
            ledgers = [first, *others]
            counts = await asyncio.gather(*(work(str(n), ledger) for n, ledger in enumerate(ledgers)))
            ((used,),) = mortal.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'ion'")
        assert sum(counts) == len(jobs)
        assert isinstance(used, int)
        assert used <= 40
        assert (await first.open("f")).total == 0
        assert {count for (_, state), count in (await first.tally("f")).items() if state == "released"} == {400}


async def _live(ledger: PostgresLedger, owner: str, job: Job) -> None:
    assert await ledger.commit(job.id, 1, manifest(), by=owner)
    assert await ledger.released(job.id, owner)


@asynccontextmanager
async def _many(settings: PostgresSettings, number: int) -> AsyncIterator[Sequence[PostgresLedger]]:
    if number == 0:
        yield []
        return
    async with opened(settings) as one, _many(settings, number - 1) as others:
        yield [one, *others]


async def test_a_large_flow_is_controlled_in_waves(server: PostgresServer) -> None:
    """Pausing, freeing and cancelling ten thousand jobs reaches each of them, while others join the flow."""
    async with opened(server.settings()) as ledger:
        await ledger.apply([revision()], "me")
        await ledger.admit([waiting_job(flow="f") for _ in range(5_000)])
        late = [waiting_job(flow="f") for _ in range(20)]

        async def join() -> None:
            for job in late:
                await ledger.admit([job])

        await asyncio.gather(ledger.control("f", Control.PAUSED, "me"), join())
        assert not await ledger.claim(claim(10))
        assert (await ledger.open("f")).held == 5_020
        await ledger.control("f", Control.NONE, "me")
        (job,) = await ledger.claim(claim())
        await ledger.control("f", Control.CANCELLED, "me")
        assert (await ledger.get(job.id)).cancelling
        assert (await ledger.open("f")).total == 1
        assert not await ledger.bury(job.id, failure(), "me")


async def test_a_flow_may_have_the_longest_name(server: PostgresServer) -> None:
    """What an event may bring as its correlation id has room in every index."""
    flow = "".join(random.Random(7).choices([chr(code) for code in range(0x10000, 0x18000)], k=CORRELATION_MOST))
    async with opened(server.settings()) as ledger, Postgres(server.settings()) as database:
        (job,) = await ledger.admit([waiting_job(flow=flow)])
        assert [one.id for one in (await ledger.query(JobFilter(correlation_id=flow))).jobs] == [job]
        await PostgresDocuments(database).put([record("b", correlation_id=flow)])


async def test_a_text_that_cannot_be_kept_is_refused(server: PostgresServer) -> None:
    """A NUL character in a name that is looked for is a sentence, not a fault of the server's."""
    async with opened(server.settings()) as ledger, Postgres(server.settings()) as database:
        with pytest.raises(InvalidError, match="NUL"):
            await ledger.get("a\0b")
        with pytest.raises(InvalidError, match="NUL"):
            await ledger.admit([waiting_job(flow="f", log="a\0b")])
        with pytest.raises(InvalidError, match="NUL"):
            await ledger.query(JobFilter(module="\0"))
        await PostgresDocuments(database).put([record("a", data="\0")])
        assert (await PostgresDocuments(database).get(Kind.EVENT_META, "a")).body == {"data": "\0"}
