"""How everything alive stands: each module's jobs, who serves it, and what is on its way to be released.

A look costs the same whatever has ended: counts come from indexes, up to `COUNTED_MOST` of a module and state; a figure
that reaches it means so many or more.
"""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from pathlib import Path

import msgspec

from ion.dispatcher.breaker import allowance
from ion.dispatcher.ownership import lock_is_free, this_host
from ion.management.local.site import closing
from ion.management.report_text import duration, many
from ion.management.run import jobs_of
from ion.management.verbs.modules import ModuleState
from ion.management.verbs.server import COUNTED_MOST
from ion.model.job import Job, State
from ion.ports.ledger import JobFilter, Ledger, Load, Owner, Registered


class Census(msgspec.Struct, frozen=True, kw_only=True):
    """What a look found. `committed` are jobs of gateways as well, the oldest of those looked at first."""

    now: datetime
    modules: tuple[ModuleState, ...]
    dispatchers: tuple[Owner, ...]
    committed: tuple[Job, ...]

    @property
    def open(self) -> int:
        return self.total(State.WAITING) + self.total(State.RUNNING) + len(self.committed)

    @property
    def oldest_committed_s(self) -> float | None:
        ended = self.committed[0].ended_at if self.committed else None
        return max(0.0, (self.now - ended).total_seconds()) if ended else None

    def total(self, state: State) -> int:
        """Of all registered modules."""
        return sum(one.jobs.get(state, 0) for one in self.modules)


async def take_census(ledger: Ledger) -> Census:
    """Looks once; see the module's text for what it costs."""
    dispatchers = await living(ledger)
    modules = [
        state_of(one, await ledger.load(one.module.name, COUNTED_MOST), dispatchers) for one in await ledger.modules()
    ]
    committed = [job async for job in first_jobs(ledger, JobFilter(states=(State.COMMITTED,)))]
    now = await ledger.now()
    committed.sort(key=lambda job: job.ended_at or now)
    return Census(now=now, modules=tuple(modules), dispatchers=tuple(dispatchers), committed=tuple(committed))


async def living(ledger: Ledger) -> Sequence[Owner]:
    """The dispatchers that may be alive: not those of this host whose locks are free.

    Of other hosts' their beats tell, to who looks twice.
    """
    here = this_host()
    owners = await ledger.owners()
    return [one for one in owners if not (one.host == here and one.lock and lock_is_free(Path(one.lock)))]


async def first_jobs(ledger: Ledger, which: JobFilter, most: int = COUNTED_MOST) -> AsyncIterator[Job]:
    """The jobs of a filter that were admitted first."""
    left = most
    async with closing(jobs_of(ledger, which)) as jobs:
        async for job in jobs:
            yield job
            left -= 1
            if left <= 0:
                return


def state_of(registered: Registered, load: Load, dispatchers: Sequence[Owner]) -> ModuleState:
    """How a module fares."""
    served_by = tuple(one.id for one in dispatchers if registered.module.name in one.modules)
    standing, message = standing_of(registered, waits=bool(load.jobs.get(State.WAITING)), served=bool(served_by))
    return ModuleState(
        registered=registered,
        jobs=load.jobs,
        oldest_s=load.oldest_s,
        served_by=served_by,
        standing=standing,
        message=message,
    )


def standing_of(registered: Registered, *, waits: bool, served: bool) -> tuple[str, str]:
    """One word and its sentence; see `ModuleState`."""
    name, health = registered.module.name, registered.health
    if registered.paused:
        return "paused", f"{name} is paused: none of its jobs is started"
    if not allowance(health, registered.module.pause_after).closed:
        dead = health.dead_in_row >= registered.module.pause_after > 0
        why = f"{many(health.dead_in_row, 'dead job')} in a row" if dead else "repeated infrastructure failures"
        ago = duration(health.quiet_s)
        return "tripped", f"{name} is stopped after {why}, the last {ago} ago; one job at a time is tried"
    if waits and not served:
        where = " or ".join(registered.module.providers)
        return "unserved", f"jobs of {name} wait for the provider {where}, and no dispatcher there serves it"
    return "ready", ""
