"""A pod without a cluster: prepare, module and commit as programs of their own, each as the user that it is in a pod.

The programs are `ion handler` itself. They become their user once what they need is imported, for the interpreter may
lie where others must not look. Commit is root whose rights are bounded to one, as a container's are.
"""

import asyncio
import hashlib
import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from tests.stores.http_proxy import HttpProxy
from tests.stores.seaweed import Seaweed

from ion.adapters.blobs.objects import ObjectBlobs
from ion.adapters.blobs.objects_settings import ObjectsSettings
from ion.adapters.executors.kubernetes.containers import HANDLER_UID, SEES
from ion.model import ids
from ion.model.event import Event, FileRef, utc_now
from ion.model.job import Job
from ion.model.manifest import Manifest, execution_prefix
from ion.model.module import Module, revise
from ion.model.told import Told
from ion.ports.executor import Assignment
from ion.wiring.handler import ASSIGNMENT, BLOBS, opening

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")

CONTENT = b"an input"
_AS = """
import os, shutil, sys
import concurrent.futures.thread, encodings.idna, obstore.store, obstore.exceptions
import ion.adapters.blobs.objects, ion.adapters.blobs.objects_narrow, ion.adapters.blobs.objects_stream
import ion.cli.handler, ion.handler.apart, ion.handler.handler, ion.wiring.handler
from ion.cli.main import program

if {uid}:
    os.setgroups([])
    os.setgid({uid})
    os.setuid({uid})
program("handler", "{step}")
"""
READS_ALL = ("setpriv", "--no-new-privs", "--bounding-set=-all,+dac_read_search", "--inh-caps=-all", "--")
_NO_RIGHT = ("setpriv", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", "--clear-groups")


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How a program ended: its exit code, what it told (None for nothing), and its standard error."""

    code: int
    told: Told | None
    error: str


class Apart:
    """An attempt. Who prepares and who commits are numbers of users; 0 is root with the one right to read all."""

    def __init__(self, blobs: ObjectBlobs, settings: ObjectsSettings, volume: Path) -> None:
        self.blobs, self.settings, self.volume = blobs, settings, volume
        self.directory, self.files, self.log = volume / "ion", volume / "given", volume / "termination-log"
        self.prepares, self.commits = HANDLER_UID, 0
        self.work = _assignment()
        self.environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "PYTHONDONTWRITEBYTECODE": "1",
            "ION_BASE_DIR": str(self.directory),
            "ION_SEEN_AS": SEES,
            "ION_HANDLER_FILES": str(self.files),
            "ION_TERMINATION_LOG": str(self.log),
            "ION_HOST": "a-node",
        }

    async def give(self) -> None:
        """What the dispatcher does first."""
        await self.blobs.put_bytes("root/1/x/data/a.txt", CONTENT)
        self.files.mkdir()
        (self.files / ASSIGNMENT).write_bytes(msgspec.json.encode(self.work))
        (self.files / BLOBS).write_bytes((await opening(self.blobs, self.settings, self.work))[0])
        self.log.touch()
        for path, mode in ((self.volume, 0o777), (self.files, 0o755), (self.log, 0o666)):
            path.chmod(mode)

    async def prepare(self) -> Ended:
        return await self._run("prepare", self.prepares)

    async def commit(self) -> Ended:
        return await self._run("commit", self.commits)

    @asynccontextmanager
    async def begun(self, step: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """A step that goes on while the context does, and is killed then."""
        self.log.write_bytes(b"")
        user = {"prepare": self.prepares, "commit": self.commits}[step]
        words = (*(() if user or os.geteuid() else READS_ALL), sys.executable, "-c", _AS.format(uid=user, step=step))
        process = await asyncio.create_subprocess_exec(*words, env=self.environment, stderr=subprocess.PIPE)
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()

    async def ended(self, process: asyncio.subprocess.Process) -> Ended:
        assert process.stderr is not None
        error = (await process.stderr.read()).decode()
        code, raw = await process.wait(), self.log.read_bytes()
        return Ended(code=code, told=msgspec.json.decode(raw, type=Told) if raw else None, error=error)

    async def _run(self, step: str, user: int) -> Ended:
        async with self.begun(step) as process:
            return await self.ended(process)

    async def module(self, script: str, user: int = 12_345) -> None:
        """Runs in the job's directory as any user without a right; root has all of them, as in most images."""
        words = () if user == 0 else (*_NO_RIGHT, f"--reuid={user}", f"--regid={user}", "--")
        process = await asyncio.create_subprocess_exec(*words, "sh", "-ec", script, cwd=self.directory)
        assert await process.wait() == 0

    async def manifest(self, ended: Ended) -> Manifest:
        """What a commit that ended well has stored."""
        assert ended.code == 0, ended.error
        assert ended.told is not None
        assert ended.told.manifest == f"{self.prefix(ended)}manifest.json"
        return msgspec.json.decode(await self.blobs.get_bytes(ended.told.manifest), type=Manifest)

    def prefix(self, ended: Ended) -> str:
        assert ended.told is not None
        return execution_prefix(self.work.job.id, self.work.job.attempt, ended.told.execution)

    async def content(self, manifest: Manifest) -> dict[str, bytes]:
        """The stored files by their paths; each is what its hash says."""
        found = {file.path: await self.blobs.get_bytes(file.blob) for file in manifest.files}
        assert {file.path: file.sha256 for file in manifest.files} == {
            path: hashlib.sha256(content).hexdigest() for path, content in found.items()
        }
        return found

    async def stored(self) -> list[str]:
        return sorted([info.path async for info in self.blobs.list(f"{self.work.job.id}/")])


def _assignment() -> Assignment:
    ref = FileRef(
        path="a.txt", blob="root/1/x/data/a.txt", size=len(CONTENT), sha256=hashlib.sha256(CONTENT).hexdigest()
    )
    event = Event(
        id=ids.new_id(),
        type="photo",
        source="ion://test",
        correlation_id="flow",
        parent_id="frontapi",
        time=utc_now(),
        files=(ref,),
        data={"kind": "cat"},
    )
    job = Job(id=ids.new_id(), module="detect", event=event, attempt=1)
    return Assignment(job=job, revision=revise(Module(name="detect", command=("true",), emits=("found",)), ""))


@asynccontextmanager
async def apart(settings: ObjectsSettings) -> AsyncIterator[Apart]:
    """An attempt that was given what it needs, in a folder that any user reaches."""
    with tempfile.TemporaryDirectory(prefix="ion-apart-") as volume:
        async with ObjectBlobs(settings) as blobs:
            attempt = Apart(blobs, settings, Path(volume))
            await attempt.give()
            yield attempt


@asynccontextmanager
async def behind(
    proxy: HttpProxy, seaweed: Seaweed, *, retries: int = 1, retry_for_s: float = 1.0, timeout_s: float = 20.0
) -> AsyncIterator[Apart]:
    """An attempt whose handler reaches the store through a proxy, and is soon at the end of its client's patience."""
    settings = seaweed.role(seaweed.fresh(f"t-{uuid.uuid4().hex}", proxy.port))
    settings = msgspec.structs.replace(settings, retries=retries, retry_for_s=retry_for_s, timeout_s=timeout_s)
    async with apart(settings) as made:
        yield made


async def has(found: list[str]) -> None:
    """Until a request was met."""
    async with asyncio.timeout(300.0):
        while not found:  # noqa: ASYNC110 - a request of another process
            await asyncio.sleep(0.01)
