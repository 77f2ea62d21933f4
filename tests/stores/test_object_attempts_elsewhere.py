"""A whole attempt far from its dispatcher: the steps around the module run in processes that hold a grant alone."""

import asyncio
import hashlib
import json
import os
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.stores.azurite import KEY
from tests.stores.http_proxy import Fate, HttpProxy
from tests.stores.seaweed import SECRET, Seaweed
from tests.stores.server import ObjectServer

from ion.adapters.blobs.objects import ObjectBlobs
from ion.adapters.blobs.objects_narrow import NarrowBlobs
from ion.errors import UnavailableError
from ion.handler import JobHandler
from ion.handler.granting import grant, longest_s
from ion.model import ids
from ion.model.event import Event, FileRef, utc_now
from ion.model.job import Job
from ion.model.manifest import Manifest, ManifestRef, Usage, log_path
from ion.model.module import Module, revise
from ion.ports.executor import Assignment

LARGE = os.urandom(11 * 1024 * 1024 + 5)
"""Bytes: three parts."""

_STEP = """
import asyncio, sys, time
from pathlib import Path
import msgspec
from ion.handler import JobHandler
from ion.model.manifest import Usage
from ion.ports.blobs import Grant
from ion.ports.executor import Assignment, Workspace
from ion.wiring.stores import granted

step, given = sys.argv[1], msgspec.json.decode(sys.stdin.buffer.read())
assignment = msgspec.convert(given["assignment"], Assignment)
directory = Path(given["directory"])

async def main():
    async with granted(msgspec.convert(given["grant"], Grant)) as blobs:
        handler = JobHandler(blobs, host="pod")
        if step == "prepare":
            made = await handler.prepare(assignment, directory)
            return {"execution": made.execution, "environment": made.environment}
        workspace = Workspace(directory=directory, **given["workspace"])
        log = directory.with_name(f"{directory.name}.log")
        if step == "keep":
            return await handler.keep_log(assignment.job.id, assignment.job.attempt, workspace.execution, log)
        return await handler.commit(
            assignment, workspace, log=log, usage=Usage(cpu_s=1.0), started_at_s=time.time()
        )

sys.stdout.buffer.write(msgspec.json.encode(asyncio.run(main())))
"""

_MODULE = """
import json, os
from pathlib import Path
here = Path(os.environ["ION_DIR"])
meta = {pair["key"]: pair["value"] for pair in json.loads((here / "in/eventmeta.json").read_text())}
clip = (here / "in/data/clip.mp4").read_bytes()
(here / "out/data/deep").mkdir()
(here / "out/data/deep/reversed.bin").write_bytes(clip[::-1])
(here / "out/data/note, ü.txt").write_text(str(len(meta["text"])))
(here / "out/insights.json").write_text(json.dumps({"bytes": len(clip)}))
event = {"type": "found", "files": ["deep/reversed.bin"], "inputs": ["clip.mp4"], "data": {"again": meta["text"]}}
(here / "out/events/1.json").write_text(json.dumps(event))
(here / "out/events/2.json").write_text(json.dumps({"type": "found", "files": ["note, ü.txt"]}))
"""


@pytest.fixture
async def blobs(server: ObjectServer) -> AsyncIterator[ObjectBlobs]:
    settings = server.fresh(f"t-{uuid.uuid4().hex}")
    async with ObjectBlobs(server.role(settings) if isinstance(server, Seaweed) else settings) as blobs:
        yield blobs


@pytest.fixture
async def assignment(blobs: ObjectBlobs, tmp_path: Path) -> Assignment:
    """A job of an event with a large file and data that is too large for a row, and another's job beside it."""
    (tmp_path / "clip").write_bytes(LARGE)
    await blobs.put("root/1/x/data/clip.mp4", tmp_path / "clip")
    await blobs.put_bytes("root/1/x/events/e.data.json", json.dumps({"text": "a" * 20_000}).encode())
    await blobs.put_bytes("other/1/x/data/secret", b"not yours")
    ref = FileRef(
        path="clip.mp4", blob="root/1/x/data/clip.mp4", size=len(LARGE), sha256=hashlib.sha256(LARGE).hexdigest()
    )
    event = Event(
        id=ids.new_id(),
        type="photo",
        source="ion://test",
        correlation_id="flow",
        parent_id="frontapi",
        time=utc_now(),
        files=(ref,),
        dataref="root/1/x/events/e.data.json",
    )
    job = Job(id=ids.new_id(), module="detect", event=event, attempt=1)
    return Assignment(job=job, revision=revise(Module(name="detect", command=("true",), emits=("found",)), ""))


async def program(*arguments: str, given: bytes = b"", **environment: str) -> bytes:
    """Runs Python in a process that has nothing of this one's environment; its output."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        *arguments,
        env={"PYTHONPATH": os.pathsep.join(sys.path), **environment},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, fault = await process.communicate(given)
    assert process.returncode == 0, fault.decode()
    return output


class Elsewhere:
    """A pod: what it is given is one document, which has no secret of the store's."""

    def __init__(self, assignment: Assignment, granted: Any, directory: Path) -> None:
        self.given = {"assignment": assignment, "grant": granted, "directory": str(directory)}
        self.directory = directory

    async def step(self, name: str) -> Any:
        document = msgspec.json.encode(self.given)
        assert KEY.encode() not in document
        assert SECRET.encode() not in document
        return msgspec.json.decode(await program(_STEP, name, given=document))

    async def prepare(self) -> str:
        self.given["workspace"] = await self.step("prepare")
        self.directory.with_name(f"{self.directory.name}.log").write_text("said\n")
        return str(self.given["workspace"]["execution"])

    async def run(self) -> None:
        await program(_MODULE, **self.given["workspace"]["environment"])


