"""Before the module: the event becomes a directory.

An event's data that was too large for a row comes back from its blob first, so that a module sees the same documents
whatever their size. The directory is made here and nowhere else: two attempts can never share one.
"""

import os
import time
from pathlib import Path

from ion.handler import inputs, workspace
from ion.handler.parallel import each
from ion.messaging.spilled import restored
from ion.model.event import Event, FileRef
from ion.model.ids import new_id
from ion.ports.blobs import Blobs
from ion.ports.executor import Assignment, Workspace


async def prepare(
    blobs: Blobs, assignment: Assignment, directory: Path, sees: str, *, cleared: bool = False
) -> Workspace:
    """Builds the directory; see `ion.handler.JobHandler`. What a failure leaves of it is the caller's to remove."""
    inputs.check(assignment.job.event)
    event = await restored(assignment.job.event, blobs)
    workspace.build(directory, event, cleared=cleared)
    linked = await _bring(blobs, event, directory)
    inputs.note(directory, event)
    return Workspace(
        execution=new_id(),
        directory=directory,
        environment=workspace.environment(assignment, sees or os.fspath(directory)),
        linked=linked,
        prepared_at_s=time.time(),
    )


async def _bring(blobs: Blobs, event: Event, directory: Path) -> tuple[Path, ...]:
    """Fetches the event's files. Returns those that are links to stored blobs."""
    linked: list[Path] = []

    async def bring(file: FileRef) -> None:
        place = directory / workspace.IN_DATA / file.path
        if await blobs.get(file.blob, place):
            linked.append(place)

    await each(event.files, bring)
    return tuple(linked)
