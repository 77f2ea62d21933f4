"""The gateway's job for a root event: what it stores, and the row that makes it visible.

Data and files first, the manifest last, all below one random execution, as a module's commit does it; the row is for
the ledger to admit. Whatever an event carries, the gateway's row stays below 64 KB (R3).
"""

import hashlib
from collections.abc import Callable
from datetime import datetime

import msgspec

from ion.management.root_files import RootFile, store_files
from ion.model.event import Event
from ion.model.job import Job, State
from ion.model.manifest import INLINE_LIMIT, Manifest, ManifestRef, execution_prefix, manifest_path
from ion.ports.blobs import Blobs

ATTEMPT = 1
DATA_LIMIT = 16 * 1024
"""Data of more encoded bytes goes into a blob (`dataref`): the row of every job it starts holds the event."""
EVENT_LIMIT = 24 * 1024
"""With an inline manifest beside it, an event of so many encoded bytes still fits into a row of 64 KB."""


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """A root event on its way: `event` is complete but for its files and spilled data.

    `named`: its id was given, so a job of it may exist. `job` and `execution` are the gateway's.
    """

    event: Event
    files: tuple[RootFile, ...]
    named: bool
    gateway: str
    job: str
    execution: str

    @property
    def prefix(self) -> str:
        return execution_prefix(self.job, ATTEMPT, self.execution)


async def store(draft: Draft, blobs: Blobs, clock: Callable[[], datetime]) -> tuple[Job, Event]:
    """Stores what the event brings, and gives the job to admit and the whole event.

    Raises:
        InvalidError, ConflictError: a file cannot be had. UnavailableError: the store is away.
    """
    started_at = clock()
    event = await _spilled(draft, blobs)
    event = msgspec.structs.replace(event, files=await store_files(draft.files, draft.prefix, blobs))
    manifest = Manifest(
        job=draft.job,
        attempt=ATTEMPT,
        execution=draft.execution,
        module=draft.gateway,
        event_id=event.id,
        correlation_id=event.correlation_id,
        parent_event_id=event.parent_id,
        started_at=started_at,
        ended_at=clock(),
        files=event.files,
        events=(event,),
    )
    return _job(event, manifest, await _put_manifest(manifest, blobs)), event


async def _spilled(draft: Draft, blobs: Blobs) -> Event:
    encoded = msgspec.json.encode(draft.event.data)
    if len(encoded) <= DATA_LIMIT:
        return draft.event
    path = f"{draft.prefix}events/root.data.json"
    await blobs.put_bytes(path, encoded)
    return msgspec.structs.replace(draft.event, data={}, dataref=path)


async def _put_manifest(manifest: Manifest, blobs: Blobs) -> ManifestRef:
    content = msgspec.json.encode(manifest)
    path = manifest_path(manifest.job, manifest.attempt, manifest.execution)
    await blobs.put_bytes(path, content)
    return ManifestRef(
        blob=path,
        sha256=hashlib.sha256(content).hexdigest(),
        execution=manifest.execution,
        files=len(manifest.files),
        events=len(manifest.events),
        inline=content.decode() if len(content) <= INLINE_LIMIT else "",
        started_at=manifest.started_at,
        ended_at=manifest.ended_at,
    )


def _job(event: Event, manifest: Manifest, ref: ManifestRef) -> Job:
    """Committed from the start. Thousands of files are named by the manifest, not by the row."""
    small = len(msgspec.json.encode(event)) <= EVENT_LIMIT
    return Job(
        id=manifest.job,
        module=manifest.module,
        event=event if small else msgspec.structs.replace(event, files=()),
        state=State.COMMITTED,
        attempt=ATTEMPT,
        execution=manifest.execution,
        manifest=ref,
        started_at=manifest.started_at,
        ended_at=manifest.ended_at,
    )
