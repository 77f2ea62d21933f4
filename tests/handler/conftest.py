"""One attempt at a time: a job, its directory and what a module leaves there, over a real blob store on disk."""

import hashlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec
import pytest

from ion.adapters.blobs.filesystem import FilesystemBlobs
from ion.errors import ContractError
from ion.handler import JobHandler
from ion.messaging import codec, trace
from ion.model import ids
from ion.model.event import Event, FileRef, utc_now
from ion.model.job import Job
from ion.model.manifest import Manifest, ManifestRef, Usage, execution_prefix
from ion.model.module import Module, revise
from ion.ports.executor import Assignment, Workspace


class Attempt:
    """An attempt of the module `detect`, which may raise `found` and `nothing_found`."""

    workspace: Workspace

    def __init__(self, blobs: FilesystemBlobs, folder: Path) -> None:
        self.blobs, self.folder = blobs, folder
        self.handler = JobHandler(blobs, host="here")
        self.directory = folder / "ion"
        self.module = Module(name="detect", emits=("found", "nothing_found"), secrets={"KEY": "vision", "K2": "vision"})
        self.event = Event(
            id=ids.new_id(),
            type="photo",
            source=codec.gateway_source("frontapi"),
            correlation_id="flow-1",
            parent_id="frontapi",
            time=utc_now(),
            subject="clip.mp4",
            traceparent=trace.new_trace(),
            data={"url": "http://x/ü", "count": 3},
        )
        self.job_id = ids.new_id()

    @property
    def assignment(self) -> Assignment:
        job = Job(id=self.job_id, module="detect", event=self.event, attempt=2, devices=("0",))
        return Assignment(job=job, revision=revise(self.module, "sha256:abc"))

    @property
    def prefix(self) -> str:
        return execution_prefix(self.job_id, 2, self.workspace.execution)

    async def brings(self, path: str, content: bytes) -> FileRef:
        """Stores a file and adds it to the event."""
        blob = f"root/1/x/data/{len(self.event.files)}"
        await self.blobs.put_bytes(blob, content)
        ref = FileRef(path=path, blob=blob, size=len(content), sha256=hashlib.sha256(content).hexdigest())
        self.event = msgspec.structs.replace(self.event, files=(*self.event.files, ref))
        return ref

    async def prepare(self, sees: str = "") -> Path:
        self.workspace = await self.handler.prepare(self.assignment, self.directory, sees=sees)
        return self.directory

    def leaves(self, path: str, content: bytes | str = b"") -> Path:
        """Writes a file below `out`, as the module would."""
        file = self.directory / "out" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return file

    def raises(self, name: str = "e.json", event_type: str = "found", **fields: Any) -> None:
        """Writes an event file in the object form."""
        self.leaves(f"events/{name}", msgspec.json.encode({"type": event_type, **fields}))

    async def commit(self, log: Path | None = None) -> ManifestRef:
        usage = Usage(cpu_s=1.5)
        return await self.handler.commit(
            self.assignment, self.workspace, log=log, usage=usage, started_at_s=time.time() - 5
        )

    async def manifest(self, log: Path | None = None) -> Manifest:
        """Commits, and reads what was written."""
        ref = await self.commit(log)
        raw = await self.blobs.get_bytes(ref.blob)
        assert hashlib.sha256(raw).hexdigest() == ref.sha256
        return msgspec.json.decode(raw, type=Manifest)

    async def refusal(self) -> str:
        """The sentence with which the commit is refused; nothing is stored then."""
        with pytest.raises(ContractError) as caught:
            await self.commit()
        assert await self.stored() == []
        return str(caught.value)

    async def stored(self) -> list[str]:
        """What lies below the execution's prefix, by its path from there."""
        return sorted([info.path.removeprefix(self.prefix) async for info in self.blobs.list(self.prefix)])

    def blob_file(self, blob: str) -> Path:
        return Path(unquote(urlsplit(self.blobs.uri(blob)).path))


@pytest.fixture(params=[False, True], ids=["copies", "links"])
async def attempt(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Attempt]:
    """An attempt to be prepared, on a store without and with links."""
    async with FilesystemBlobs(tmp_path / "blobs", links=request.param) as blobs:
        (tmp_path / "work").mkdir()
        yield Attempt(blobs, tmp_path / "work")
