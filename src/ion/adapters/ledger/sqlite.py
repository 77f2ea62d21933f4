"""The ledger on SQLite: one file for all processes of a host, or memory.

Every verb is one short transaction of the shared `Database`; what it does stands in the modules beside this one, as
plain functions of a connection and the time. Here is what they have in common: the clock, and which news each makes.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from ion.adapters.ledger import (
    sqlite_admission,
    sqlite_claims,
    sqlite_flows,
    sqlite_jobs,
    sqlite_queries,
    sqlite_registry,
)
from ion.adapters.ledger.sqlite_history import SqliteHistory
from ion.adapters.ledger.sqlite_keeping import SqliteKeeping
from ion.adapters.ledger.verbs import AFTER_CANCEL, AFTER_CONTROL, AFTER_SETTLE, check_admissible
from ion.adapters.sqlite.database import Database
from ion.model.job import Failure, Job, State
from ion.model.manifest import ManifestRef
from ion.model.module import Revision
from ion.ports.ledger import (
    Changes,
    Claim,
    Control,
    Flow,
    JobFilter,
    JobPage,
    Ledger,
    LedgerGuarantees,
    Listener,
    Load,
    Move,
    Open,
    Outcome,
    Owner,
    Registered,
    Subscriber,
)

_NONE = Changes(0)
_FLOW_PAGE = 200
_REVISIONS_KEPT = 500


class SqliteLedger(SqliteKeeping, SqliteHistory, Ledger):
    """A ledger in a database that somebody else opens and closes, so that bus and documents can share it.

    Args:
        database: Open while this ledger is used.
        max_jobs: How many jobs a flow may have before further ones are held.
    """

    def __init__(self, database: Database, *, max_jobs: int = 1_000_000) -> None:
        self._database = database
        self._max_jobs = max_jobs
        self._subscribers: Mapping[str, Sequence[Subscriber]] = {}
        self._subscribers_version = -1
        self._revisions: dict[tuple[str, str], Revision] = {}

    @property
    def guarantees(self) -> LedgerGuarantees:
        file = self._database.path is not None
        return LedgerGuarantees(store=self._database.store, durable=file, shared=file, in_order=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to do: the database belongs to whoever opened it."""

    async def now(self) -> datetime:
        return datetime.fromtimestamp(self._database.now(), UTC)

    def listen(self, kinds: Changes) -> AbstractAsyncContextManager[Listener]:
        return self._database.listen(kinds)

    # ---- jobs -------------------------------------------------------------------------------------------------

    async def admit(self, jobs: Sequence[Job]) -> frozenset[str]:
        check_admissible(jobs)
        now, most = self._database.now(), self._max_jobs
        roots = frozenset(job.id for job in jobs if job.state is State.COMMITTED)
        return await self._database.write(
            lambda db: sqlite_admission.admit(db, jobs, now, most),
            wakes=lambda new: (Changes.COMMITTED if new & roots else _NONE) | (Changes.DUE if new - roots else _NONE),
        )

    async def claim(self, claim: Claim) -> Sequence[Job]:
        now = self._database.now()
        if not self._database.writing and not self._database.read(
            lambda db: sqlite_claims.anything_due(db, claim, now)
        ):
            return ()
        return await self._database.write(lambda db: sqlite_claims.claim(db, claim, now))

    async def commit(self, job: str, attempt: int, manifest: ManifestRef, *, by: str = "") -> bool:
        now = self._database.now()
        won, _ = await self._database.write(
            lambda db: sqlite_jobs.commit(db, job, attempt, manifest, now),
            wakes=lambda done: Changes.COMMITTED if done[0] and done[1] != (by or None) else _NONE,
        )
        return won

    async def settle(self, job: str, attempt: int, owner: str, outcome: Outcome, *, log: str = "") -> bool:
        now = self._database.now()
        state = await self._database.write(
            lambda db: sqlite_jobs.settle(db, job, attempt, owner, outcome, log=log, now=now),
            wakes=lambda state: AFTER_SETTLE[state],
        )
        return state is not None

    async def unreleased(self, most: int, owner: str) -> Sequence[Job]:
        now = self._database.now()
        due = self._database.read(lambda db: sqlite_jobs.due_for_relay(db, most, owner, now))
        if all(job.owner == owner for job in due):  # nothing to take over
            return due
        return await self._database.write(lambda db: sqlite_jobs.unreleased(db, most, owner, now))

    async def advance(self, job: str, owner: str, cursor: int) -> bool:
        return await self._database.write(lambda db: sqlite_jobs.advance(db, job, owner, cursor))

    async def released(self, job: str, owner: str) -> bool:
        now = self._database.now()
        return await self._database.write(
            lambda db: sqlite_jobs.released(db, job, owner, now), wakes=lambda done: Changes.ENDED if done else _NONE
        )

    async def defer(self, job: str, owner: str, delay_s: float, note: str) -> bool:
        now = self._database.now()
        return await self._database.write(lambda db: sqlite_jobs.defer(db, job, owner, delay_s, note=note, now=now))

    async def bury(self, job: str, failure: Failure, actor: str) -> bool:
        now = self._database.now()
        return await self._database.write(
            lambda db: sqlite_jobs.bury(db, job, failure, actor, now),
            wakes=lambda done: Changes.ENDED if done else _NONE,
        )

    async def cancel(self, job: str, actor: str) -> bool:
        now = self._database.now()
        state = await self._database.write(
            lambda db: sqlite_jobs.cancel(db, job, actor, now), wakes=lambda state: AFTER_CANCEL[state]
        )
        return state is not None

    async def requeue(self, job: str, actor: str) -> bool:
        now = self._database.now()
        return await self._database.write(
            lambda db: sqlite_admission.requeue(db, job, actor, now), wakes=lambda done: Changes.DUE if done else _NONE
        )

    async def get(self, job: str) -> Job:
        return self._database.read(lambda db: sqlite_queries.get(db, job))

    async def query(self, which: JobFilter, *, most: int = 100, after: str | None = None) -> JobPage:
        return await sqlite_queries.query(self._database.read, which, most, after)

    async def open(self, correlation_id: str) -> Open:
        return self._database.read(lambda db: sqlite_flows.open_jobs(db, correlation_id))

    async def tally(self, correlation_id: str) -> Mapping[tuple[str, State], int]:
        return self._database.read(lambda db: sqlite_flows.tally(db, correlation_id))

    async def waiting(self) -> dict[str, float | None]:
        now = self._database.now()
        return self._database.read(lambda db: sqlite_queries.waiting(db, now))

    async def routes(self, module: str, delay_most_s: float | None = None) -> frozenset[str]:
        now = self._database.now()
        while self._database.read(lambda db: sqlite_claims.is_crowd(db, module, delay_most_s, now)):
            await self._database.write(lambda db: sqlite_claims.promote(db, module, delay_most_s, now))
        return self._database.read(lambda db: sqlite_claims.routes(db, module, delay_most_s, now))

    async def on_route(self, module: str, route: str, most: int, delay_most_s: float | None = None) -> Sequence[Job]:
        now = self._database.now()
        return await self._database.write(
            lambda db: sqlite_claims.on_route(db, module, route, most, delay_most_s=delay_most_s, now=now)
        )

    async def reroute(self, moves: Sequence[Move], actor: str) -> int:
        now = self._database.now()
        return await self._database.write(
            lambda db: sqlite_claims.reroute(db, moves, actor, now), wakes=lambda done: Changes.DUE if done else _NONE
        )

    async def load(self, module: str, most: int) -> Load:
        now = self._database.now()
        return self._database.read(lambda db: sqlite_queries.load(db, module, most, now))

    async def overdue(self, most: int) -> Sequence[Job]:
        now = self._database.now()
        return self._database.read(lambda db: sqlite_queries.overdue(db, most, now))

    async def retime(self, job: str, attempt: int, owner: str, elapsed_s: float) -> bool:
        now = self._database.now()
        return await self._database.write(lambda db: sqlite_jobs.retime(db, job, attempt, owner, now - elapsed_s))

    async def running(self, owner: str) -> Sequence[Job]:
        return self._database.read(lambda db: sqlite_queries.running(db, owner))

    async def adopt(self, dead: Sequence[str], owner: str) -> Sequence[Job]:
        now = self._database.now()
        jobs, _ = await self._database.write(
            lambda db: sqlite_jobs.adopt(db, dead, owner, now),
            wakes=lambda taken: Changes.COMMITTED if taken[1] else _NONE,
        )
        return jobs

    # ---- owners -----------------------------------------------------------------------------------------------

    async def beat(self, owner: Owner) -> Sequence[Owner]:
        owners, _ = await self._database.write(
            lambda db: (sqlite_registry.beat(db, owner), sqlite_jobs.disown_strays(db)),
            wakes=lambda done: Changes.COMMITTED if done[1] else _NONE,
        )
        return owners

    async def owners(self) -> Sequence[Owner]:
        return self._database.read(sqlite_registry.owners)

    async def retire(self, owner: str) -> None:
        await self._database.write(
            lambda db: sqlite_registry.retire(db, owner), wakes=lambda freed: Changes.COMMITTED if freed else _NONE
        )

    # ---- registry ---------------------------------------------------------------------------------------------

    async def apply(self, revisions: Sequence[Revision], actor: str) -> Sequence[str]:
        now = self._database.now()
        return await self._database.write(
            lambda db: sqlite_registry.apply(db, revisions, actor, now),
            wakes=lambda changed: Changes.REGISTRY if changed else _NONE,
        )

    async def remove(self, module: str, actor: str) -> bool:
        now = self._database.now()
        return await self._database.write(
            lambda db: sqlite_registry.remove(db, module, actor, now),
            wakes=lambda done: Changes.REGISTRY if done else _NONE,
        )

    async def modules(self) -> Sequence[Registered]:
        now = self._database.now()
        return self._database.read(lambda db: sqlite_registry.modules(db, now))

    async def revision(self, module: str, revision: str) -> Revision:
        known = self._revisions.get((module, revision))  # a revision never changes
        if known is None:
            known = self._database.read(lambda db: sqlite_registry.revision(db, module, revision))
            if len(self._revisions) >= _REVISIONS_KEPT:
                self._revisions.clear()
            self._revisions[module, revision] = known
        return known

    async def subscribers(self, event_type: str) -> Sequence[Subscriber]:
        version = self._database.read(sqlite_registry.registry_version)
        if version != self._subscribers_version:
            # Read after the version: if it changed in between, the copy is newer than it claims and is made again.
            self._subscribers = _by_type(await self.modules())
            self._subscribers_version = version
        return self._subscribers.get(event_type, ())

    async def pause_module(self, module: str, *, paused: bool, actor: str) -> None:
        now = self._database.now()
        await self._database.write(
            lambda db: sqlite_registry.pause_module(db, module, paused=paused, actor=actor, now=now),
            changes=Changes.REGISTRY if paused else Changes.REGISTRY | Changes.DUE,
        )

    # ---- flows ------------------------------------------------------------------------------------------------

    async def control(self, correlation_id: str, control: Control, actor: str) -> None:
        now = self._database.now()
        await self._database.write(
            lambda db: sqlite_flows.control(db, correlation_id, control, actor, now=now),
            changes=AFTER_CONTROL[control],
        )

    async def prioritise(self, correlation_id: str, priority: int) -> None:
        now = self._database.now()
        await self._database.write(
            lambda db: sqlite_flows.prioritise(db, correlation_id, priority, now), changes=Changes.REGISTRY
        )

    async def flow(self, correlation_id: str) -> Flow:
        return self._database.read(lambda db: sqlite_flows.flow(db, correlation_id))

    async def flows(self) -> AsyncIterator[Flow]:
        page, before = self._flow_page(None)
        while page:
            for flow in page:
                yield flow
            page, before = ((), None) if before is None else self._flow_page(before)

    def _flow_page(self, before: int | None) -> tuple[Sequence[Flow], int | None]:
        return self._database.read(lambda db: sqlite_flows.flow_page(db, before, _FLOW_PAGE))


def _by_type(modules: Sequence[Registered]) -> Mapping[str, Sequence[Subscriber]]:
    found: dict[str, list[Subscriber]] = {}
    for registered in modules:
        for subscription in registered.module.on:
            found.setdefault(subscription.type, []).append(
                Subscriber(module=registered.module.name, subscription=subscription)
            )
    return {kind: tuple(subscribers) for kind, subscribers in found.items()}
