"""The ledger on MongoDB, and on Azure Cosmos DB for MongoDB.

Every change is a compare-and-set of one document, in its own shard; what is done stands in the modules beside this one,
as plain functions of a database and the time. Here is what they have in common: the clock, and which news each makes.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from ion.adapters.ledger import (
    mongo_admission,
    mongo_claims,
    mongo_flows,
    mongo_jobs,
    mongo_owners,
    mongo_queries,
    mongo_registry,
)
from ion.adapters.ledger.mongo_history import MongoHistory
from ion.adapters.ledger.mongo_keeping import MongoKeeping
from ion.adapters.ledger.verbs import AFTER_CANCEL, AFTER_CONTROL, AFTER_SETTLE, check_admissible
from ion.adapters.mongo.database import MongoDatabase
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
_REVISIONS_KEPT = 500


class MongoLedger(MongoKeeping, MongoHistory, Ledger):
    """A ledger in a database that somebody else opens and closes, so that documents can share it.

    Args:
        database: Open while this ledger is used.
        max_jobs: How many jobs a flow may have before further ones are held.
    """

    def __init__(self, database: MongoDatabase, *, max_jobs: int = 1_000_000) -> None:
        self._database = database
        self._max_jobs = max_jobs
        self._turns = mongo_admission.Turns(database)
        self._claiming: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._subscribers: Mapping[str, Sequence[Subscriber]] = {}
        self._subscribers_version = -1
        self._revisions: dict[tuple[str, str], Revision] = {}

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
        return datetime.fromtimestamp(self._database.now(), UTC)

    def listen(self, kinds: Changes) -> AbstractAsyncContextManager[Listener]:
        return self._database.listen(kinds)

    # ---- jobs -------------------------------------------------------------------------------------------------

    async def admit(self, jobs: Sequence[Job]) -> frozenset[str]:
        check_admissible(jobs)
        new = await mongo_admission.admit(self._database, self._turns, jobs, self._database.now(), self._max_jobs)
        roots = frozenset(job.id for job in jobs if job.state is State.COMMITTED)
        self._database.announce((Changes.COMMITTED if new & roots else _NONE) | (Changes.DUE if new - roots else _NONE))
        return new

    async def claim(self, claim: Claim) -> Sequence[Job]:
        async with self._claiming[claim.module]:  # claims of one process need not race each other for the same jobs
            return await mongo_claims.claim(self._database, self._turns, claim, self._database.now())

    async def commit(self, job: str, attempt: int, manifest: ManifestRef, *, by: str = "") -> bool:
        won, owner = await mongo_jobs.commit(self._database, job, attempt, manifest, self._database.now())
        self._database.announce(Changes.COMMITTED if won and owner != (by or None) else _NONE)
        return won

    async def settle(self, job: str, attempt: int, owner: str, outcome: Outcome, *, log: str = "") -> bool:
        now = self._database.now()
        state = await mongo_jobs.settle(self._database, job, attempt, owner, outcome, log=log, now=now)
        self._database.announce(AFTER_SETTLE[state])
        return state is not None

    async def unreleased(self, most: int, owner: str) -> Sequence[Job]:
        return await mongo_jobs.unreleased(self._database, most, owner, self._database.now())

    async def advance(self, job: str, owner: str, cursor: int) -> bool:
        return await mongo_jobs.advance(self._database, job, owner, cursor)

    async def released(self, job: str, owner: str) -> bool:
        done, new = await mongo_jobs.released(self._database, job, owner, self._database.now())
        self._database.announce(Changes.ENDED if new else _NONE)
        return done

    async def defer(self, job: str, owner: str, delay_s: float, note: str) -> bool:
        return await mongo_jobs.defer(self._database, job, owner, delay_s, note=note, now=self._database.now())

    async def bury(self, job: str, failure: Failure, actor: str) -> bool:
        done = await mongo_jobs.bury(self._database, job, failure, actor, self._database.now())
        self._database.announce(Changes.ENDED if done else _NONE)
        return done

    async def cancel(self, job: str, actor: str) -> bool:
        state = await mongo_jobs.cancel(self._database, job, actor, self._database.now())
        self._database.announce(AFTER_CANCEL[state])
        return state is not None

    async def requeue(self, job: str, actor: str) -> bool:
        done = await mongo_admission.requeue(self._database, self._turns, job, actor, self._database.now())
        self._database.announce(Changes.DUE if done else _NONE)
        return done

    async def get(self, job: str) -> Job:
        return await mongo_queries.get(self._database, job)

    async def query(self, which: JobFilter, *, most: int = 100, after: str | None = None) -> JobPage:
        return await mongo_queries.query(self._database, which, most, after)

    async def open(self, correlation_id: str) -> Open:
        return await mongo_flows.open_jobs(self._database, correlation_id)

    async def tally(self, correlation_id: str) -> Mapping[tuple[str, State], int]:
        return await mongo_flows.tally(self._database, correlation_id)

    async def waiting(self) -> dict[str, float | None]:
        return await mongo_queries.waiting(self._database, self._database.now())

    async def routes(self, module: str, delay_most_s: float | None = None) -> frozenset[str]:
        return await mongo_claims.routes(self._database, module, delay_most_s, self._database.now())

    async def on_route(self, module: str, route: str, most: int, delay_most_s: float | None = None) -> Sequence[Job]:
        now = self._database.now()
        return await mongo_claims.on_route(self._database, module, route, most, delay_most_s=delay_most_s, now=now)

    async def reroute(self, moves: Sequence[Move], actor: str) -> int:
        done = await mongo_claims.reroute(self._database, moves, actor, self._database.now())
        self._database.announce(Changes.DUE if done else _NONE)
        return done

    async def load(self, module: str, most: int) -> Load:
        return await mongo_queries.load(self._database, module, most, self._database.now())

    async def overdue(self, most: int) -> Sequence[Job]:
        return await mongo_owners.overdue(self._database, most, self._database.now())

    async def retime(self, job: str, attempt: int, owner: str, elapsed_s: float) -> bool:
        return await mongo_jobs.retime(self._database, job, attempt, owner, self._database.now() - elapsed_s)

    async def running(self, owner: str) -> Sequence[Job]:
        return await mongo_owners.running(self._database, owner)

    async def adopt(self, dead: Sequence[str], owner: str) -> Sequence[Job]:
        jobs, freed = await mongo_owners.adopt(self._database, dead, owner, self._database.now())
        self._database.announce(Changes.COMMITTED if freed else _NONE)
        return jobs

    # ---- owners -----------------------------------------------------------------------------------------------

    async def beat(self, owner: Owner) -> Sequence[Owner]:
        owners = await mongo_registry.beat(self._database, owner)
        known = [one.id for one in owners]
        freed = await mongo_owners.disown_strays(self._database, known)
        self._database.announce(Changes.COMMITTED if freed else _NONE)
        return (*owners, *await mongo_owners.stray_owners(self._database, known))

    async def owners(self) -> Sequence[Owner]:
        return await mongo_registry.owners(self._database)

    async def retire(self, owner: str) -> None:
        freed = await mongo_owners.retire(self._database, owner)
        self._database.announce(Changes.COMMITTED if freed else _NONE)

    # ---- registry ---------------------------------------------------------------------------------------------

    async def apply(self, revisions: Sequence[Revision], actor: str) -> Sequence[str]:
        changed = await mongo_registry.apply(self._database, revisions, actor, self._database.now())
        self._database.announce(Changes.REGISTRY if changed else _NONE)
        return changed

    async def remove(self, module: str, actor: str) -> bool:
        done = await mongo_registry.remove(self._database, module, actor, self._database.now())
        self._database.announce(Changes.REGISTRY if done else _NONE)
        return done

    async def modules(self) -> Sequence[Registered]:
        return await mongo_registry.modules(self._database, self._database.now())

    async def revision(self, module: str, revision: str) -> Revision:
        known = self._revisions.get((module, revision))  # a revision never changes
        if known is None:
            known = await mongo_registry.revision(self._database, module, revision)
            if len(self._revisions) >= _REVISIONS_KEPT:
                self._revisions.clear()
            self._revisions[module, revision] = known
        return known

    async def subscribers(self, event_type: str) -> Sequence[Subscriber]:
        version = (await mongo_registry.registry(self._database))["rev"]
        if version != self._subscribers_version:
            # Read after the version: if it changed in between, the copy is newer than it claims and is made again.
            self._subscribers = _by_type(await self.modules())
            self._subscribers_version = version
        return self._subscribers.get(event_type, ())

    async def pause_module(self, module: str, *, paused: bool, actor: str) -> None:
        now = self._database.now()
        await mongo_registry.pause_module(self._database, module, paused=paused, actor=actor, now=now)
        self._database.announce(Changes.REGISTRY if paused else Changes.REGISTRY | Changes.DUE)

    # ---- flows ------------------------------------------------------------------------------------------------

    async def control(self, correlation_id: str, control: Control, actor: str) -> None:
        await mongo_flows.control(self._database, correlation_id, control, actor, now=self._database.now())
        self._database.announce(AFTER_CONTROL[control])

    async def prioritise(self, correlation_id: str, priority: int) -> None:
        await mongo_flows.prioritise(self._database, correlation_id, priority, self._database.now())
        self._database.announce(Changes.REGISTRY)

    async def flow(self, correlation_id: str) -> Flow:
        return await mongo_flows.flow(self._database, correlation_id)

    def flows(self) -> AsyncIterator[Flow]:
        return mongo_flows.flows(self._database)


def _by_type(modules: Sequence[Registered]) -> Mapping[str, Sequence[Subscriber]]:
    found: dict[str, list[Subscriber]] = {}
    for registered in modules:
        for subscription in registered.module.on:
            found.setdefault(subscription.type, []).append(
                Subscriber(module=registered.module.name, subscription=subscription)
            )
    return {kind: tuple(subscribers) for kind, subscribers in found.items()}
