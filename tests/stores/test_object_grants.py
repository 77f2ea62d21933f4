"""What a grant of an object store opens, and that the server itself refuses everything else."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import obstore
import pytest
from tests.stores.azurite import KEY
from tests.stores.grants import BELOW, LARGE, client, listed, narrowing, place, refused, ring
from tests.stores.seaweed import SECRET, Seaweed
from tests.stores.server import ObjectServer

from ion.adapters.blobs.objects import ObjectBlobs
from ion.adapters.blobs.objects_narrow import NarrowBlobs
from ion.adapters.blobs.objects_settings import ObjectsSettings
from ion.adapters.executors.ends import of_error
from ion.errors import ExistsError, InvalidError, NotFoundError, UnavailableError, UnsupportedError
from ion.model.job import FailureClass
from ion.ports.blobs import Grant

PATIENCE_S = 180.0


@pytest.fixture
async def blobs(server: ObjectServer) -> AsyncIterator[ObjectBlobs]:
    """A store with an input, and with what is others'."""
    async with ObjectBlobs(place(server)) as blobs:
        for path in ("root/1/x/data/in", "root/1/x/data/in2", "other/1/x/data/secret", "job/2/x/data/later"):
            await blobs.put_bytes(path, path.encode())
        yield blobs


# ---- what it opens ------------------------------------------------------------------------------------------------


async def test_a_grant_reads_its_inputs_and_puts_below_its_folder(blobs: ObjectBlobs, tmp_path: Path) -> None:
    """Inputs come by every way of reading; documents, small files and large ones are stored."""
    content = os.urandom(LARGE)
    (tmp_path / "small").write_bytes(content[:1000])
    (tmp_path / "large.mp4").write_bytes(content)
    await blobs.put("root/1/x/data/large", tmp_path / "large.mp4")
    grant = await blobs.narrowed(["root/1/x/data/in", "root/1/x/data/large"], BELOW, 600)
    async with NarrowBlobs(grant) as narrow:
        await narrow.get("root/1/x/data/large", tmp_path / "came")
        assert (tmp_path / "came").read_bytes() == content
        assert await narrow.get_bytes("root/1/x/data/in") == b"root/1/x/data/in"
        assert b"".join([piece async for piece in narrow.read("root/1/x/data/large")]) == content
        assert (await narrow.info("root/1/x/data/in")).size == 16
        await narrow.put("job/1/x/data/small", tmp_path / "small")
        await narrow.put("job/1/x/data/ü, large #1?.mp4", tmp_path / "large.mp4")
        await narrow.put_bytes("job/1/x/manifest.json", b"{}")
    assert await blobs.get_bytes("job/1/x/data/small") == content[:1000]
    assert await blobs.get_bytes("job/1/x/data/ü, large #1?.mp4") == content
    assert await blobs.get_bytes("job/1/x/manifest.json") == b"{}"


async def test_a_grant_travels_as_json_and_shows_no_secret(blobs: ObjectBlobs) -> None:
    """It comes out as it went in; the store's own secrets are not in it, and `repr` shows none of its own."""
    grant = await blobs.narrowed(["root/1/x/data/in"], BELOW, 600)
    raw = msgspec.json.encode(grant)
    again = msgspec.json.decode(raw, type=Grant)
    assert again == grant
    assert KEY.encode() not in raw
    assert SECRET.encode() not in raw
    assert "content='***'" in repr(grant)
    secrets = [*ring(grant).writes.values(), *(part for key in ring(grant).keys for part in key.credential.values())]
    assert secrets
    for shown in (repr(grant), repr(ring(grant).settings)):
        assert not [secret for secret in secrets if secret in shown]
    async with NarrowBlobs(again) as narrow:
        assert await narrow.get_bytes("root/1/x/data/in") == b"root/1/x/data/in"


async def test_a_path_that_is_taken_is_refused(blobs: ObjectBlobs, tmp_path: Path) -> None:
    """What is there stays as it is, whether a document, a small file or a large one comes."""
    (tmp_path / "small").write_bytes(b"second")
    (tmp_path / "large").write_bytes(os.urandom(LARGE))
    grant = await blobs.narrowed([], BELOW, 600)
    async with NarrowBlobs(grant) as narrow:
        await narrow.put_bytes("job/1/x/a", b"first")
        with pytest.raises(ExistsError):
            await narrow.put_bytes("job/1/x/a", b"second")
        for name in ("small", "large"):
            with pytest.raises(ExistsError):
                await narrow.put("job/1/x/a", tmp_path / name)
    async with NarrowBlobs(grant) as another:
        with pytest.raises(ExistsError):
            await another.put_bytes("job/1/x/a", b"third")
    assert await blobs.get_bytes("job/1/x/a") == b"first"


