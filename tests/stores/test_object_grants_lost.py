"""What a grant makes of requests and answers that get lost: it cannot always look at what it stored."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from obstore.exceptions import AlreadyExistsError
from tests.stores.grants import BELOW, LARGE, place
from tests.stores.http_proxy import Fate, HttpProxy
from tests.stores.server import ObjectServer

from ion.adapters.blobs.objects import ObjectBlobs
from ion.adapters.blobs.objects_narrow import NarrowBlobs, creating
from ion.errors import ExistsError, UnavailableError


@pytest.fixture
async def proxied(server: ObjectServer) -> AsyncIterator[tuple[HttpProxy, NarrowBlobs, ObjectBlobs]]:
    """A grant whose way to the store is the proxy's; and the store itself."""
    async with HttpProxy(server.port) as proxy:
        settings = place(server)
        async with ObjectBlobs(settings) as blobs:
            grant = await blobs.narrowed([], BELOW, 600)
            detour = settings.endpoint.replace(f":{server.port}", f":{proxy.port}")
            grant.content["settings"]["endpoint"] = detour
            async with NarrowBlobs(grant) as narrow:
                yield proxy, narrow, blobs


@pytest.mark.parametrize("fate", [Fate.LOSE, Fate.CLOSE, Fate.BUSY, Fate.DROP])
@pytest.mark.parametrize(("size", "nth"), [(10, 1), (LARGE, 1), (LARGE, 2)])
async def test_an_answer_that_gets_lost_does_no_harm(
    proxied: tuple[HttpProxy, NarrowBlobs, ObjectBlobs], tmp_path: Path, fate: Fate, size: int, nth: int
) -> None:
    """A put one of whose requests or answers got lost succeeds when it is repeated, though the blob may be there."""
    proxy, narrow, blobs = proxied
    content = os.urandom(size)
    (tmp_path / "file").write_bytes(content)
    asked = 0

    async def judge(method: str, _: str) -> Fate:
        nonlocal asked
        asked += method == "PUT"
        return fate if method == "PUT" and asked == nth else Fate.PASS

    proxy.judge = judge
    await narrow.put("job/1/x/file", tmp_path / "file")
    assert asked > nth
    assert await blobs.get_bytes("job/1/x/file") == content
    with pytest.raises(ExistsError):
        await narrow.put("job/1/x/file", tmp_path / "file")


async def test_of_a_document_that_is_tried_twice_the_first_is_kept(
    proxied: tuple[HttpProxy, NarrowBlobs, ObjectBlobs],
) -> None:
    """A second try, with another content, learns that the first is what is stored, and can read it: so a commit that is
    repeated gives the manifest that is there.
    """
    proxy, narrow, blobs = proxied
    for fate in (Fate.LOSE, Fate.BUSY):
        path = f"job/1/{fate.value}/manifest.json"
        proxy.always(fate, "PUT")
        with pytest.raises(UnavailableError):
            await narrow.put_bytes(path, b"first")
        proxy.always(Fate.PASS)
        with pytest.raises(ExistsError):
            await narrow.put_bytes(path, b"second")
        assert await narrow.get_bytes(path) == b"first"
        assert await blobs.get_bytes(path) == b"first"


@pytest.mark.parametrize("code", ["ConditionalRequestConflict", "OperationAborted"])
def test_a_conflict_that_is_not_decided_is_none_yet(code: str) -> None:
    """S3 answers so while another request for the path goes on: whether that stores anything is not known."""
    with pytest.raises(UnavailableError, match="busy"), creating():
        raise AlreadyExistsError(f"status code: 409 Conflict: <Code>{code}</Code>")
    with pytest.raises(AlreadyExistsError), creating():
        raise AlreadyExistsError("status code: 412 Precondition Failed: <Code>PreconditionFailed</Code>")
