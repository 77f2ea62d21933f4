"""A store that cannot sign links: what is shown of jobs and flows is shown all the same."""

import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from tests.stores.server import ObjectServer

from ion.adapters.blobs import objects_sas
from ion.adapters.blobs.objects import ObjectBlobs
from ion.management.files import files_of, with_links
from ion.model import ids
from ion.model.event import Event, FileRef, utc_now
from ion.model.job import Job
from ion.model.record import event_meta

BLOB = "root/1/x/data/clip.mp4"


@pytest.fixture
async def blobs(azurite: ObjectServer) -> AsyncIterator[ObjectBlobs]:
    """Opened with a token of the container, which signs nothing."""
    settings = azurite.fresh(f"t-{uuid.uuid4().hex}")
    until = datetime.now(UTC) + timedelta(hours=1)
    token = objects_sas.token(settings, objects_sas.Resource.CONTAINER, "", "racwdl", until)
    async with ObjectBlobs(msgspec.structs.replace(settings, account_key="", sas=token)) as blobs:
        yield blobs


def event() -> Event:
    return Event(
        id=ids.new_id(),
        type="photo",
        source="ion://test",
        correlation_id="flow",
        parent_id="test",
        time=utc_now(),
        files=(FileRef(path="clip.mp4", blob=BLOB, size=1, sha256=""),),
    )


async def test_the_lasting_uri_stands_in_for_a_link(blobs: ObjectBlobs) -> None:
    """In the list of a job's files and in a flow's records; a file that is gone is still told from it."""
    root = event()
    job = Job(id=ids.new_id(), module="detect", event=root, attempt=1)
    (gone,) = await files_of(job, blobs)
    assert gone.link == ""
    await blobs.put_bytes(BLOB, b"1")
    (shown,) = await files_of(job, blobs)
    assert shown.link == shown.uri == blobs.uri(BLOB)
    record = event_meta(root, "cli", blobs.uri)
    assert await with_links(record, blobs) == record
