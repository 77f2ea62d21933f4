"""Deleting what an expired job left, so that doing it again after any interruption finishes it.

Files first, then records, then the manifest (it says which records there are), at last the row's own memory of them.
Blobs are deleted execution by execution, as a listing found them: an attempt that a person starts meanwhile has a
number of its own and is not touched.
"""

from collections.abc import Collection, Sequence

from ion.dispatcher.manifests import load_manifest
from ion.errors import NotFoundError
from ion.management.needed import execution_of, is_file, is_log, is_manifest
from ion.model.job import Job
from ion.model.manifest import Manifest, ManifestRef
from ion.model.record import Kind, logs_id
from ion.ports.blobs import BlobInfo, Blobs
from ion.ports.documents import Documents
from ion.ports.ledger import Ledger

RECORDS_BATCH = 500


class Clearing:
    """Deletes for one collection, and counts; in a `dry` run it only counts."""

    def __init__(self, ledger: Ledger, documents: Documents, blobs: Blobs, *, dry: bool) -> None:
        self._ledger, self._documents, self._blobs, self._dry = ledger, documents, blobs, dry
        self.blobs = 0
        self.size = 0
        self.stripped = 0

    async def manifest(self, ref: ManifestRef) -> Manifest:
        """Raises NotFoundError where it is gone."""
        return await load_manifest(ref, self._blobs)

    async def clear(
        self, job: Job, manifest: Manifest | None, *, kept: Collection[str], whole: bool, log_stays: bool
    ) -> None:
        """Deletes an expired job's files without those `kept`; a `whole` one's records and row too, but for its log."""
        stored = [blob async for blob in self._blobs.list(f"{job.id}/") if blob.path not in kept]
        logs = [blob for blob in stored if is_log(blob.path)]
        manifests = [blob for blob in stored if is_manifest(blob.path)]
        files = [blob for blob in stored if not (is_log(blob.path) or is_manifest(blob.path))]
        await self._delete([blob for blob in files if whole or is_file(blob.path)])
        if not whole:
            return
        if manifest is not None:
            await self._delete_records(manifest)
        if kept or (logs and log_stays):
            return
        await self._delete([*manifests, *([] if self._dry else logs)])  # in a dry run the logs are counted already
        if not self._dry and not job.log:
            self.stripped += await self._ledger.strip(job.id)

    async def _delete_records(self, manifest: Manifest) -> None:
        if self._dry:
            return
        for start in range(0, len(manifest.events), RECORDS_BATCH):
            chunk = manifest.events[start : start + RECORDS_BATCH]
            await self._documents.delete(Kind.EVENT_META, [event.id for event in chunk])
        if manifest.insights:
            await self._documents.delete(Kind.INSIGHT, [manifest.execution])

    # ---- logs -------------------------------------------------------------------------------------------------

    async def has_log(self, job: Job) -> bool:
        """Whether a log of it is named by its row, or told by a record: those are deleted last."""
        return bool(job.log) or bool(await self._log_records(job))

    async def clear_logs(self, job: Job) -> None:
        """Deletes the logs of all attempts, then their records."""
        stored = [blob async for blob in self._blobs.list(f"{job.id}/") if is_log(blob.path)]
        await self._delete(stored)
        if not self._dry:
            await self._documents.delete(Kind.MODULE_LOGS, await self._log_records(job))

    async def _log_records(self, job: Job) -> list[str]:
        found = []
        for attempt in range(1, job.attempt + 1):
            name = logs_id(job.module, job.event.id, attempt, job.run)
            try:
                found.append((await self._documents.get(Kind.MODULE_LOGS, name)).id)
            except NotFoundError:
                continue
        return found

    # ---- blobs ------------------------------------------------------------------------------------------------

    async def _delete(self, gone: Sequence[BlobInfo]) -> None:
        """Deletes these blobs, and nothing that came since."""
        self.blobs += len(gone)
        self.size += sum(blob.size for blob in gone)
        if self._dry or not gone:
            return
        doomed = frozenset(blob.path for blob in gone)
        for prefix in dict.fromkeys(execution_of(path) for path in doomed):
            await self.delete_only(prefix, doomed)

    async def delete_only(self, prefix: str, doomed: Collection[str]) -> None:
        """Deletes what an execution stored, as far as it is among these."""
        await self._blobs.delete(prefix, keep=lambda path: path not in doomed)
