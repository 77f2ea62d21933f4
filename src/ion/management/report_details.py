"""What a row of a report shows of a job, read from the stores one job at a time, within limits.

A picture is embedded once and referred to wherever it is shown again. What is gone from the store (retention took it)
is said to be gone; it never fails the report.
"""

import base64
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

import msgspec

from ion.errors import InvalidError, NotFoundError, UnsupportedError
from ion.management.report_row import Details, Log, Shown, Stored
from ion.management.report_text import log_text, plain, size
from ion.model.event import FileRef
from ion.model.job import Job
from ion.model.manifest import Manifest
from ion.model.record import Kind
from ion.ports.blobs import Blobs
from ion.ports.documents import Documents, RecordFilter

PICTURE_MOST = 256 * 1024
PICTURES_MOST = 8 * 1024 * 1024
LOG_MOST = 64 * 1024
LOGS_MOST = 8 * 1024 * 1024
"""Bytes that are embedded, of one and of all."""

PICTURES_SHOWN = 24
FILES_SHOWN = 200
OLDER_LOGS_SHOWN = 50
LINK_TTL_S = 7 * 24 * 3600.0
MANIFEST_MOST = 64 * 1024 * 1024

PICTURES: Mapping[str, str] = {
    ".avif": "image/avif",
    ".bmp": "image/bmp",
    ".gif": "image/gif",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".webp": "image/webp",
}


class Reader:
    """Reads jobs for one report and keeps its budgets."""

    def __init__(self, documents: Documents, blobs: Blobs) -> None:
        self._documents, self._blobs = documents, blobs
        self._pictures_left, self._logs_left = PICTURES_MOST, LOGS_MOST
        self._embedded: dict[str, str] = {}

    async def manifest(self, job: Job) -> Manifest | None:
        """What the job produced; None if nothing, or if retention took it."""
        if job.manifest is None:
            return None
        try:
            content = job.manifest.inline or await self._blobs.get_bytes(job.manifest.blob, most=MANIFEST_MOST)
            return msgspec.json.decode(content, type=Manifest)
        except (InvalidError, msgspec.DecodeError):  # gone, too large or damaged: the row still tells the rest
            return None

    async def read(self, job: Job, above: frozenset[str]) -> tuple[frozenset[str], Details]:
        """What a row shows, and the blobs of its pictures."""
        manifest = await self.manifest(job)
        files = sorted(manifest.files, key=lambda file: file.path) if manifest else []
        # A job without a picture of its own shows what it looked at, unless the row above it does already.
        own = _pictures(files)
        looked_at = own or [one for one in _pictures(job.event.files) if one.blob not in above]
        pictures = [shown for one in looked_at[:PICTURES_SHOWN] if (shown := await self._picture(one))]
        return frozenset(one.blob for one in own or _pictures(job.event.files)), Details(
            insights=await self._insights(job, manifest),
            pictures=pictures,
            files=[await self._stored(one.path, one.blob, one.size) for one in files[:FILES_SHOWN]],
            more_files=max(0, len(files) - FILES_SHOWN),
            log=await self._log(job, manifest),
            older_logs=await self._older_logs(job),
            facts=_facts(manifest),
        )

    async def _picture(self, file: FileRef) -> Shown | None:
        """Embedded once, while there is room; None beyond it."""
        if key := self._embedded.get(file.blob):
            return Shown(key=key, name=file.path)
        if file.size > min(PICTURE_MOST, self._pictures_left):
            return None
        try:
            content = await self._blobs.get_bytes(file.blob, most=PICTURE_MOST)
        except InvalidError:  # gone, or larger than its manifest says
            return None
        self._pictures_left -= len(content)
        key = self._embedded[file.blob] = f"p{len(self._embedded)}"
        data = f"data:{PICTURES[_suffix(file.path)]};base64,{base64.b64encode(content).decode()}"
        return Shown(key=key, name=file.path, data=data)

    async def _insights(self, job: Job, manifest: Manifest | None) -> list[tuple[str, str]]:
        if manifest:
            return [(insight.key, insight.value) for insight in manifest.insights]
        if not job.manifest or not job.manifest.insights:
            return []
        try:  # the records of a flow may outlive its blobs
            record = await self._documents.get(Kind.INSIGHT, job.manifest.execution)
        except NotFoundError:
            return []
        return [(plain(pair.get("key")), plain(pair.get("value"))) for pair in record.body.get("data", ())]

    async def _stored(self, name: str, blob: str, count: int | None) -> Stored:
        try:
            return Stored(name=name, size=count, url=await self._blobs.link(blob, LINK_TTL_S))
        except NotFoundError:
            return Stored(name=name, size=count, url="")
        except UnsupportedError:  # this store, or who opened it, signs no links
            return Stored(name=name, size=count, url=self._blobs.uri(blob))

    async def _log(self, job: Job, manifest: Manifest | None) -> Log | None:
        path = job.log or (manifest.log.blob if manifest and manifest.log else "")
        if not path:
            return None
        count = await self._size(path, manifest)
        if count is None:
            return Log(tail=None, cut=False, file=Stored(name="log.txt", size=None, url=""))
        file = await self._stored("log.txt", path, count)
        most = min(count, LOG_MOST)
        if most > self._logs_left:
            return Log(tail=None, cut=True, file=file)
        self._logs_left -= most
        return Log(tail=await self._tail(path, count - most, most), cut=most < count, file=file)

    async def _size(self, path: str, manifest: Manifest | None) -> int | None:
        """The bytes of a log; a failed attempt has no manifest that says."""
        if manifest and manifest.log and manifest.log.blob == path:
            return manifest.log.size
        folder = path.rpartition("/")[0]
        async for blob in self._blobs.list(f"{folder}/"):
            if blob.path == path:
                return blob.size
        return None

    async def _tail(self, path: str, start: int, most: int) -> str | None:
        content = bytearray()
        try:
            async for chunk in self._blobs.read(path, start=start):
                content += chunk
                if len(content) >= most:
                    break
        except NotFoundError:
            return None
        return log_text(bytes(content[:most]))

    async def _older_logs(self, job: Job) -> list[tuple[str, str]]:
        """The logs of attempts before the last, which the row no longer names."""
        if job.attempt < 2:
            return []
        which = RecordFilter(kind=Kind.MODULE_LOGS, name=job.module, event_id=job.event.id)
        last = self._blobs.uri(job.log) if job.log else ""
        found: list[tuple[str, str]] = []
        async for record in self._documents.query(which):
            url = plain(record.body.get("logs", ""))
            if url != last and len(found) < OLDER_LOGS_SHOWN:
                found.append((f"attempt {record.id.rpartition(':')[2]}", url))
        return found


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def _pictures(files: Sequence[FileRef]) -> list[FileRef]:
    return [file for file in files if _suffix(file.path) in PICTURES]


def _facts(manifest: Manifest | None) -> list[tuple[str, str]]:
    """The small print: where and with what it ran."""
    if manifest is None:
        return []
    usage = manifest.usage
    facts = [
        ("host", manifest.host),
        ("devices", ", ".join(manifest.devices)),
        ("cpu", f"{usage.cpu_s:.2f} s" if usage.cpu_s else ""),
        ("gpu", f"{usage.gpu_s:.2f} s" if usage.gpu_s else ""),
        ("memory", size(usage.peak_memory) if usage.peak_memory else ""),
        ("image", manifest.image_digest),
        ("revision", manifest.revision),
    ]
    return [(key, value) for key, value in facts if value]