async def test_of_many_puts_of_a_path_one_wins(blobs: ObjectBlobs) -> None:
    """Of puts of one path at once one succeeds, and the blob is that one's."""
    async with NarrowBlobs(await blobs.narrowed([], BELOW, 600)) as narrow:
        puts = [narrow.put_bytes("job/1/x/a", b"%d" % number * 1000) for number in range(10)]
        answers = await asyncio.gather(*puts, return_exceptions=True)
    (winner,) = [number for number, answer in enumerate(answers) if answer is None]
    assert sum(isinstance(answer, ExistsError) for answer in answers) == 9
    assert await blobs.get_bytes("job/1/x/a") == b"%d" % winner * 1000


async def test_a_vanished_input_is_not_found(blobs: ObjectBlobs) -> None:
    """As from the store itself."""
    async with NarrowBlobs(await blobs.narrowed(["root/1/x/data/gone"], BELOW, 600)) as narrow:
        with pytest.raises(NotFoundError):
            await narrow.get_bytes("root/1/x/data/gone")


async def test_a_cancelled_put_leaves_all_or_nothing(blobs: ObjectBlobs, tmp_path: Path) -> None:
    """Cancelling leaves a large blob whole or absent, and the grant usable."""
    content = os.urandom(LARGE)
    (tmp_path / "large").write_bytes(content)
    async with NarrowBlobs(await blobs.narrowed([], BELOW, 600)) as narrow:
        putting = asyncio.create_task(narrow.put("job/1/x/large", tmp_path / "large"))
        await asyncio.sleep(0.02)  # so that it is under way; wherever it is, this holds
        putting.cancel()
        await asyncio.wait([putting])
        with suppress(ExistsError):
            await narrow.put("job/1/x/large", tmp_path / "large")
    assert await blobs.get_bytes("job/1/x/large") == content


# ---- what it does not ---------------------------------------------------------------------------------------------


async def test_the_server_refuses_what_was_not_granted(blobs: ObjectBlobs) -> None:
    """With a grant's credentials nothing else is read, nothing listed, deleted or overwritten that is not its own."""
    grant = await blobs.narrowed(["root/1/x/data/in"], BELOW, 600)
    prefix = ring(grant).settings.prefix
    async with NarrowBlobs(grant) as narrow:
        await narrow.put_bytes("job/1/x/a", b"mine")
    for credential in (ring(grant).writes, *(key.credential for key in ring(grant).keys)):
        thief = client(grant, credential)
        for path in ("other/1/x/data/secret", "root/1/x/data/in2", "job/2/x/data/later"):
            refused(obstore.get, thief, prefix + path)
            refused(obstore.head, thief, prefix + path)
            refused(obstore.put, thief, prefix + path, b"forged")
            refused(obstore.delete, thief, prefix + path)
        for folder in (None, f"{prefix}other", f"{prefix}{BELOW}"):
            refused(listed, thief, folder)
        for path in ("root/1/x/data/in", "job/1/x/a"):
            refused(obstore.delete, thief, prefix + path)
        refused(obstore.put, thief, f"{prefix}root/1/x/data/in", b"forged")
    for path in ("other/1/x/data/secret", "root/1/x/data/in", "root/1/x/data/in2", "job/2/x/data/later"):
        assert await blobs.get_bytes(path) == path.encode()


async def test_the_guarantees_say_whether_writing_is_narrow(blobs: ObjectBlobs) -> None:
    """Where they do, the server creates nothing outside the folder. Where not, it creates, and overwrites nothing, not
    even the attempt's own.
    """
    grant = await blobs.narrowed([], BELOW, 600)
    prefix = ring(grant).settings.prefix
    thief = client(grant, ring(grant).writes)
    assert blobs.guarantees.narrows_reads
    if blobs.guarantees.narrows_writes:
        refused(obstore.put, thief, f"{prefix}other/1/x/new", b"forged", mode="create")
        refused(obstore.put, thief, f"{prefix}other/1/x/new", b"y" * LARGE, use_multipart=True)
        return
    obstore.put(thief, f"{prefix}other/1/x/new", b"forged", mode="create", use_multipart=False)
    for content in (b"again", b"y" * LARGE):
        refused(obstore.put, thief, f"{prefix}other/1/x/new", content)
    assert await blobs.get_bytes("other/1/x/new") == b"forged"


