"""Whose a stored blob is, what part of it, and whether any row still needs it.

A blob's path begins with `job/attempt/execution/`, so the job's row decides: it needs the results of the execution that
won, the logs, all that a running attempt stores, and what an expired job has not given away yet.
"""

from collections import OrderedDict
from enum import StrEnum
from typing import Final, NamedTuple

from ion.errors import NotFoundError
from ion.model.job import Job, State
from ion.model.record import Kind, logs_id
from ion.ports.blobs import Blobs
from ion.ports.documents import Documents
from ion.ports.ledger import Ledger

KEEPS_RESULTS: Final = frozenset({State.COMMITTED, State.RELEASED, State.SUPERSEDED})
REMEMBERED: Final = 256
"""Rows that are not read again for the next blob: a listing gives the blobs of a job one after another."""


class Part(StrEnum):
    FILES = "files"  # with the data of events that was too large for a row
    LOGS = "logs"
    MANIFESTS = "manifests"
    STRAYS = "strays"  # whatever it is, nobody needs it


class Owner(NamedTuple):
    """What is remembered of a job; `needed` are the beginnings of the paths of its blobs that have to stay."""

    module: str
    flow: str
    event: str
    run: int
    needed: tuple[str, ...]


class Owners:
    """Looks up the jobs of blobs, and remembers the last few."""

    def __init__(self, ledger: Ledger, documents: Documents, blobs: Blobs) -> None:
        self._ledger, self._documents, self._blobs = ledger, documents, blobs
        self._known: OrderedDict[str, Owner | None] = OrderedDict()

    async def of(self, path: str) -> Owner | None:
        """The job whose blob it is, as it was when it was first asked for; None if no row has its id."""
        job = path.partition("/")[0]
        if job not in self._known:
            self._known[job] = await self._read(job)
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return self._known[job]

    async def _read(self, job: str) -> Owner | None:
        try:
            row = await self._ledger.get(job)
        except NotFoundError:
            return None
        return Owner(row.module, row.correlation_id, row.event.id, row.run, _needed(row))

    async def need(self, path: str) -> bool:
        """Whether a row needs the blob."""
        owner = await self.of(path)
        if owner is None:
            return False
        if any(path.startswith(one) for one in owner.needed):
            return True
        return is_log(path) and await self._is_told(path, owner)

    async def _is_told(self, path: str, owner: Owner) -> bool:
        """Of a log of an attempt before the last, its record tells."""
        name = logs_id(owner.module, owner.event, path.split("/")[1], owner.run)
        try:
            record = await self._documents.get(Kind.MODULE_LOGS, name)
        except NotFoundError:
            return False
        return record.body.get("logs") == self._blobs.uri(path)


def is_tombstone(job: Job) -> bool:
    """Whether an expired job names nothing any more."""
    return job.state is State.EXPIRED and not job.log and job.manifest is None and job.failure is None


def _needed(job: Job) -> tuple[str, ...]:
    if job.state is State.EXPIRED:
        return () if is_tombstone(job) else (f"{job.id}/",)
    kept = [log for log in (job.log,) if log]
    if job.state is State.RUNNING:
        kept.append(f"{job.id}/{job.attempt}/")
    elif job.execution and job.state in KEEPS_RESULTS:
        kept.append(f"{job.id}/{job.attempt}/{job.execution}/")
    if job.event.type == "ion.undecodable":
        kept.append(job.event.subject)
    return tuple(kept)


def execution_of(path: str) -> str:
    """The folder of the execution that stored a blob, with its slash; empty for what no execution stores."""
    parts = path.split("/", 3)
    return "/".join(parts[:3]) + "/" if len(parts) == 4 else ""


def is_log(path: str) -> bool:
    return path.count("/") == 3 and path.endswith("/log.txt")


def is_manifest(path: str) -> bool:
    return path.count("/") == 3 and path.endswith("/manifest.json")


def is_file(path: str) -> bool:
    """Whether a module left it in `out/data`, or a root event brought it."""
    return path.split("/", 4)[3:4] == ["data"]


def part_of(path: str) -> Part:
    """What a blob is, by its path alone."""
    if is_log(path):
        return Part.LOGS
    return Part.MANIFESTS if is_manifest(path) else Part.FILES
