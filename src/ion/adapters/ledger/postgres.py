"""The ledger on PostgreSQL: one schema for dispatchers on any number of hosts.

Each verb calls one function of the schema, which is one transaction; `ion.adapters.postgres` says what they do and how
they keep out of each other's way. Here is what they have in common: which news each makes.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import msgspec

from ion.adapters.ledger import postgres_queries
from ion.adapters.ledger.postgres_history import PostgresHistory
from ion.adapters.ledger.postgres_keeping import PostgresKeeping
from ion.adapters.ledger.postgres_registry import PostgresRegistry
from ion.adapters.ledger.postgres_rows import JOB, admissions, decisions, note_text
from ion.adapters.ledger.postgres_verbs import check_runnable
from ion.adapters.ledger.rows import failure_text, moment, text
from ion.adapters.ledger.verbs import AFTER_CANCEL, AFTER_CONTROL, AFTER_SETTLE, check_admissible, reason
from ion.adapters.postgres.database import Postgres
from ion.adapters.postgres.gathering import Gathering
from ion.errors import ConflictError
from ion.model.job import Failure, Job, State
from ion.model.manifest import ManifestRef
from ion.ports.ledger import (
    DEFER_MOST_S,
    Bury,
    Cancel,
    Changes,
    Claim,
    Control,
    Flow,
    GiveBack,
    JobFilter,
    JobPage,
    Ledger,
    LedgerGuarantees,
    Listener,
    Load,
    Move,
    Open,
    Outcome,
    Retry,
)

_WAVE = 2000

PROMOTE_MOST = 1000
"""So many that were delayed are put in line, or looked at, in one go."""
_TIME = "ledger_time(%(clock)s::float8)"
_ROUTES = (
    "SELECT route, (SELECT count(*) FROM come(%(module)s, at, at + %(delay)s::float8))"  # noqa: S608  a constant
    f" FROM {_TIME} AS at, routes_of(%(module)s, %(delay)s::float8, %(clock)s::float8) AS route"
)
_PROMOTE = f"SELECT promote(%(module)s, at, at + %(delay)s::float8) FROM {_TIME} AS at"  # noqa: S608  a constant


class PostgresLedger(PostgresKeeping, PostgresRegistry, PostgresHistory, Ledger):
    """A ledger in a schema that somebody else opens and closes, so that the documents can share it.

    Args:
        database: Open while this ledger is used.
        max_jobs: How many jobs a flow may have before further ones are held.
    """

    def __init__(self, database: Postgres, *, max_jobs: int = 1_000_000) -> None:
        super().__init__(database)
        self._max_jobs = max_jobs
        self._commits = Gathering(self._commit)

    @property
    def guarantees(self) -> LedgerGuarantees:
        return LedgerGuarantees(store=self._database.store, durable=True, shared=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to do: the database belongs to whoever opened it."""

    async def now(self) -> datetime:
        now = moment(await self._value("SELECT ledger_time(%s)", self._clock))
        assert now is not None
        return now

    def listen(self, kinds: Changes) -> AbstractAsyncContextManager[Listener]:
        return self._database.listen(kinds)

    # ---- jobs -------------------------------------------------------------------------------------------------

    async def admit(self, jobs: Sequence[Job]) -> frozenset[str]:
        check_admissible(jobs)
        if not jobs:
            return frozenset()
        flows = list(dict.fromkeys(job.correlation_id for job in jobs))
        rows = await self._database.run(
            "SELECT * FROM admit(%s, %s, %s, %s, %s)",
            (admissions(jobs), flows, len(jobs), self._max_jobs, self._clock),
        )
        new = frozenset(key for (key,) in rows)
        roots = frozenset(job.id for job in jobs if job.state is State.COMMITTED)
        self._tell(Changes.COMMITTED if new & roots else None)
        self._tell(Changes.DUE if new - roots else None)
        return new

    async def claim(self, claim: Claim) -> Sequence[Job]:
        return await self._jobs(
            f"SELECT {JOB} FROM claim(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"  # noqa: S608  a constant
            " ORDER BY priority DESC, tag, seq",
            claim.module,
            claim.most,
            claim.owner,
            text(claim.owner),
            claim.scope,
            claim.revision,
            claim.deadline_s,
            claim.module_most,
            claim.delay_most_s,
            claim.gpus_each,
            list(claim.devices),
            self._clock,
            list(claim.routes),
            claim.route,
        )

    async def commit(self, job: str, attempt: int, manifest: ManifestRef, *, by: str = "") -> bool:
        won, owner = await self._commits((job, attempt, manifest))
        self._tell(Changes.COMMITTED if won and owner != (by or None) else None)
        return won

    async def _commit(self, asked: Sequence[tuple[str, int, ManifestRef]]) -> Sequence[tuple[bool, str | None]]:
        rows = await self._database.run("SELECT won, held_by FROM commit_jobs(%s, %s)", (decisions(asked), self._clock))
        return [(won, owner) for won, owner in rows]

    async def settle(self, job: str, attempt: int, owner: str, outcome: Outcome, *, log: str = "") -> bool:
        failure = outcome.failure if isinstance(outcome, Retry | Bury) else None
        state = await self._value(
            "SELECT settle(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            job,
            attempt,
            owner,
            text(owner),
            _wanted(outcome).value,
            outcome.delay_s if isinstance(outcome, Retry) else 0.0,
            None if failure is None else failure.kind.value,
            None if failure is None else failure_text(failure),
            note_text(reason(outcome)),
            log,
            self._clock,
        )
        self._tell(AFTER_SETTLE.get(state))
        return state is not None

    async def unreleased(self, most: int, owner: str) -> Sequence[Job]:
        return await self._jobs(
            f"SELECT {JOB} FROM unreleased(%s, %s, %s, %s)",  # noqa: S608  a constant
            most,
            owner,
            DEFER_MOST_S,
            self._clock,
        )

    async def advance(self, job: str, owner: str, cursor: int) -> bool:
        moved = await self._database.run(
            "UPDATE jobs SET cursor = greatest(cursor, %s) WHERE id = %s AND state = 'committed' AND owner = %s"
            " RETURNING 1",
            (cursor, job, owner),
        )
        return bool(moved)

    async def released(self, job: str, owner: str) -> bool:
        done = await self._value("SELECT released(%s, %s, %s, %s)", job, owner, text(owner), self._clock)
        self._tell(Changes.ENDED if done else None)
        return bool(done)

    async def defer(self, job: str, owner: str, delay_s: float, note: str) -> bool:
        return bool(
            await self._value(
                "SELECT defer(%s, %s, %s, %s, %s, %s)", job, owner, text(owner), delay_s, note_text(note), self._clock
            )
        )

    async def bury(self, job: str, failure: Failure, actor: str) -> bool:
        why = note_text(f"{failure.kind}: {failure.message}")
        done = await self._value(
            "SELECT bury(%s, %s, %s, %s, %s)", job, failure_text(failure), why, text(actor), self._clock
        )
        self._tell(Changes.ENDED if done else None)
        return bool(done)

    async def cancel(self, job: str, actor: str) -> bool:
        state = await self._value("SELECT cancel_job(%s, %s, %s)", job, text(actor), self._clock)
        self._tell(AFTER_CANCEL.get(state))
        return state is not None

    async def requeue(self, job: str, actor: str) -> bool:
        ((outcome, flow, module),) = await self._database.run(
            "SELECT outcome, _flow, _module FROM requeue(%s, %s, %s)", (job, text(actor), self._clock)
        )
        check_runnable(outcome, job, flow, module)
        self._tell(Changes.DUE if outcome == "queued" else None)
        return bool(outcome == "queued")

    async def get(self, job: str) -> Job:
        return await postgres_queries.get(self._database, job)

    async def query(self, which: JobFilter, *, most: int = 100, after: str | None = None) -> JobPage:
        return await postgres_queries.query(self._database, which, most, after)

    async def open(self, correlation_id: str) -> Open:
        return await postgres_queries.open_jobs(self._database, correlation_id)

    async def tally(self, correlation_id: str) -> Mapping[tuple[str, State], int]:
        return await postgres_queries.tally(self._database, correlation_id)

    async def waiting(self) -> dict[str, float | None]:
        return dict(await self._database.run("SELECT * FROM waiting(%s)", (self._clock,)))

    async def routes(self, module: str, delay_most_s: float | None = None) -> frozenset[str]:
        asked = {"module": module, "delay": delay_most_s, "clock": self._clock}
        while True:
            rows = await self._database.run(_ROUTES, asked)
            if not rows or rows[0][1] < PROMOTE_MOST:
                return frozenset(route for route, _ in rows)
            await self._database.run(_PROMOTE, asked)

    async def on_route(self, module: str, route: str, most: int, delay_most_s: float | None = None) -> Sequence[Job]:
        return await self._jobs(
            f"SELECT {JOB} FROM on_route(%s, %s, %s, %s, %s) ORDER BY priority DESC, tag, seq",  # noqa: S608  a constant
            module,
            route,
            most,
            delay_most_s,
            self._clock,
        )

    async def reroute(self, moves: Sequence[Move], actor: str) -> int:
        asked = [msgspec.structs.replace(move, note=note_text(move.note)) for move in moves]
        done: int = await self._value("SELECT reroute(%s, %s, %s)", text(asked), text(actor), self._clock)
        self._tell(Changes.DUE if done else None)
        return done

    async def load(self, module: str, most: int) -> Load:
        return await postgres_queries.load(self._database, module, most, (await self.now()).timestamp())

    async def overdue(self, most: int) -> Sequence[Job]:
        return await self._jobs(
            f"SELECT {JOB} FROM jobs WHERE state = 'running'"  # noqa: S608  a constant
            " AND deadline <= coalesce(%s::float8, extract(epoch FROM statement_timestamp())::float8)"
            " ORDER BY deadline LIMIT %s",
            self._clock,
            most,
        )

    async def retime(self, job: str, attempt: int, owner: str, elapsed_s: float) -> bool:
        return bool(await self._value("SELECT retime(%s, %s, %s, %s, %s)", job, attempt, owner, elapsed_s, self._clock))

    async def running(self, owner: str) -> Sequence[Job]:
        return await self._jobs(
            f"SELECT {JOB} FROM jobs WHERE state = 'running' AND owner = %s",  # noqa: S608  a constant
            owner,
        )

    async def adopt(self, dead: Sequence[str], owner: str) -> Sequence[Job]:
        jobs: list[Job] = []
        for one in dead:
            if one == owner:
                continue
            await self._disown(one)
            jobs += await self._jobs(
                f"SELECT {JOB} FROM adopt(%s, %s, %s, %s, %s)",  # noqa: S608  a constant
                one,
                owner,
                text(owner),
                note_text(f"taken over from {one}"),
                self._clock,
            )
        return jobs

    # ---- flows ------------------------------------------------------------------------------------------------

    async def control(self, correlation_id: str, control: Control, actor: str) -> None:
        values = (correlation_id, control.value, actor, self._clock)
        if await self._value("SELECT control_flow(%s, %s, %s, %s)", *values):
            raise ConflictError(
                f"the flow {correlation_id} is cancelled, which cannot be taken back; raise its root event anew"
            )
        self._tell(Changes.REGISTRY)
        await self._waves(
            "SELECT control_wave(%s, %s, %s, %s, %s)", correlation_id, control.value, text(actor), _WAVE, self._clock
        )
        self._tell(AFTER_CONTROL[control])

    async def prioritise(self, correlation_id: str, priority: int) -> None:
        await self._value("SELECT prioritise(%s, %s, %s)", correlation_id, priority, self._clock)
        await self._waves("SELECT priority_wave(%s, %s, %s)", correlation_id, priority, _WAVE)
        self._tell(Changes.REGISTRY)

    async def flow(self, correlation_id: str) -> Flow:
        return await postgres_queries.flow(self._database, correlation_id)

    def flows(self) -> AsyncIterator[Flow]:
        return postgres_queries.flows(self._database)

    async def _waves(self, statement: str, *values: Any) -> None:
        while await self._value(statement, *values) >= _WAVE:
            pass


def _wanted(outcome: Outcome) -> State:
    match outcome:
        case Bury():
            return State.DEAD
        case Cancel():
            return State.CANCELLED
        case Retry() | GiveBack():
            return State.WAITING