async def test_an_attempt_needs_its_grant_alone(blobs: ObjectBlobs, assignment: Assignment, tmp_path: Path) -> None:
    """Prepare, module and commit, each a process of its own; the dispatcher finds the manifest and all in it."""
    allowed = await grant(blobs, assignment)
    left_s = (allowed.ends_at - datetime.now(UTC)).total_seconds()
    assert 1800 + 3600 + 30 < left_s <= longest_s(assignment) + 1
    pod = Elsewhere(assignment, allowed, tmp_path / "ion")
    execution = await pod.prepare()
    await pod.run()
    told = await pod.step("commit")
    found = await JobHandler(blobs, host="here").find_manifest(assignment.job.id, 1)
    assert found is not None
    assert found.execution == execution
    assert found == msgspec.convert(told, ManifestRef)
    raw = await blobs.get_bytes(found.blob)
    assert hashlib.sha256(raw).hexdigest() == found.sha256
    manifest = msgspec.json.decode(raw, type=Manifest)
    assert manifest.host == "pod"
    content = {file.path: await blobs.get_bytes(file.blob) for file in manifest.files}
    assert content == {"deep/reversed.bin": LARGE[::-1], "note, ü.txt": b"20000"}
    first, second = manifest.events
    assert [file.blob for file in first.files][-1] == "root/1/x/data/clip.mp4"
    assert json.loads(await blobs.get_bytes(first.dataref)) == {"again": "a" * 20_000}
    assert [file.path for file in second.files] == ["note, ü.txt"]
    assert await blobs.get_bytes(log_path(assignment.job.id, 1, execution)) == b"said\n"
    own = f"{assignment.job.id}/1/{execution}/"
    assert {info.path.partition("/")[0] async for info in blobs.list("")} == {"root", "other", assignment.job.id}
    assert all([info.path.startswith(own) async for info in blobs.list(f"{assignment.job.id}/")])


async def test_a_commit_may_be_made_again_elsewhere(blobs: ObjectBlobs, assignment: Assignment, tmp_path: Path) -> None:
    """What was stored by a process that died before its manifest is taken as stored by the next."""
    pod = Elsewhere(assignment, await grant(blobs, assignment, 600), tmp_path / "ion")
    execution = await pod.prepare()
    await pod.run()
    await pod.step("keep")
    await blobs.put_bytes(f"{assignment.job.id}/1/{execution}/data/note, ü.txt", b"20000")
    await pod.step("commit")
    found = await JobHandler(blobs, host="here").find_manifest(assignment.job.id, 1)
    assert found is not None
    assert found.files == 2


async def test_an_attempt_that_runs_twice_needs_one_grant(
    blobs: ObjectBlobs, assignment: Assignment, tmp_path: Path
) -> None:
    """Platforms do that: each run is an execution of its own, and of two manifests the dispatcher takes the older."""
    allowed = await grant(blobs, assignment, 600)
    pods = [Elsewhere(assignment, allowed, tmp_path / name) for name in ("one", "two")]
    executions = [await pod.prepare() for pod in pods]
    assert executions[0] != executions[1]
    for pod in pods:
        await pod.run()
        await pod.step("commit")
    found = await JobHandler(blobs, host="here").find_manifest(assignment.job.id, 1)
    assert found is not None
    assert found.execution in executions
    manifests = [
        info.path async for info in blobs.list(f"{assignment.job.id}/1/") if info.path.endswith("manifest.json")
    ]
    assert sorted(manifests) == sorted(f"{assignment.job.id}/1/{execution}/manifest.json" for execution in executions)


async def prepared(blobs: NarrowBlobs, assignment: Assignment, directory: Path) -> Callable[[], Awaitable[ManifestRef]]:
    """An attempt whose module has ended, as something that commits it."""
    handler = JobHandler(blobs, host="pod")
    workspace = await handler.prepare(assignment, directory)
    (directory / "out/data/a").write_text("result")

    async def commit() -> ManifestRef:
        return await handler.commit(assignment, workspace, log=None, usage=Usage(), started_at_s=time.time())

    return commit


async def test_a_commit_whose_answer_gets_lost_gives_what_is_stored(
    server: ObjectServer, blobs: ObjectBlobs, assignment: Assignment, tmp_path: Path
) -> None:
    """The manifest is stored, but nobody says so; the next try has another, and gives the one that is there."""
    allowed = await grant(blobs, assignment, 600)
    async with HttpProxy(server.port) as proxy:
        settings = allowed.content["settings"]
        settings |= {"endpoint": settings["endpoint"].replace(f":{server.port}", f":{proxy.port}"), "retries": 1}
        async with NarrowBlobs(allowed) as narrow:
            commit = await prepared(narrow, assignment, tmp_path / "ion")
            proxy.always(Fate.LOSE, "PUT", "manifest.json")
            with pytest.raises(UnavailableError):
                await commit()
            proxy.always(Fate.PASS)
            told = await commit()
    assert told == await JobHandler(blobs, host="here").find_manifest(assignment.job.id, 1)


async def test_a_commit_that_was_made_by_another_process_is_found(
    blobs: ObjectBlobs, assignment: Assignment, tmp_path: Path
) -> None:
    """Whoever comes second gives what is stored, where the grant reads its own results; where not, it says so. The
    dispatcher finds the first either way.
    """
    allowed = await grant(blobs, assignment, 600)
    async with NarrowBlobs(allowed) as narrow:
        commit = await prepared(narrow, assignment, tmp_path / "ion")
        first = await commit()
        if blobs.guarantees.narrows_writes:
            assert await commit() == first
        else:
            with pytest.raises(UnavailableError, match="credential does not allow that") as caught:
                await commit()
            assert first.blob in str(caught.value)
    assert await JobHandler(blobs, host="here").find_manifest(assignment.job.id, 1) == first
