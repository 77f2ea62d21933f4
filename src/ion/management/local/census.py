"""How everything alive stands: jobs by module and state, who serves what, what waits for a person.

A look costs the same whatever has ended: it reads what is open or dead, and of each state the first so many in the
order of admission. A figure that reaches `COUNTED_MOST` means so many or more.
"""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec

from ion.dispatcher.breaker import allowance
from ion.dispatcher.ownership import lock_is_free
from ion.dispatcher.service import this_host
from ion.management.local.site import closing
from ion.management.report_text import duration, many
from ion.management.run import jobs_of
from ion.management.verbs.modules import ModuleState
from ion.management.verbs.server import COUNTED_MOST
from ion.model.job import Hold, Job, State
from ion.ports.ledger import JobFilter, Ledger, Owner, Registered

LATELY: Final = timedelta(days=1)
_STATES: Final = (State.WAITING, State.RUNNING, State.COMMITTED, State.DEAD)


class Committed(msgspec.Struct, frozen=True, kw_only=True):
    """A committed job that is not released: its results are decided since `at`."""

    job: str
    at: datetime


class Census(msgspec.Struct, kw_only=True):
    """What a look found. Dead dispatchers of this host are left out; of other hosts' their beats tell in time.

    `oldest` is since when the oldest waiting job of a module is there. `held` names a job and its flow by what holds
    it, and counts. `dead_lately` counts dead letters by module.
    """

    now: datetime
    modules: Sequence[Registered]
    dispatchers: Sequence[Owner]
    counts: Counter[tuple[str, State]] = msgspec.field(default_factory=Counter)
    totals: Counter[State] = msgspec.field(default_factory=Counter)
    oldest: dict[str, datetime] = msgspec.field(default_factory=dict)
    held: Counter[Hold] = msgspec.field(default_factory=Counter)
    held_modules: Counter[str] = msgspec.field(default_factory=Counter)
    held_jobs: dict[Hold, str] = msgspec.field(default_factory=dict)
    paused_flows: Counter[str] = msgspec.field(default_factory=Counter)
    committed: Committed | None = None
    dead_lately: Counter[str] = msgspec.field(default_factory=Counter)

    def count(self, job: Job) -> None:
        self.counts[job.module, job.state] += 1
        self.totals[job.state] += 1
        match job.state:
            case State.WAITING:
                self._waiting(job)
            case State.COMMITTED if job.ended_at:
                if self.committed is None or job.ended_at < self.committed.at:
                    self.committed = Committed(job=job.id, at=job.ended_at)
            case State.DEAD if job.ended_at and self.now - job.ended_at < LATELY:
                self.dead_lately[job.module] += 1

    def _waiting(self, job: Job) -> None:
        if job.admitted_at:
            self.oldest[job.module] = min(job.admitted_at, self.oldest.get(job.module, job.admitted_at))
        if job.hold is not None:
            self.held[job.hold] += 1
            self.held_modules[job.module] += 1
            self.held_jobs.setdefault(job.hold, job.id)
            if job.hold is Hold.FLOW:
                self.paused_flows[job.correlation_id] += 1

    @property
    def open(self) -> int:
        return self.totals[State.WAITING] + self.totals[State.RUNNING] + self.totals[State.COMMITTED]

    def age_s(self, moment: datetime | None) -> float | None:
        """Seconds until now; a clock that was set back makes nothing younger than new."""
        return None if moment is None else max(0.0, (self.now - moment).total_seconds())

    def served_by(self, module: str) -> tuple[str, ...]:
        return tuple(owner.id for owner in self.dispatchers if module in owner.modules)

    def state_of(self, registered: Registered) -> ModuleState:
        """How a module fares."""
        name = registered.module.name
        oldest_s, served_by = self.age_s(self.oldest.get(name)), self.served_by(name)
        standing, message = _standing(registered, waits=oldest_s is not None, served=bool(served_by))
        return ModuleState(
            registered=registered,
            jobs={state: count for state in _STATES if (count := self.counts[name, state])},
            oldest_s=oldest_s,
            served_by=served_by,
            standing=standing,
            message=message,
        )


async def take_census(ledger: Ledger) -> Census:
    """Looks once; see the module's text for what it costs."""
    census = Census(now=await ledger.now(), modules=await ledger.modules(), dispatchers=await living(ledger))
    for state in _STATES:
        async with closing(_first(ledger, JobFilter(states=(state,)), COUNTED_MOST)) as jobs:
            async for job in jobs:
                census.count(job)
    if census.totals[State.WAITING] >= COUNTED_MOST:  # modules whose jobs all came later than those
        for module in await ledger.waiting():
            if module not in census.oldest:
                page = await ledger.query(JobFilter(module=module, states=(State.WAITING,)), most=1)
                for job in page.jobs:
                    census.count(job)
    return census


async def living(ledger: Ledger) -> Sequence[Owner]:
    """The dispatchers that may be alive: not those of this host whose locks are free."""
    here = this_host()
    owners = await ledger.owners()
    return [one for one in owners if not (one.host == here and one.lock and lock_is_free(Path(one.lock)))]


async def _first(ledger: Ledger, which: JobFilter, most: int) -> AsyncIterator[Job]:
    left = most
    async with closing(jobs_of(ledger, which)) as jobs:
        async for job in jobs:
            yield job
            left -= 1
            if not left:
                return


def _standing(registered: Registered, *, waits: bool, served: bool) -> tuple[str, str]:
    """One word and its sentence; see `ModuleState`."""
    name, health = registered.module.name, registered.health
    if registered.paused:
        return "paused", f"{name} is paused: none of its jobs is started"
    if not allowance(health, registered.module.pause_after).closed:
        dead = health.dead_in_row >= registered.module.pause_after > 0
        why = f"{many(health.dead_in_row, 'dead job')} in a row" if dead else "repeated infrastructure failures"
        last = duration(health.quiet_s)
        return "tripped", f"{name} is stopped after {why}, the last {last} ago; one job at a time is tried"
    if waits and not served:
        return "unserved", f"jobs of {name} wait, and no dispatcher serves it"
    return "ready", ""
