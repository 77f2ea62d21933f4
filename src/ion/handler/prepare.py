"""Before the module: the event becomes a directory.

An event's data that was too large for a row comes back from its blob first, so that a module sees the same documents
whatever their size. The directory is made here and nowhere else: two attempts can never share one.
"""

import os
import time
from pathlib import Path

from ion.errors import UnavailableError
from ion.handler import inputs, workspace
from ion.handler.parallel import each
from ion.handler.paths import shown
from ion.handler.reading import sha256
from ion.messaging.spilled import restored
from ion.messaging.variables import contract_variables
from ion.model.event import Event, FileRef
from ion.ports.blobs import Blobs
from ion.ports.executor import Assignment, Workspace


async def prepare(
    blobs: Blobs, assignment: Assignment, directory: Path, execution: str, sees: str, *, cleared: bool = False
) -> Workspace:
    """Builds the directory; see `ion.handler.JobHandler`. What a failure leaves of it is the caller's to remove."""
    inputs.check(assignment.job.event)
    event = await restored(assignment.job.event, blobs)
    workspace.build(directory, event, cleared=cleared)
    linked = await _bring(blobs, event, directory)
    inputs.note(directory, event)
    return Workspace(
        execution=execution,
        directory=directory,
        environment=contract_variables(assignment, sees or os.fspath(directory)),
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
        elif file.sha256 and not blobs.guarantees.local:
            await _verify(file, place)

    await each(event.files, bring)
    return tuple(linked)


async def _verify(file: FileRef, place: Path) -> None:
    """Whether what came over a network is what a commit stored. Raises UnavailableError."""
    came = await sha256(os.fspath(place), file.size, file.path)
    if came != file.sha256:
        raise UnavailableError(
            f"the input '{shown(file.path)}' is not what was stored: the blob {file.blob!r} has the sha256 {came}, "
            f"where {file.sha256} was committed; restore it, then retry"
        )
