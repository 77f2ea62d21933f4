"""After the module: its output becomes blobs, and the manifest says so.

The order is the promise (R3): everything is judged first; then the files, the log and large data are stored, below a
prefix that is this execution's alone; the manifest comes last. Before it nothing is visible, after it everything is.

Because the prefix is nobody else's, a blob that is there already was put by an earlier try of this very commit, which
was cut short: it is taken as stored. So a commit can be repeated until it succeeds.
"""

import hashlib
import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from ion.errors import ContractError, ExistsError
from ion.handler import manifests
from ion.handler.outputs import Output
from ion.handler.parallel import each
from ion.handler.reading import sha256
from ion.handler.results import TOTAL_MOST, Draft, Results, examine, read_event
from ion.handler.workspace import OUT_DATA, disk_faults
from ion.model.event import Event, FileRef, utc_now
from ion.model.manifest import Manifest, ManifestRef, Usage, execution_prefix, log_path
from ion.ports.blobs import Blobs
from ion.ports.executor import Assignment, Workspace

_EMPTY = hashlib.sha256().hexdigest()


async def commit(
    blobs: Blobs,
    assignment: Assignment,
    workspace: Workspace,
    *,
    host: str,
    log: Path | None,
    usage: Usage,
    started_at_s: float,
    reads: bool = True,
) -> ManifestRef:
    """See `ion.handler.JobHandler`.

    Without `reads` nothing is read back: of a manifest that an earlier try stored, which has times of its own, only the
    path and the execution are right then.
    """
    with disk_faults(workspace.directory):
        results = await examine(assignment, workspace)
        storing = _Storing(blobs, assignment, workspace)
        files = await storing.files(results)
        events = await storing.events(results, files)
        kept_log = await storing.log(log) if log else None
    manifest = _manifest(assignment, workspace.execution, datetime.fromtimestamp(started_at_s, UTC), host)
    manifest = msgspec.structs.replace(
        manifest,
        files=tuple(files[path] for path in sorted(files)),
        events=events,
        insights=results.insights,
        log=kept_log,
        usage=usage,
    )
    return await _finish(blobs, manifest, reads=reads)


class _Storing:
    """Puts what an execution left below its prefix."""

    def __init__(self, blobs: Blobs, assignment: Assignment, workspace: Workspace) -> None:
        self._blobs = blobs
        self._name = (assignment.job.id, assignment.job.attempt, workspace.execution)
        self._prefix = execution_prefix(*self._name)
        self._directory = os.fspath(workspace.directory)

    async def files(self, results: Results) -> dict[str, FileRef]:
        """Stores the files of `out/data`; what is passed on is stored already, and only gets its new name."""
        refs: dict[str, FileRef] = {}

        async def keep(output: Output) -> None:
            if output.forwards:
                refs[output.path] = msgspec.structs.replace(output.forwards, path=output.path)
            else:
                refs[output.path] = await self._file(output)

        await each(list(results.outputs.values()), keep)
        return refs

    async def _file(self, output: Output) -> FileRef:
        name = f"{OUT_DATA}/{output.path}"
        file, blob = f"{self._directory}/{name}", f"{self._prefix}data/{output.path}"
        digest = await sha256(file, output.size, name)
        with suppress(ExistsError):  # stored by an earlier try
            await self._blobs.put(blob, Path(file), move=True)
        return FileRef(path=output.path, blob=blob, size=output.size, sha256=digest)

    async def events(self, results: Results, refs: dict[str, FileRef]) -> tuple[Event, ...]:
        """The events complete with their files, in order; data that is too large for a row goes into a blob."""
        await each([draft for draft in results.drafts if draft.spilled], self._spill)
        return tuple(self._event(draft, refs) for draft in results.drafts)

    async def _spill(self, draft: Draft) -> None:
        data = msgspec.json.encode(read_event(self._directory, draft.file).data)
        with suppress(ExistsError):  # stored by an earlier try
            await self._blobs.put_bytes(self._spilled(draft), data)

    def _event(self, draft: Draft, refs: dict[str, FileRef]) -> Event:
        return msgspec.structs.replace(
            draft.event,
            files=(*(refs[path] for path in draft.files), *draft.inputs),
            dataref=self._spilled(draft) if draft.spilled else "",
        )

    def _spilled(self, draft: Draft) -> str:
        return f"{self._prefix}events/{draft.event.id}.data.json"  # not by the file's name, which may be 255 bytes long

    async def log(self, log: Path) -> FileRef:
        """Stores the log; nobody writes to it any more, and it keeps its old name for those who read it."""
        blob = log_path(*self._name)
        size = os.stat(log).st_size  # noqa: PTH116
        digest = await sha256(os.fspath(log), size, log.name) if size else _EMPTY
        with suppress(ExistsError):  # stored by an earlier try
            await self._blobs.put(blob, log, move=True)
        return FileRef(path="log.txt", blob=blob, size=size, sha256=digest)


def _manifest(assignment: Assignment, execution: str, started_at: datetime, host: str) -> Manifest:
    """What is known of an execution before its output is looked at."""
    job, revision = assignment.job, assignment.revision
    return Manifest(
        job=job.id,
        attempt=job.attempt,
        execution=execution,
        module=revision.module.name,
        event_id=job.event.id,
        correlation_id=job.event.correlation_id,
        parent_event_id=job.event.parent_id,
        revision=revision.id,
        image_digest=revision.image_digest,
        started_at=started_at,
        ended_at=utc_now(),
        inputs=job.event.files,
        secrets=tuple(sorted(set(revision.module.secrets.values()))),
        host=host,
        devices=job.devices,
    )


async def _finish(blobs: Blobs, manifest: Manifest, *, reads: bool) -> ManifestRef:
    """Writes the manifest, or finds the one that an earlier try wrote."""
    raw = manifests.encode(manifest)
    if len(raw) > TOTAL_MOST:
        raise ContractError(
            f"out holds too much for one job: its manifest has {len(raw)} bytes, more than {TOTAL_MOST}; "
            "leave fewer files, events or insights"
        )
    ref = manifests.reference(manifest, raw)
    try:
        await blobs.put_bytes(ref.blob, raw)
    except ExistsError:
        return await manifests.stored(blobs, ref.blob) if reads else ref
    return ref
