"""Bringing a job here: the folder that its module saw, laid out by the handler that laid it out then.

The files come through `JobVerbs.read`, so it is the same for a store here and for an Ion elsewhere.
"""

import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self

from ion.errors import ConflictError, ExistsError, InvalidError, UnavailableError, UnsupportedError
from ion.handler import JobHandler
from ion.handler.inputs import forget
from ion.handler.reading import sha256
from ion.management.verbs import JobVerbs
from ion.model.event import FileRef
from ion.model.job import Job
from ion.model.manifest import Manifest
from ion.ports.blobs import BlobInfo, Blobs, BlobsGuarantees
from ion.ports.executor import Assignment, Workspace


async def pull(jobs: JobVerbs, job: str, folder: Path, *, outputs: bool = False) -> Path:
    """Makes `folder`, which must not exist, the directory that the job's module sees, with copies of its files.

    With `outputs`, what the job left is in `out/data`. What a failure leaves of the folder is removed.

    Raises:
        ExistsError: the folder is there. NotFoundError: a file, or the module, is gone. ConflictError: outputs are
            asked for and there are none.
    """
    results = (await jobs.show(job=job)).results if outputs else None
    work = await jobs.work(job=job)
    if outputs and results is None:
        raise ConflictError(f"job {work.job.id} is {work.job.state} and has left nothing: pull it without its outputs")
    blobs = JobBlobs(jobs, work.job, results)
    try:
        await laid_out(blobs, Assignment(job=work.job, revision=work.revision), folder)
        forget(folder)
        for ref in results.files if results else ():
            await _bring(ref, folder / "out/data" / ref.path, blobs)
    except ExistsError:
        raise
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder


async def laid_out(blobs: Blobs, assignment: Assignment, folder: Path) -> Workspace:
    """What the handler's `prepare` makes of an assignment, on this host."""
    return await JobHandler(blobs, host="").prepare(assignment, folder)


async def _bring(ref: FileRef, place: Path, blobs: Blobs) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    await blobs.get(ref.blob, place)
    if (came := await sha256(str(place), ref.size, ref.path)) != ref.sha256:
        raise UnavailableError(
            f"the file '{ref.path}' is not what the job left: its sha256 is {came}, where {ref.sha256} was committed"
        )


class JobBlobs(Blobs):
    """The blobs of one job, to be read only: each is asked for by its role and path."""

    def __init__(self, jobs: JobVerbs, job: Job, results: Manifest | None = None) -> None:
        self._jobs, self._job = jobs, job.id
        self._names = {ref.blob: ("out", ref.path) for ref in (results.files if results else ())}
        self._names |= {ref.blob: ("in", ref.path) for ref in job.event.files}
        if job.event.dataref:
            self._names[job.event.dataref] = ("data", "")

    @property
    def guarantees(self) -> BlobsGuarantees:
        return BlobsGuarantees(create_only=True, links=False, local=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    async def get(self, path: str, file: Path, *, private: bool = False) -> bool:  # noqa: ARG002 - it always is
        with file.open("xb") as stream:
            async for chunk in self.read(path):
                stream.write(chunk)
        return False

    async def get_bytes(self, path: str, *, most: int = 64 * 1024 * 1024) -> bytes:
        content = bytearray()
        async for chunk in self.read(path):
            content += chunk
            if len(content) > most:
                raise InvalidError(f"the blob '{path}' has more than {most} bytes: too large to be read at once")
        return bytes(content)

    async def read(self, path: str, *, start: int = 0) -> AsyncIterator[bytes]:
        left = start
        role, name = self._names[path]
        async for chunk in self._jobs.read(job=self._job, role=role, path=name):
            if left < len(chunk):
                yield chunk[left:]
            left = max(0, left - len(chunk))

    def uri(self, path: str) -> str:
        return path

    # ---- what nobody needs who only lays out a folder ---------------------------------------------------------

    async def put(self, path: str, file: Path, *, move: bool = False) -> None:  # noqa: ARG002 - see above
        _refuse(path)

    async def put_bytes(self, path: str, content: bytes) -> None:  # noqa: ARG002
        _refuse(path)

    async def link(self, path: str, ttl_s: float) -> str:  # noqa: ARG002
        _refuse(path)

    async def info(self, path: str) -> BlobInfo:
        _refuse(path)

    def list(self, prefix: str) -> AsyncIterator[BlobInfo]:
        _refuse(prefix)

    async def delete(self, prefix: str, *, keep: Callable[[str], bool] | None = None) -> int:  # noqa: ARG002
        _refuse(prefix)


def _refuse(path: str) -> NoReturn:
    raise UnsupportedError(f"the files of a job are to be read only, each by its name: '{path}' is not")
