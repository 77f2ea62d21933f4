"""What a job came of: the job that raised its event, the one that raised that one's, up to the gateway's.

A job's parent is the one whose results hold its event, exactly, also where several modules or runs handled one event.
Where the results are gone, the event tells: its `parent_id` is the event that its producer handled, its source names
the producer.
"""

from collections.abc import AsyncIterator, Awaitable, Callable

from ion.management.run import jobs_of
from ion.model.event import Event
from ion.model.ids import root_job_id
from ion.model.job import Job
from ion.model.manifest import Manifest
from ion.ports.ledger import JobFilter, Ledger

Results = Callable[[Job], Awaitable[Manifest | None]]


async def ancestors(job: Job, ledger: Ledger, results: Results) -> AsyncIterator[Job]:
    """The job itself, then what it came of, the one that raised the root event last.

    An event that came over the bus from elsewhere has no such job. Events can be forged: nothing is met twice.
    """
    seen: set[str] = set()
    current: Job | None = job
    while current is not None and current.id not in seen:
        seen.add(current.id)
        yield current
        current = None if _raised(current) else await _parent(current.event, ledger, results)


def _raised(job: Job) -> bool:
    """Whether it is the gateway's job of a root event; its id tells, also of one that has expired."""
    return job.id == root_job_id(job.event.id, job.module)


async def _parent(event: Event, ledger: Ledger, results: Results) -> Job | None:
    async for job in jobs_of(ledger, JobFilter(event_id=event.id, correlation_id=event.correlation_id)):
        if _raised(job):
            return job
    likely: Job | None = None
    async for job in jobs_of(ledger, JobFilter(event_id=event.parent_id, correlation_id=event.correlation_id)):
        manifest = await results(job)
        if manifest is not None:
            if any(raised.id == event.id for raised in manifest.events):
                return job
        elif event.source.endswith(f"/{job.module}"):
            likely = likely or job
    return likely
