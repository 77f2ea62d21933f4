"""The server is killed and started again: callers are told in time, nothing is lost and nothing is done twice."""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest
from tests.leftovers import LEAVES, collected
from tests.ports import free_port
from tests.stores.mongo_server import MongoServer, mongo_server

from ion.adapters.documents.mongo import MongoDocuments
from ion.adapters.ledger.mongo import MongoLedger
from ion.adapters.mongo.database import MongoDatabase
from ion.adapters.mongo.settings import MongoSettings
from ion.errors import UnavailableError
from ion.model.job import Job, State
from ion.model.manifest import ManifestRef
from ion.model.record import Kind
from ion.ports.ledger import Changes, Control, JobFilter
from ion.testing.conformance.documents import record
from ion.testing.conformance.ledger_stage import claim, manifest, waiting_job

__all__ = ["collected", "mongo_server"]

pytestmark = LEAVES  # a client that is closed while it connects leaves its socket

TIMEOUT_S = 20.0
"""Of calls, where the server is away: they last so long."""
LIMIT_S = 60.0
JOBS = 120
T = TypeVar("T")
log = logging.getLogger(__name__)


@pytest.fixture
def server(tmp_path: Path) -> MongoServer:
    """One that may be killed; the test ends it."""
    return MongoServer(tmp_path)


async def test_a_dead_server_is_told_in_time_and_is_used_again(server: MongoServer) -> None:
    """Every verb fails within its time limit with one sentence that names the server; then all go on."""
    with server:
        settings = server.settings(timeout_s=TIMEOUT_S)
        async with MongoDatabase(settings) as database:
            ledger, documents = MongoLedger(database), MongoDocuments(database)
            job = waiting_job(flow="f")
            await ledger.admit([job])
            await documents.put([record("a")])
            server.checkpoint()
            server.kill()
            verbs: list[Awaitable[object]] = [
                ledger.admit([waiting_job(flow="f")]),
                ledger.claim(claim()),
                ledger.commit(job.id, 1, manifest()),
                ledger.get(job.id),
                ledger.query(JobFilter()),
                ledger.waiting(),
                ledger.control("f", Control.PAUSED, "me"),
                documents.put([record("b")]),
                documents.get(Kind.EVENT_META, "a"),
            ]
            async with asyncio.timeout(LIMIT_S):
                answers = await asyncio.gather(*verbs, return_exceptions=True)
            for answer in answers:
                assert isinstance(answer, UnavailableError)
                assert server.host in str(answer)
                assert "check that it runs and can be reached" in str(answer)
                assert "\n" not in str(answer)
            server.start()
            server.wait()
            assert [found.id for found in await patient(lambda: ledger.claim(claim(5)))] == [job.id]
            assert (await documents.get(Kind.EVENT_META, "a")).id == "a"


