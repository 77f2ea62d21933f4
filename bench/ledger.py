"""Each ledger beside bare statements of the same kind: jobs admitted, claimed and committed a second.

The servers are real ones on this machine, started for it, and wait for the disk. Each is measured with 100 jobs in it
and with 1,000,000 (`ION_BENCH_ROWS`); the embedded one, to compare with, with 100. A further ledger is one more entry
of `LEDGERS`.
"""

import asyncio
import os
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self, TypeVar

from bench.measure import folder, line
from tests.stores.mongo_rows import fill as fill_mongo
from tests.stores.mongo_server import MongoServer
from tests.stores.postgres_rows import fill
from tests.stores.postgres_server import postgres_server

from ion.adapters.ledger.mongo import MongoLedger
from ion.adapters.ledger.postgres import PostgresLedger
from ion.adapters.ledger.postgres_rows import JOB
from ion.adapters.ledger.rows import text
from ion.adapters.ledger.sqlite import SqliteLedger
from ion.adapters.mongo.database import MongoDatabase
from ion.adapters.mongo.schema import BY_MODULE, JOBS
from ion.adapters.postgres.database import Postgres
from ion.adapters.postgres.settings import PostgresSettings
from ion.adapters.sqlite.database import Database
from ion.model.job import Job
from ion.ports.ledger import Claim, Ledger
from ion.testing.conformance.ledger_stage import manifest, waiting_job

SIZES = tuple(int(size) for size in os.environ.get("ION_BENCH_ROWS", "100,1000000").split(","))
COUNT = 6_000
ADMITTED_AT_ONCE = 50
"""Jobs of one flow, as the relay of a job's events admits them."""
CLAIMED_AT_ONCE = 10
CALLERS = 16
MODULE = "bench"
T = TypeVar("T")


class Floor(Protocol):
    """Bare statements on a table of its own, that holds as many jobs."""

    async def admit(self, jobs: Sequence[tuple[str, str]]) -> None:
        """Adds jobs, ids and bodies, all or none; known ids are left alone."""

    async def claim(self, most: int) -> Sequence[str]:
        """Gives the oldest waiting jobs to the caller; their ids."""

    async def commit(self, job: str) -> None:
        """One job has ended, if it ran."""


class Entry(NamedTuple):
    """A ledger: `opened(folder, rows)` gives it with `rows` jobs in it, and its floor, None where it has none."""

    name: str
    opened: Callable[[Path, int], AbstractAsyncContextManager[tuple[Ledger, Floor | None]]]
    sizes: Sequence[int] = SIZES
    measured: int = COUNT
    """How many jobs."""


# ---- what is measured ---------------------------------------------------------------------------------------------


async def rates_of(ledger: Ledger, count: int) -> Sequence[float]:
    jobs = [waiting_job(flow=f"bench {n // ADMITTED_AT_ONCE % 10}", module=MODULE) for n in range(count)]
    claimed: list[Job] = []

    async def claim() -> None:
        asked = Claim(
            module=MODULE, most=CLAIMED_AT_ONCE, owner="me", scope="here", revision="current", deadline_s=60.0
        )
        while batch := await ledger.claim(asked):
            claimed.extend(batch)

    admitted = await rate([partial(ledger.admit, batch) for batch in batches(jobs)], count)
    claims = await rate([claim] * CALLERS, count)
    if len(claimed) != count:
        sys.exit(f"bench: {len(claimed)} of {count} jobs were claimed")
    commits = await rate([partial(ledger.commit, job.id, 1, manifest(), by="me") for job in claimed], count)
    return admitted, claims, commits


async def floors_of(floor: Floor, count: int) -> Sequence[float]:
    jobs = [(uuid.uuid4().hex, "x" * 700) for _ in range(count)]
    claimed: list[str] = []

    async def claim() -> None:
        while batch := await floor.claim(CLAIMED_AT_ONCE):
            claimed.extend(batch)

    admitted = await rate([partial(floor.admit, batch) for batch in batches(jobs)], count)
    claims = await rate([claim] * CALLERS, count)
    if len(claimed) != count:
        sys.exit(f"bench: {len(claimed)} of {count} bare rows were claimed")
    return admitted, claims, await rate([partial(floor.commit, job) for job in claimed], count)


def batches(rows: Sequence[T]) -> Sequence[Sequence[T]]:
    return [rows[start : start + ADMITTED_AT_ONCE] for start in range(0, len(rows), ADMITTED_AT_ONCE)]


async def rate(calls: Sequence[Callable[[], Awaitable[object]]], count: int) -> float:
    """Jobs a second, where these calls together do them all and `CALLERS` of them go on at once."""
    waiting = iter(calls)

    async def caller() -> None:
        for call in waiting:
            await call()

    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return count / (time.perf_counter() - began)


# ---- the ledgers --------------------------------------------------------------------------------------------------


@asynccontextmanager
async def embedded(place: Path, rows: int) -> AsyncIterator[tuple[Ledger, None]]:
    """What there is without a server, to compare with; `bench/backlog` has its floors."""
    async with Database(place / f"{uuid.uuid4().hex}.db", synchronous="full") as database:
        ledger = SqliteLedger(database)
        await ledger.admit([waiting_job(flow="old", module="old") for _ in range(rows)])
        yield ledger, None


@asynccontextmanager
async def postgres(_: Path, rows: int) -> AsyncIterator[tuple[Ledger, Floor]]:
    with postgres_server(fsync=True) as server:
        settings, bare = server.settings(), server.settings()
        for one in (settings, bare):
            async with Postgres(one):
                pass
            fill(server, one.schema, rows, logged=True)
        server.execute(f"ALTER TABLE {bare.schema}.jobs DISABLE TRIGGER USER")
        async with Postgres(settings) as database, PostgresRows(bare) as floor:
            yield PostgresLedger(database), floor


