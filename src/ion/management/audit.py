"""The audit: does what the ledger says agree with itself, with the blobs and with the documents?

It reads and changes nothing, so it may run beside dispatchers; then what is just happening may show as a finding, and
is gone the next time. Each finding is an invariant that does not hold, about one thing, with what to do.

    a job         its row is within its bounds; its manifest and all that it names are stored as it says; what a
                  released job raised has its record, and a job for every module that hears it
    an ended job  what a person may want to try again has its inputs; what retention took is not asked for
    a flow        its tallies are the sum of its jobs
    the blobs     what no job names is left over from attempts that lost
"""

import hashlib
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from enum import StrEnum
from typing import Final

import msgspec

from ion.dispatcher.admit import as_seen, jobs_for
from ion.dispatcher.supersede import OUT_OF_THE_WAY, runs_of
from ion.errors import NotFoundError
from ion.management.needed import KEEPS_RESULTS, Owners, execution_of
from ion.management.report_text import many
from ion.management.run import jobs_of
from ion.model.event import Event
from ion.model.job import HISTORY_LIMIT, OPEN_STATES, Job, State
from ion.model.manifest import Manifest, ManifestRef
from ion.model.record import Kind, logs_id
from ion.ports.blobs import Blobs
from ion.ports.documents import Documents
from ion.ports.ledger import JobFilter, Ledger

ROW_LIMIT: Final = 64 * 1024
MANIFEST_LIMIT: Final = 1 << 30
_WANTS_INPUTS = frozenset({State.WAITING, State.RUNNING, State.DEAD, State.CANCELLED})


class Severity(StrEnum):
    FAULT = "fault"  # a promise is broken
    NOTE = "note"  # allowed, and worth knowing


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is amiss. `about` is a job's or flow's id, or a blob's path; `message` says what to do as well."""

    severity: Severity
    about: str
    message: str


async def audit(ledger: Ledger, documents: Documents, blobs: Blobs) -> AsyncGenerator[Finding]:
    """Every finding, job by job in the order of admission, then the flows, then the blobs.

    Memory grows with the number of flows, not with that of jobs or of what they produced.
    """
    found = _Audit(ledger, documents, blobs)
    async for job in jobs_of(ledger, JobFilter()):
        async for finding in found.job(job):
            yield finding
    async for finding in found.flows():
        yield finding
    async for finding in found.strays():
        yield finding


