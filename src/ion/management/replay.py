"""Replaying events: making known again what committed jobs raised.

The manifests say what was raised, so nothing is computed again. Two have use for it: a module that came late, which
gets the jobs of events before its time, and a bus that lost what it carried. For everybody else a replay changes
nothing: the ids are the same, so admission drops what it knows (R2).
"""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime

import msgspec

from ion.dispatcher.admit import as_seen, jobs_for
from ion.dispatcher.manifests import load_manifest
from ion.errors import NotFoundError
from ion.management.run import jobs_of
from ion.model.event import Event
from ion.model.job import Job, State
from ion.ports.blobs import Blobs
from ion.ports.bus import Bus
from ion.ports.ledger import JobFilter, Ledger

CHUNK = 200
MAX_HOPS = 32
"""As a pipeline's `guards` have it unless they say else."""
_RAISED = (State.COMMITTED, State.RELEASED)


class Replayed(msgspec.Struct, kw_only=True):
    """How many events were looked at, and how many jobs they started that were not there."""

    events: int = 0
    started: int = 0


async def replay(
    since: datetime,
    *,
    module: str = "",
    ledger: Ledger,
    bus: Bus,
    blobs: Blobs,
    max_hops: int = MAX_HOPS,
    dry: bool = False,
) -> Replayed:
    """Replays what was committed since then, oldest first; for one module alone its jobs are admitted and no more.

    With `dry` nothing is done; `started` then counts what is wanted and not known.

    Raises:
        NotFoundError: there is no such module.
    """
    if module and module not in {registered.module.name for registered in await ledger.modules()}:
        raise NotFoundError(f"there is no module {module}; `ion up` or `ion run` make those of a pipeline known")
    done = Replayed()
    async for events in _raised(since, ledger, blobs):
        jobs = [job for event in events for job in await _wanted(event, module, ledger, blobs, max_hops)]
        done.events += len(events)
        if dry:
            done.started += sum([await _is_new(job, ledger) for job in jobs])
            continue
        done.started += len(await ledger.admit(jobs))
        if not module:
            await bus.publish(events)
    return done


async def _raised(since: datetime, ledger: Ledger, blobs: Blobs) -> AsyncIterator[Sequence[Event]]:
    """The events of manifests, in chunks. What was superseded or has expired is not raised any more."""
    async for job in jobs_of(ledger, JobFilter(states=_RAISED)):
        if job.manifest is None or job.ended_at is None or job.ended_at < since:
            continue
        events = (await load_manifest(job.manifest, blobs)).events
        for start in range(0, len(events), CHUNK):
            yield events[start : start + CHUNK]


async def _wanted(event: Event, module: str, ledger: Ledger, blobs: Blobs, max_hops: int) -> list[Job]:
    subscribers = [one for one in await ledger.subscribers(event.type) if module in ("", one.module)]
    return jobs_for(event, subscribers, max_hops=max_hops, seen=await as_seen(event, subscribers, blobs))


async def _is_new(job: Job, ledger: Ledger) -> bool:
    try:
        await ledger.get(job.id)
    except NotFoundError:
        return True
    return False
