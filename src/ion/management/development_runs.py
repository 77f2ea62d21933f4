"""What was committed at `ion dev`, and by which ids it is found again."""

import msgspec

from ion.dispatcher.stores import Stores
from ion.errors import InvalidError, NotFoundError
from ion.management.jobs import results_of, several
from ion.management.run import is_gateways, jobs_of
from ion.messaging.spilled import restored
from ion.model.event import Event
from ion.model.job import Job, State
from ion.model.manifest import Manifest
from ion.ports.ledger import JobFilter

BEGINNING_LEAST = 4
"""Characters of an id's beginning: people choose ids as short as `1`."""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A committed run and what it left. Its id as a module is its event's: the person's own, if they chose one."""

    job: Job
    results: Manifest

    @property
    def id(self) -> str:
        return self.job.event.origid or self.job.event.id

    @property
    def is_origin(self) -> bool:
        return is_gateways(self.job)


async def runs(stores: Stores) -> list[Run]:
    """Every origin, and every module's run that none has taken the place of, in the order of their commits."""
    which = JobFilter(states=(State.COMMITTED, State.RELEASED))
    return [await run_of(stores, job) async for job in jobs_of(stores.ledger, which)]


async def run_named(stores: Stores, identity: str) -> Run:
    """The run of that id: its event's, the person's own for it, or its job's; or the beginning of one.

    Raises:
        NotFoundError: there is none. InvalidError: there are several.
    """
    every = await runs(stores)
    names = [(one, (one.id, one.job.event.id, one.job.id)) for one in every]
    whole = [one for one, known in names if identity in known]
    found = whole or [one for one, known in names if any(_begins(name, identity) for name in known)]
    if not found:
        raise NotFoundError(f"nothing was committed for '{identity}': `ion dev module list` shows what was")
    if len(found) > 1:  # an origin and what ran on its very event
        found = [one for one in found if not one.is_origin] or found
    if len(found) > 1:
        shown = [f"{one.job.id} ({one.job.module})" for one in found[:6]]
        raise InvalidError(several("runs", identity, shown))
    return found[0]


def _begins(name: str, identity: str) -> bool:
    return len(identity) >= BEGINNING_LEAST and name.startswith(identity)


async def events_of(stores: Stores, run: Run) -> tuple[Event, ...]:
    """What a run raised, each with its data."""
    return tuple([await restored(event, stores.blobs) for event in run.results.events])


async def run_of(stores: Stores, job: Job) -> Run:
    results = await results_of(job, stores.blobs)
    assert results is not None, "a committed job has results"
    return Run(job=job, results=results)
