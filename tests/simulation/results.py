"""What a simulated execution leaves: a log, a file, an insight and some events, and the manifest that says so.

Two executions of one attempt need not agree, so every event carries which execution raised it.
"""

from collections.abc import Mapping
from datetime import UTC, datetime

from ion.handler import manifests
from ion.model import ids
from ion.model.event import Event, FileRef
from ion.model.manifest import Insight, Manifest, ManifestRef, execution_prefix, log_path
from ion.ports.executor import Assignment

_MOMENT = datetime(2030, 1, 1, tzinfo=UTC)
_CONTENT = b"x"


def stored_by(assignment: Assignment, execution: str, raised: int) -> tuple[Mapping[str, bytes], ManifestRef]:
    """The blobs of an execution in the order of their storing, and the reference to its manifest."""
    job, module = assignment.job, assignment.revision.module
    file = FileRef(path="x", blob=f"{execution_prefix(job.id, job.attempt, execution)}data/x", size=len(_CONTENT))
    log = FileRef(path="log.txt", blob=log_path(job.id, job.attempt, execution), size=len(_CONTENT))
    manifest = Manifest(
        job=job.id,
        attempt=job.attempt,
        execution=execution,
        module=module.name,
        event_id=job.event.id,
        correlation_id=job.correlation_id,
        parent_event_id=job.event.parent_id,
        revision=assignment.revision.id,
        started_at=_MOMENT,
        ended_at=_MOMENT,
        files=(file,),
        events=tuple(_event(assignment, execution, number, file) for number in range(raised)),
        insights=(Insight(key="by", value=execution),),
        log=log,
        devices=job.devices,
    )
    raw = manifests.encode(manifest)
    ref = manifests.reference(manifest, raw)
    return {file.blob: _CONTENT, log.blob: _CONTENT, ref.blob: raw}, ref


def _event(assignment: Assignment, execution: str, number: int, file: FileRef) -> Event:
    cause, module = assignment.job.event, assignment.revision.module
    return Event(
        id=ids.output_event_id(assignment.job.id, f"{number}.json"),
        type=module.emits[0],
        source=f"ion:/module/{module.name}",
        correlation_id=cause.correlation_id,
        parent_id=cause.id,
        time=_MOMENT,
        hops=cause.hops + 1,
        files=(file,),
        data={"by": execution},
    )
