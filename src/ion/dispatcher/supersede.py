"""A later run takes the place of the earlier ones: they, and all that came of them, become `superseded`.

The relay does it when the new run's results are decided, before it is released: so a flow that is quiet has one run of
everything. It is a walk over what manifests say, each step a guarded change of one row, and can be repeated from the
beginning. What is still open of the earlier runs is cancelled first; until that has ended the new run is not released.
"""

import logging
from collections.abc import AsyncIterator

from ion.dispatcher.manifests import load_manifest
from ion.errors import NotFoundError
from ion.model.job import OPEN_STATES, Job, State
from ion.ports.blobs import Blobs
from ion.ports.ledger import JobFilter, Ledger

log = logging.getLogger(__name__)

PAGE = 100
OUT_OF_THE_WAY = frozenset({State.SUPERSEDED, State.EXPIRED})


async def give_way(new: Job, ledger: Ledger, blobs: Blobs) -> int:
    """Makes the runs before `new`, and their descendants, superseded as far as they have ended.

    Returns:
        How many are still open, marked to be cancelled where they can be; at 0 it is done.
    """
    while True:
        still_open, changed = await _walk(new, ledger, blobs)
        # A further run of a descendant may have been asked for until that was superseded: the next walk meets it.
        if still_open or not changed:
            return still_open


async def _walk(new: Job, ledger: Ledger, blobs: Blobs) -> tuple[int, int]:
    """How many jobs on the way are still open, and how many were superseded just now."""
    due = [job.id async for job in runs_of(ledger, new.event.id, new.module) if job.run < new.run]
    seen = set(due)
    still_open = changed = 0
    while due:
        # The row before its children: those of a job that has ended are all there.
        old = await ledger.get(due.pop())
        async for child in _children(old, ledger, blobs):
            if child not in seen:
                seen.add(child)
                due.append(child)
        if old.state not in OUT_OF_THE_WAY:
            done = await _supersede(old, new, ledger)
            still_open, changed = still_open + (not done), changed + done
    return still_open, changed


async def runs_of(ledger: Ledger, event: str, module: str) -> AsyncIterator[Job]:
    """Every run that a module did, or is to do, for an event."""
    async for job in _jobs_of(ledger, event):
        if job.module == module:
            yield job


async def _supersede(old: Job, new: Job, ledger: Ledger) -> bool:
    """Whether the job is out of the way now."""
    if old.state in OPEN_STATES:
        await ledger.cancel(old.id, new.id)  # a waiting job has ended with that
    return await ledger.supersede(old.id, new.id)


async def _children(old: Job, ledger: Ledger, blobs: Blobs) -> AsyncIterator[str]:
    """The jobs that the events of a job have started, whichever run they are."""
    if old.manifest is None:
        return
    try:
        manifest = await load_manifest(old.manifest, blobs)
    except NotFoundError as error:
        if old.state is not State.EXPIRED:
            log.error("what came of job %s is not superseded, its manifest is gone: %s", old.id, error)
        return
    for event in manifest.events:
        async for child in _jobs_of(ledger, event.id):
            yield child.id


async def _jobs_of(ledger: Ledger, event: str) -> AsyncIterator[Job]:
    after: str | None = None
    while True:
        page = await ledger.query(JobFilter(event_id=event), most=PAGE, after=after)
        for job in page.jobs:
            yield job
        if (after := page.after) is None:
            return