class PostgresRows:
    """The floor of PostgreSQL: a table like that of the jobs, with its indexes, and nothing that looks after it.

    It has as many connections as the ledger.
    """

    def __init__(self, settings: PostgresSettings) -> None:
        self._settings = settings

    async def __aenter__(self) -> Self:
        import psycopg

        self._connections = [
            await psycopg.AsyncConnection.connect(
                host=self._settings.host,
                port=self._settings.port,
                dbname=self._settings.database,
                user=self._settings.user,
                options=f"-c search_path={self._settings.schema}",
                autocommit=True,
                prepare_threshold=0,
            )
            for _ in range(self._settings.pool_size)
        ]
        self._free: asyncio.Queue[psycopg.AsyncConnection] = asyncio.Queue()
        for connection in self._connections:
            self._free.put_nowait(connection)
        return self

    async def __aexit__(self, *_: object) -> None:
        for connection in self._connections:
            await connection.close()

    async def admit(self, jobs: Sequence[tuple[str, str]]) -> None:
        await self._run(
            "INSERT INTO jobs (id, event, module, flow, event_id, state, run, attempt, hold, ready, priority, tag,"
            " admitted_at, history) SELECT id, event, 'bench', 'bench', id, 'waiting', 0, 0, '', true, 0, 0, 0, '{}'"
            " FROM unnest(%s::text[], %s::text[]) AS made (id, event) ON CONFLICT (id) DO NOTHING RETURNING id",
            [list(column) for column in zip(*jobs, strict=True)],
        )

    async def claim(self, most: int) -> Sequence[str]:
        rows = await self._run(
            "UPDATE jobs SET state = 'running', owner = 'me', attempt = attempt + 1 WHERE seq = ANY (ARRAY("
            "SELECT seq FROM jobs WHERE state = 'waiting' AND ready AND module = 'bench'"
            f" ORDER BY priority DESC, tag, seq LIMIT %s FOR UPDATE SKIP LOCKED)) RETURNING {JOB}",
            [most],
        )
        return [str(row[1]) for row in rows]

    async def commit(self, job: str) -> None:
        await self._run(
            "UPDATE jobs SET state = 'committed', manifest = %s WHERE id = %s AND state = 'running' RETURNING owner",
            [text(manifest()), job],
        )

    async def _run(self, statement: str, values: Sequence[object]) -> Sequence[tuple[object, ...]]:
        connection = await self._free.get()
        try:
            cursor = await connection.execute(statement, values)
            return await cursor.fetchall() if cursor.description else []
        finally:
            self._free.put_nowait(connection)


@asynccontextmanager
async def mongodb(place: Path, rows: int) -> AsyncIterator[tuple[Ledger, Floor]]:
    """A stand-in for MongoDB's server: its pace is not that one's. A million rows take it ten minutes to store."""
    with MongoServer(place / f"mongodb-{uuid.uuid4().hex[:8]}") as server:
        async with MongoDatabase(server.settings(timeout_s=120.0)) as database:
            ledger = MongoLedger(database)
            await fill_mongo(database, rows)
            yield ledger, MongoRows(database.collection(JOBS))


class MongoRows:
    """The floor of MongoDB: bare statements on the collection of the jobs, with its indexes."""

    def __init__(self, jobs: Any) -> None:
        self._jobs = jobs
        self._claiming = asyncio.Lock()

    async def admit(self, jobs: Sequence[tuple[str, str]]) -> None:
        bare = {"shard": "bare:0", "module": "bare", "place": "due", "state": "waiting", "flow": "bare"}
        rows = [{"_id": key, "rank": rank, "event": body, **bare} for rank, (key, body) in enumerate(jobs)]
        await self._jobs.insert_many(rows, ordered=False)

    async def claim(self, most: int) -> Sequence[str]:
        async with self._claiming:  # else two would get the same: the ledger looks again then
            return await self._claim(most)

    async def _claim(self, most: int) -> Sequence[str]:
        from pymongo import UpdateOne

        due = self._jobs.find({"module": "bare", "place": "due"}, limit=most).sort(list(BY_MODULE))
        ids = [row["_id"] async for row in due]
        running = {"$set": {"state": "running", "place": "running", "owner": "me"}}
        wanted = [UpdateOne({"_id": key, "shard": "bare:0", "state": "waiting"}, running) for key in ids]
        if wanted:
            await self._jobs.bulk_write(wanted, ordered=False)
        return ids

    async def commit(self, job: str) -> None:
        await self._jobs.update_one(
            {"_id": job, "shard": "bare:0", "state": "running"},
            {"$set": {"state": "committed", "place": "relay", "manifest": text(manifest())}},
        )


LEDGERS = (
    Entry("embedded, synchronous: full", embedded, sizes=(100,)),
    Entry("postgresql", postgres),
    Entry("mongodb, a stand-in", mongodb, measured=600),
)


async def run(place: Path) -> None:
    for entry in LEDGERS:
        for rows in entry.sizes:
            async with entry.opened(place, rows) as (ledger, floor):
                figures = await rates_of(ledger, entry.measured)
                floors = (None, None, None) if floor is None else await floors_of(floor, entry.measured)
            for what, figure, least in zip(("admitted", "claimed", "committed"), figures, floors, strict=True):
                goal = "" if least is None else f"{figure / least:.2f} of it (goal 0.5)"
                line(
                    f"{entry.name}, {rows:,} jobs: {what}",
                    f"{figure:,.0f} /s",
                    "-" if least is None else f"{least:,.0f} /s",
                    goal,
                )


def main() -> None:
    with folder() as place:
        asyncio.run(run(place))
