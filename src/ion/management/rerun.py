"""Computing results again on purpose: a further *run* of what an event started.

It is a job of its own, so its events are new ones and what hears them runs anew. When it commits, the earlier run and
all that came of it are superseded (`ion.dispatcher.supersede`); if it dies, they stay. The ids make two who ask for the
same run at once ask for the same job.
"""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime

import msgspec

from ion.dispatcher.supersede import runs_of
from ion.errors import ConflictError, InvalidError
from ion.management.jobs import find_job
from ion.management.run import is_gateways, jobs_of
from ion.messaging.codec import module_source
from ion.model.event import Event
from ion.model.ids import job_id
from ion.model.job import OPEN_STATES, Job, State
from ion.ports.ledger import Control, JobFilter, Ledger

RERUNNABLE = (State.RELEASED, State.DEAD, State.CANCELLED)


class RerunFilter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which jobs; every field narrows. `since` bounds when they ended."""

    module: str = ""
    correlation_id: str = ""
    since: datetime | None = None
    states: tuple[State, ...] = (State.RELEASED,)


class Rerun(msgspec.Struct, frozen=True, kw_only=True):
    """A job that is to run again as `new`, whose files are those of the jobs `needs`. `obstacle`: why it cannot."""

    old: str
    new: Job
    needs: tuple[str, ...]
    obstacle: str = ""


async def plan_reruns(ledger: Ledger, ids: Sequence[str], which: RerunFilter, *, narrowed: bool) -> list[Rerun]:
    """What is to run again: jobs named, or chosen by a filter; `narrowed` tells whether anything of it was asked for.

    Raises:
        InvalidError: nothing, or both, says which. ConflictError: see `named_reruns`, `chosen_reruns`.
    """
    if ids and narrowed:
        raise InvalidError("name jobs by their ids or choose them with filters, not both")
    if ids:
        return await named_reruns(ledger, ids)
    if not (which.module or which.correlation_id or which.since):
        raise InvalidError("say what to run again: ids, or one of --module, --flow and --since")
    for state in which.states:
        if state not in RERUNNABLE:
            raise InvalidError(f"jobs that are {state} cannot be run again: choose from {', '.join(RERUNNABLE)}")
    return await chosen_reruns(ledger, which)


async def named_reruns(ledger: Ledger, prefixes: Sequence[str]) -> list[Rerun]:
    """What is to run again, for the jobs of these ids.

    Raises:
        ConflictError: one cannot run again. NotFoundError, InvalidError: see `find_job`.
    """
    jobs = [await find_job(ledger, prefix) for prefix in prefixes]
    for job in jobs:
        if is_gateways(job):
            raise ConflictError(
                f"job {job.id} is that of the gateway {job.module}: raise its event again in a new flow"
            )
        if job.state not in RERUNNABLE:
            raise ConflictError(f"job {job.id} is {job.state}: only released, dead and cancelled jobs can be run again")
    planned = [await _planned(ledger, job) for job in await _topmost(ledger, jobs)]
    for one in planned:
        if one.obstacle:
            raise ConflictError(one.obstacle)
    return planned


async def chosen_reruns(ledger: Ledger, which: RerunFilter) -> list[Rerun]:
    """What is to run again, for the jobs that a filter fits; some may have an obstacle.

    Raises:
        ConflictError: there are some, and all have.
    """
    narrowed = JobFilter(module=which.module, correlation_id=which.correlation_id, states=which.states)
    jobs = [job async for job in jobs_of(ledger, narrowed) if not is_gateways(job) and _ended_since(job, which.since)]
    planned = [await _planned(ledger, job) for job in await _topmost(ledger, jobs)]
    if planned and all(one.obstacle for one in planned):
        raise ConflictError(planned[0].obstacle)
    return planned


async def rerun(ledger: Ledger, planned: Sequence[Rerun], actor: str) -> AsyncIterator[Rerun]:
    """Queues the further runs, without those that have an obstacle.

    Yields:
        Those that are new.

    Raises:
        ConflictError: something came in between; what was queued before stays.
    """
    for one in planned:
        if not one.obstacle and await ledger.rerun(one.new, one.needs, actor):
            yield one


# ---- planning ---------------------------------------------------------------------------------------------------


async def _planned(ledger: Ledger, job: Job) -> Rerun:
    runs = [run async for run in runs_of(ledger, job.event.id, job.module)]
    number = max(run.run for run in runs) + 1
    new = Job(id=job_id(job.event.id, job.module, number), module=job.module, event=job.event, run=number)
    # Retention keeps the inputs of what is dead or cancelled; those of other jobs may have gone.
    read = _stored_by(job.event) if job.state is State.RELEASED else ()
    needs = (job.id, *read)
    return Rerun(old=job.id, new=new, needs=needs, obstacle=await _obstacle(ledger, job, runs, needs))


async def _obstacle(ledger: Ledger, job: Job, runs: Sequence[Job], needs: Sequence[str]) -> str:
    """Why a job cannot run again now; the ledger looks once more when it is asked to."""
    if (await ledger.flow(job.correlation_id)).control is Control.CANCELLED:
        return f"job {job.id} belongs to the cancelled flow {job.correlation_id}; raise its root event anew instead"
    if job.module not in {one.module.name for one in await ledger.modules()}:
        return f"job {job.id} is for the module {job.module}, which is gone; apply that module first"
    for run in runs:
        if run.state in OPEN_STATES:
            return f"job {run.id} is {run.state}, a run of the same as {job.id}; wait for its end, or cancel it"
    for key in needs:
        page = await ledger.query(JobFilter(id_prefix=key, states=(State.EXPIRED,)), most=1)
        if page.jobs:
            return (
                f"job {job.id} would need files of the job {key}, which has expired; raise the root event anew instead"
            )
    return ""


def _stored_by(event: Event) -> tuple[str, ...]:
    """The jobs whose executions stored an event's files and data."""
    paths = [file.blob for file in event.files] + ([event.dataref] if event.dataref else [])
    return tuple(dict.fromkeys(path.partition("/")[0] for path in paths))


def _ended_since(job: Job, since: datetime | None) -> bool:
    return since is None or (job.ended_at is not None and job.ended_at >= since)


async def _topmost(ledger: Ledger, jobs: Sequence[Job]) -> list[Job]:
    """The jobs without those that came of others among them, which run anew anyway; one of several runs."""
    chosen = {(job.event.id, module_source(job.module)): job for job in jobs}
    return [job for job in chosen.values() if not await _came_of(ledger, job, chosen)]


async def _came_of(ledger: Ledger, job: Job, chosen: dict[tuple[str, str], Job]) -> bool:
    """Walks up from event to event: a job's was raised by the module that is its source, for the event before it."""
    event = job.event
    for _ in range(job.event.hops):
        if (event.parent_id, event.source) in chosen:
            return True
        page = await ledger.query(JobFilter(event_id=event.parent_id), most=50)
        makers = [one for one in page.jobs if module_source(one.module) == event.source]
        if not makers:
            return False
        event = makers[0].event
    return False