async def test_nothing_is_lost_or_doubled_by_deaths_of_the_server(server: MongoServer) -> None:  # noqa: C901
    """Under load, twice: every job is run and released once, by what its only winner wrote."""
    with server:
        settings = server.settings()
        async with MongoDatabase(settings) as one, MongoDatabase(settings) as two:
            ledgers = {"one": MongoLedger(one), "two": MongoLedger(two)}
            jobs = [waiting_job(flow=f"f{number % 3}") for number in range(JOBS)]
            won: dict[str, list[str]] = {job.id: [] for job in jobs}
            ended = asyncio.Event()

            async def admits() -> None:
                for start in range(0, JOBS, 5):
                    some = jobs[start : start + 5]
                    await patient(lambda some=some: ledgers["one"].admit(some))  # type: ignore[misc]

            async def works(owner: str) -> None:
                ledger = ledgers[owner]
                while not ended.is_set():
                    claimed = await patient(lambda: ledger.claim(claim(3, owner=owner)))
                    # What was claimed while the answer was lost is found at its owner.
                    mine = {job.id: job for job in (*claimed, *await patient(lambda: ledger.running(owner)))}
                    for job in mine.values():
                        await finishes(ledger, job)
                    for job in await patient(lambda: ledger.unreleased(10, owner)):
                        await patient(lambda job=job: ledger.released(job.id, owner))  # type: ignore[misc]
                    if sum(map(len, won.values())) >= JOBS and not mine:
                        ended.set()

            async def finishes(ledger: MongoLedger, job: Job) -> None:
                result: ManifestRef = manifest()
                if await patient(lambda: ledger.commit(job.id, job.attempt, result)):
                    won[job.id].append(result.execution)

            async def kills() -> None:
                for part in (3, 2):
                    while sum(map(len, won.values())) < JOBS // part:  # noqa: ASYNC110  the workers know nothing of it
                        await asyncio.sleep(0.05)
                    await asyncio.to_thread(server.checkpoint)
                    server.kill()
                    server.start()
                    await asyncio.to_thread(server.wait)

            async with asyncio.timeout(600), asyncio.TaskGroup() as group:
                for task in (admits(), works("one"), works("two"), kills()):
                    group.create_task(task)
            for job in jobs:
                found = await patient(lambda job=job: ledgers["two"].get(job.id))  # type: ignore[misc]
                assert (found.state, found.attempt) == (State.RELEASED, 1)
                assert won[job.id] == [found.execution]
            tallies = [await ledgers["two"].tally(f"f{number}") for number in range(3)]
            assert sum((Counter(tally) for tally in tallies), Counter()) == {("detect", State.RELEASED): JOBS}


async def test_news_comes_again_after_an_outage(server: MongoServer) -> None:
    """A listener in another process that lived through an outage learns of what comes after it."""
    with server:
        settings = server.settings(timeout_s=TIMEOUT_S)
        async with (
            MongoDatabase(settings) as one,
            MongoDatabase(settings) as two,
            MongoLedger(two).listen(Changes.DUE) as news,
        ):
            server.checkpoint()
            server.kill()
            with pytest.raises(UnavailableError):
                await MongoLedger(one).admit([waiting_job(flow="f")])
            server.start()
            server.wait()
            await patient(lambda: MongoLedger(one).admit([waiting_job(flow="f")]))
            assert await news.wait(LIMIT_S) == Changes.DUE


async def test_no_server_is_told_at_the_opening() -> None:
    """Within the time limit, and what was given is in the sentence, but no password."""
    settings = MongoSettings(hosts=(f"127.0.0.1:{free_port()}",), user="ion", password="hush", timeout_s=1.0)
    with pytest.raises(UnavailableError, match=settings.hosts[0]) as caught:
        async with asyncio.timeout(LIMIT_S), MongoDatabase(settings):
            pass
    assert "hush" not in str(caught.value)


async def test_a_pause_lets_nothing_slip_through(mongo_server: MongoServer) -> None:
    """Jobs are admitted while their flow is paused in another process: from the answer on none is claimed."""
    settings = mongo_server.settings()
    async with MongoDatabase(settings) as one, MongoDatabase(settings) as two:
        ledger, other = MongoLedger(one), MongoLedger(two)
        for number in range(15):
            flow = f"f{number}"

            async def admits(flow: str = flow) -> None:
                for _ in range(6):
                    await ledger.admit([waiting_job(flow=flow)])

            async def pauses(flow: str = flow) -> list[Job]:
                await other.control(flow, Control.PAUSED, "me")
                return [job for job in await other.claim(claim(10)) if job.correlation_id == flow]

            _, claimed = await asyncio.gather(admits(), pauses())
            assert claimed == []
            count = await other.open(flow)
            assert (count.waiting, count.held) == (6, 6)


async def patient(verb: Callable[[], Awaitable[T]]) -> T:
    """Repeats a verb while the server is away."""
    while True:
        try:
            return await verb()
        except UnavailableError as error:
            log.info("%s", error)
            await asyncio.sleep(0.1)