class _Audit:
    def __init__(self, ledger: Ledger, documents: Documents, blobs: Blobs) -> None:
        self._ledger, self._documents, self._blobs = ledger, documents, blobs
        self._counted: dict[str, Counter[tuple[str, State]]] = {}

    async def job(self, job: Job) -> AsyncGenerator[Finding]:
        self._counted.setdefault(job.correlation_id, Counter())[job.module, job.state] += 1
        async for finding in self._row(job):
            yield finding
        if job.state in KEEPS_RESULTS and (job.manifest or job.state is not State.SUPERSEDED):  # else it was dead
            async for finding in self._results(job):
                yield finding
        elif job.log and not await self._is_stored(job.log):
            yield _fault(job.id, f"its log {job.log} is not stored")
        if job.state in _WANTS_INPUTS:
            for file in job.event.files:
                if fault := await self._blob_fault(file.blob, file.size):
                    yield _fault(job.id, f"its input {file.path} {fault}")

    async def _row(self, job: Job) -> AsyncGenerator[Finding]:
        if (size := len(msgspec.json.encode(job))) > ROW_LIMIT:
            yield _fault(job.id, f"its row has {size} bytes, more than {ROW_LIMIT}: report this")
        if len(job.history) > HISTORY_LIMIT:
            yield _fault(job.id, f"its history has {len(job.history)} entries: report this")
        if job.state is State.RUNNING and not job.owner:
            yield _fault(job.id, "it runs, and no dispatcher owns it: report this")
        if job.run and job.state is State.RELEASED:
            async for old in runs_of(self._ledger, job.event.id, job.module):
                if old.run < job.run and old.state not in OUT_OF_THE_WAY:
                    yield _fault(old.id, f"it is {old.state}, though its later run {job.id} is released: report this")

    # ---- results ----------------------------------------------------------------------------------------------

    async def _results(self, job: Job) -> AsyncGenerator[Finding]:
        if job.manifest is None:
            yield _fault(job.id, f"it is {job.state} without a manifest: retry it as a new run")
            return
        manifest, fault = await self._manifest(job, job.manifest)
        if manifest is None:
            yield _fault(job.id, fault)
            return
        log = [manifest.log] if manifest.log and job.log else []  # the row names it no longer once it has expired
        if job.log and not log and not await self._is_stored(job.log):
            yield _fault(job.id, f"its log {job.log} is not stored")
        for file in (*manifest.files, *log):
            if fault := await self._blob_fault(file.blob, file.size):
                yield _fault(job.id, f"its file {file.path} {fault}")
        for event in manifest.events:
            if event.dataref and not await self._is_stored(event.dataref):
                yield _fault(job.id, f"the data {event.dataref} of its event {event.id} is not stored")
        if job.state is not State.COMMITTED:
            async for finding in self._released(job, manifest):
                yield finding

    async def _manifest(self, job: Job, ref: ManifestRef) -> tuple[Manifest | None, str]:
        try:
            raw = await self._blobs.get_bytes(ref.blob, most=MANIFEST_LIMIT)
        except NotFoundError:
            return None, f"its manifest {ref.blob} is not stored"
        if hashlib.sha256(raw).hexdigest() != ref.sha256:
            return None, f"its manifest {ref.blob} is not the one that was committed"
        manifest = msgspec.json.decode(raw, type=Manifest)
        if (manifest.job, manifest.attempt, manifest.execution) != (job.id, job.attempt, job.execution):
            return None, f"its manifest {ref.blob} is of another execution"
        return manifest, ""

    async def _released(self, job: Job, manifest: Manifest) -> AsyncGenerator[Finding]:
        if manifest.insights and not await self._is_recorded(Kind.INSIGHT, manifest.execution):
            yield _fault(job.id, "its insights have no record")
        log = logs_id(job.module, job.event.id, job.attempt, job.run)
        if job.manifest and job.manifest.log and job.log and not await self._is_recorded(Kind.MODULE_LOGS, log):
            yield _fault(job.id, "its log has no record")
        for event in manifest.events:
            if not await self._is_recorded(Kind.EVENT_META, event.id):
                yield _fault(job.id, f"its event {event.id} has no record")
            for child in await self._missing_children(event):
                yield Finding(
                    severity=Severity.NOTE,
                    about=job.id,
                    message=f"its event {event.id} has no job of module {child.module}, which hears '{event.type}': "
                    "the module was perhaps applied later; replay the event if it is to have it",
                )

    async def _missing_children(self, event: Event) -> list[Job]:
        # Whether a job is held does not change which jobs there are.
        subscribers = await self._ledger.subscribers(event.type)
        try:
            seen = await as_seen(event, subscribers, self._blobs)
        except NotFoundError:  # told already
            return []
        wanted = jobs_for(event, subscribers, max_hops=event.hops + 1, seen=seen)
        return [child for child in wanted if not await self._is_known(child.id)]

    # ---- flows and blobs --------------------------------------------------------------------------------------

    async def flows(self) -> AsyncGenerator[Finding]:
        for flow, counted in self._counted.items():
            tally = {key: count for key, count in (await self._ledger.tally(flow)).items() if count}
            if tally != counted:
                yield _fault(flow, f"its tally says {_words(tally)}, its jobs are {_words(counted)}: report this")
            still_open = sum(count for (_, state), count in counted.items() if state in OPEN_STATES)
            if (told := (await self._ledger.open(flow)).total) != still_open:
                yield _fault(flow, f"it counts {told} open jobs and has {still_open}: report this")

    async def strays(self) -> AsyncGenerator[Finding]:
        """Blobs that no job needs. Running attempts are left alone: what they store is not decided yet."""
        stray: Counter[str] = Counter()
        owners = Owners(self._ledger, self._documents, self._blobs)
        async for blob in self._blobs.list(""):
            if not await owners.need(blob.path):
                stray[execution_of(blob.path).rstrip("/") or blob.path] += 1
        for prefix, count in sorted(stray.items()):
            yield Finding(
                severity=Severity.NOTE,
                about=prefix,
                message=f"{many(count, 'blob')} that no job names, left by an attempt that lost; `ion gc` deletes such",
            )

    # ---- looks ------------------------------------------------------------------------------------------------

    async def _blob_fault(self, path: str, size: int) -> str:
        try:
            stored = (await self._blobs.info(path)).size
        except NotFoundError:
            return f"({path}) is not stored"
        return "" if stored == size else f"({path}) has {stored} bytes, and {size} were committed"

    async def _is_stored(self, path: str) -> bool:
        try:
            await self._blobs.info(path)
        except NotFoundError:
            return False
        return True

    async def _is_recorded(self, kind: Kind, record: str) -> bool:
        try:
            await self._documents.get(kind, record)
        except NotFoundError:
            return False
        return True

    async def _is_known(self, job: str) -> bool:
        try:
            await self._ledger.get(job)
        except NotFoundError:
            return False
        return True


def _words(counts: Mapping[tuple[str, State], int]) -> str:
    return ", ".join(f"{module} {state} {count}" for (module, state), count in sorted(counts.items())) or "none"


def _fault(about: str, message: str) -> Finding:
    return Finding(severity=Severity.FAULT, about=about, message=message)