async def test_a_grant_says_what_it_is_not_for(blobs: ObjectBlobs, tmp_path: Path) -> None:
    """Each in one sentence: a blob of others', a put elsewhere, and the verbs of a whole store."""
    async with NarrowBlobs(await blobs.narrowed(["root/1/x/data/in"], BELOW, 600)) as narrow:
        with pytest.raises(
            UnavailableError, match=r"does not allow that .*reads 1 blobs .* puts below 'job/1/'"
        ) as caught:
            await narrow.get("other/1/x/data/secret", tmp_path / "file")
        assert "403 Forbidden" in str(caught.value)
        assert "\n" not in str(caught.value)
        with pytest.raises(InvalidError, match="not below 'job/1/'"):
            await narrow.put_bytes("job/10/x/a", b"")
        with pytest.raises(UnsupportedError, match="cannot list or delete"):
            [info async for info in narrow.list(BELOW)]
        with pytest.raises(UnsupportedError, match="cannot list or delete"):
            await narrow.delete(BELOW)
        with pytest.raises(UnsupportedError, match="cannot sign links"):
            await narrow.link("root/1/x/data/in", 60)
        with pytest.raises(UnsupportedError, match="cannot narrow"):
            await narrow.narrowed([], BELOW, 60)
        assert narrowing(narrow) == (False, False)
    assert not (tmp_path / "file").exists()


# ---- its end ------------------------------------------------------------------------------------------------------


async def test_a_grant_ends(server: ObjectServer, tmp_path: Path) -> None:
    """After its time the server refuses it, whatever is tried; that is trouble of the infrastructure, and is said."""
    (tmp_path / "large").write_bytes(os.urandom(LARGE))
    if not isinstance(server, Seaweed):
        await ends(place(server), 2.0, tmp_path)
        return
    # A role is assumed for a quarter of an hour at least, unless its server allows less.
    with Seaweed(tmp_path / "server", most_volumes=20, session_s=4) as brief:
        await ends(place(brief), 4.0, tmp_path)


async def ends(settings: ObjectsSettings, lasts_s: float, folder: Path) -> None:
    async with ObjectBlobs(settings) as blobs:
        await blobs.put_bytes("root/1/x/data/in", b"in")
        asked_at = datetime.now(UTC)
        grant = await blobs.narrowed(["root/1/x/data/in"], BELOW, lasts_s)
        assert asked_at < grant.ends_at <= datetime.now(UTC) + timedelta(seconds=lasts_s + 2)
        async with NarrowBlobs(grant) as narrow:
            assert await readable(narrow) or datetime.now(UTC) >= grant.ends_at
            until = time.monotonic() + PATIENCE_S
            while datetime.now(UTC) < grant.ends_at or await readable(narrow):
                assert time.monotonic() < until
                await asyncio.sleep(0.1)
            for attempt in (
                lambda: narrow.get("root/1/x/data/in", folder / "came"),
                lambda: narrow.put_bytes("job/1/x/b", b""),
                lambda: narrow.put("job/1/x/b", folder / "large"),
            ):
                with pytest.raises(UnavailableError) as caught:
                    await attempt()
                assert f"credential is over since {grant.ends_at:%Y-%m-%d}" in str(caught.value)
                assert "another attempt gets its own" in str(caught.value)
                assert "\n" not in str(caught.value)
                assert of_error(caught.value).kind is FailureClass.INFRASTRUCTURE
        thief = client(grant, ring(grant).writes)
        refused(obstore.put, thief, f"{settings.prefix}job/1/x/b", b"", mode="create", use_multipart=False)
        assert [info.path async for info in blobs.list("job/")] == []


async def readable(narrow: NarrowBlobs) -> bool:
    try:
        await narrow.get_bytes("root/1/x/data/in")
    except UnavailableError:
        return False
    return True
