"""A job whose input in an object store is gone or is another: the right class of failure, and a clear sentence."""

import hashlib
import os
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import obstore
import pytest
from tests.stores.server import ObjectServer

from ion.adapters.blobs.objects import ObjectBlobs
from ion.adapters.executors.ends import of_error
from ion.errors import NotFoundError, UnavailableError
from ion.handler import JobHandler
from ion.model import ids
from ion.model.event import Event, FileRef, utc_now
from ion.model.job import FailureClass, Job
from ion.model.module import Module, revise
from ion.ports.executor import Assignment

CONTENT = os.urandom(9 * 1024 * 1024)
BLOB = "root/1/x/data/clip.mp4"


@pytest.fixture
async def blobs(server: ObjectServer) -> AsyncIterator[ObjectBlobs]:
    async with ObjectBlobs(server.fresh(f"t-{uuid.uuid4().hex}")) as blobs:
        yield blobs


def assignment() -> Assignment:
    ref = FileRef(path="clip.mp4", blob=BLOB, size=len(CONTENT), sha256=hashlib.sha256(CONTENT).hexdigest())
    event = Event(
        id=ids.new_id(),
        type="photo",
        source="ion://test",
        correlation_id="flow",
        parent_id="test",
        time=utc_now(),
        files=(ref,),
    )
    job = Job(id=ids.new_id(), module="detect", event=event, attempt=1)
    return Assignment(job=job, revision=revise(Module(name="detect", command=("true",)), ""))


async def test_an_input_is_brought_and_checked(blobs: ObjectBlobs, tmp_path: Path) -> None:
    """What was committed is what the module finds."""
    (tmp_path / "clip").write_bytes(CONTENT)
    await blobs.put(BLOB, tmp_path / "clip")
    workspace = await JobHandler(blobs, host="here").prepare(assignment(), tmp_path / "ion")
    assert (tmp_path / "ion/in/data/clip.mp4").read_bytes() == CONTENT
    assert workspace.linked == ()


async def test_a_vanished_input_is_final(blobs: ObjectBlobs, tmp_path: Path) -> None:
    """NotFoundError names the blob and the store; the job fails for good."""
    with pytest.raises(NotFoundError) as caught:
        await JobHandler(blobs, host="here").prepare(assignment(), tmp_path / "ion")
    failure = of_error(caught.value)
    assert failure.kind is FailureClass.CONTRACT
    assert BLOB in failure.message
    assert "there is no such blob" in failure.message
    assert "\n" not in failure.message


@pytest.mark.parametrize("size", [len(CONTENT), 1000])
async def test_an_input_of_another_content_is_trouble_of_the_store(
    blobs: ObjectBlobs, tmp_path: Path, size: int
) -> None:
    """A blob that is not what was committed, of the same size or of another, is never given to a module; the job is
    tried again for as long as trouble of the infrastructure is borne.
    """
    wrong = bytearray(CONTENT[:size])
    wrong[500] ^= 1
    await obstore.put_async(blobs._store, blobs._key(BLOB), bytes(wrong))
    with pytest.raises(UnavailableError, match=r"'clip\.mp4' is not what was stored") as caught:
        await JobHandler(blobs, host="here").prepare(assignment(), tmp_path / "ion")
    failure = of_error(caught.value)
    assert failure.kind is FailureClass.INFRASTRUCTURE
    assert BLOB in failure.message
    assert hashlib.sha256(wrong).hexdigest() in failure.message
