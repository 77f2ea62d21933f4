"""A job carried to another place and run there: all that its module gets, and how to compare what comes of it."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from ion.errors import UnavailableError
from ion.handler.reading import sha256
from ion.management.pull import JobBlobs
from ion.management.verbs import JobVerbs
from ion.messaging.spilled import restored
from ion.model.event import Event, FileRef
from ion.model.job import Job
from ion.model.manifest import Insight, Manifest
from ion.model.module import Revision

Bring = Callable[[FileRef, Path], Awaitable[None]]


async def carried(jobs: JobVerbs, job: str) -> tuple[Job, Revision, Bring]:
    """A job with its event whole, what it runs, and how to bring a file of the event to a path that is free.

    Raises:
        NotFoundError: the job is a gateway's, its module is gone, or its event's data.
    """
    work = await jobs.work(job=job)
    blobs = JobBlobs(jobs, work.job)

    async def bring(ref: FileRef, place: Path) -> None:
        await blobs.get(ref.blob, place)
        came = await sha256(str(place), ref.size, ref.path)
        if ref.sha256 and came != ref.sha256:
            raise UnavailableError(
                f"the input '{ref.path}' is not what was stored: its sha256 is {came}, where {ref.sha256} was committed"
            )

    whole = msgspec.structs.replace(work.job, event=await restored(work.job.event, blobs))
    return whole, work.revision, bring


def left(results: Manifest) -> dict[str, Any]:
    """What a module left, without what differs from run to run: ids, times and places."""
    return {
        "files": {ref.path: {"size": ref.size, "sha256": ref.sha256} for ref in results.files},
        "insights": {one.key: _value(one) for one in results.insights},
        "events": [_event(event) for event in results.events],
    }


def _event(event: Event) -> dict[str, Any]:
    """Data that lies elsewhere is left out."""
    files = [ref.path for ref in event.files]
    told = {"type": event.type, "subject": event.subject, "files": files}
    return told if event.dataref else {**told, "data": event.data}


def _value(insight: Insight) -> Any:
    return insight.value if insight.typed is None else insight.typed


def differences(new: Manifest, old: Manifest) -> list[str]:
    """What two runs of a job left differently: names of files, and `insights` or `events` as a whole.

    Of the old one's events, data that was too large for a row is not looked at.
    """
    whole = {event.id: event.data for event in new.events}
    events = [msgspec.structs.replace(e, data=whole.get(e.id)) if e.dataref else e for e in old.events]
    ours, theirs = left(new), left(msgspec.structs.replace(old, events=tuple(events)))
    paths = sorted(ours["files"].keys() | theirs["files"].keys())
    found = [path for path in paths if ours["files"].get(path) != theirs["files"].get(path)]
    return found + [name for name in ("insights", "events") if ours[name] != theirs[name]]
