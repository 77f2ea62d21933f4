"""Large uploads: who wins, what a dead writer leaves, how much memory they take; and names, kinds and links."""

import asyncio
import hashlib
import os
import subprocess
import sys
import urllib.error
import urllib.request
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import obstore
import pytest
from tests.stores.http_proxy import Fate, HttpProxy
from tests.stores.server import ObjectServer

from ion.adapters.blobs import objects_put
from ion.adapters.blobs.objects import ObjectBlobs
from ion.adapters.blobs.objects_claim import Claim
from ion.adapters.blobs.objects_settings import MIB
from ion.errors import ExistsError, InvalidError

LARGE = 30 * MIB + 17
GIB = 1024 * MIB


@pytest.fixture
async def blobs(server: ObjectServer) -> AsyncIterator[ObjectBlobs]:
    async with ObjectBlobs(server.fresh(f"t-{uuid.uuid4().hex}")) as blobs:
        yield blobs


def given(folder: Path, name: str, size: int = LARGE) -> tuple[Path, str]:
    """A file of random content, and its hash."""
    (folder / name).write_bytes(content := os.urandom(size))
    return folder / name, hashlib.sha256(content).hexdigest()


def digest(file: Path) -> str:
    with file.open("rb") as reading:
        return hashlib.file_digest(reading, "sha256").hexdigest()


def mark(blobs: ObjectBlobs, folder: str, name: str) -> str:
    """The key of the claim of a path."""
    return f"{blobs._settings.prefix}{folder}.ion~{hashlib.sha256(name.encode()).hexdigest()}"


async def own(blobs: ObjectBlobs, prefix: str) -> list[str]:
    """The adapter's own blobs below a folder."""
    return [meta["path"] async for page in blobs._pages(prefix) for meta in page if ".ion~" in meta["path"]]


# ---- who wins -----------------------------------------------------------------------------------------------------


async def test_of_many_large_writers_one_wins(blobs: ObjectBlobs, tmp_path: Path) -> None:
    """Of writers that put one path in parts at once exactly one succeeds; the blob is that one's, no claim stays."""
    files = [given(tmp_path, str(number), 9 * MIB) for number in range(5)]
    answers = await asyncio.gather(*(blobs.put("a/b", file) for file, _ in files), return_exceptions=True)
    (winner,) = [number for number, answer in enumerate(answers) if answer is None]
    assert sum(isinstance(answer, ExistsError) for answer in answers) == 4
    await blobs.get("a/b", tmp_path / "got")
    assert digest(tmp_path / "got") == files[winner][1]
    assert await own(blobs, "a/") == []


async def test_a_small_and_a_large_writer_do_not_both_win(server: ObjectServer, tmp_path: Path) -> None:
    """A path that was taken while a large file was on its way stays as it is."""
    file, _ = given(tmp_path, "large")
    under_way, taken = asyncio.Event(), asyncio.Event()

    async def judge(method: str, target: str) -> Fate:
        if method == "PUT" and ("comp=block&" in target or "partNumber=" in target):
            under_way.set()
            await taken.wait()
        return Fate.PASS

    async with HttpProxy(server.port) as proxy:
        direct = server.fresh(f"t-{uuid.uuid4().hex}")
        through = msgspec.structs.replace(direct, endpoint=direct.endpoint.replace(str(server.port), str(proxy.port)))
        async with ObjectBlobs(direct) as blobs, ObjectBlobs(through) as slow:
            proxy.judge = judge
            putting = asyncio.create_task(slow.put("a/b", file))
            await under_way.wait()
            await blobs.put_bytes("a/b", b"small")
            taken.set()
            with pytest.raises(ExistsError):
                await putting
            assert await blobs.get_bytes("a/b") == b"small"
            assert await own(blobs, "a/") == []


async def test_a_taken_path_costs_no_upload(blobs: ObjectBlobs, tmp_path: Path) -> None:
    """A large file for a path that is taken is refused, and the stored blob stays."""
    file, _ = given(tmp_path, "large")
    await blobs.put_bytes("a/b", b"small")
    with pytest.raises(ExistsError):
        await blobs.put("a/b", file)
    assert await blobs.get_bytes("a/b") == b"small"


async def test_a_dead_writers_claim_is_taken_over(
    server: ObjectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer that died while it completed its upload keeps the next from it for a while, not for ever."""
    file, content = given(tmp_path, "large")
    settings = server.fresh(f"t-{uuid.uuid4().hex}")
    living_s = 2 * (settings.retry_for_s + settings.timeout_s)  # of requests that have all the time they need
    monkeypatch.setattr(objects_put, "_MARGIN_S", 2.0 - living_s)
    async with ObjectBlobs(settings) as blobs:
        dead = Claim(blobs._store, mark(blobs, "a/", "b"), uuid.uuid4().hex, 1.0)
        await dead.take(_free)
        await blobs.put("a/b", file)
        await blobs.get("a/b", tmp_path / "got")
        assert digest(tmp_path / "got") == content
        assert await own(blobs, "a/") == []


async def _free() -> bool:
    return True


async def test_a_claim_goes_with_its_folder(blobs: ObjectBlobs) -> None:
    """What a dead writer left is not listed, not counted, and deleted along with the rest."""
    await Claim(blobs._store, mark(blobs, "job/1/x/data/", "b"), "dead", 1.0).take(_free)
    await blobs.put_bytes("job/1/x/data/a", b"")
    assert [info.path async for info in blobs.list("job/")] == ["job/1/x/data/a"]
    assert await blobs.delete("job/1/", keep=lambda path: path.endswith("/a")) == 0
    assert await own(blobs, "job/") == []
    assert await blobs.delete("job/1/") == 1


async def test_a_cancelled_large_put_leaves_nothing(blobs: ObjectBlobs, tmp_path: Path) -> None:
    """Cancelled on its way, it leaves no blob and no claim, gives its memory back, and can be made again."""
    file, content = given(tmp_path, "large")
    putting = asyncio.create_task(blobs.put("a/b", file))
    while blobs._room.free == blobs._room.total:  # noqa: ASYNC110
        await asyncio.sleep(0)
    putting.cancel()
    await asyncio.wait([putting])
    assert putting.cancelled()
    assert blobs._room.free == blobs._room.total
    assert [info.path async for info in blobs.list("a/")] == await own(blobs, "a/") == []
    await blobs.put("a/b", file)
    await blobs.get("a/b", tmp_path / "got")
    assert digest(tmp_path / "got") == content


async def test_a_file_that_shrinks_is_not_stored(blobs: ObjectBlobs, tmp_path: Path) -> None:
    """A file that is cut short while it is stored raises InvalidError, and leaves nothing."""
    file, _ = given(tmp_path, "large", 200 * MIB)
    putting = asyncio.create_task(blobs.put("a/b", file))
    while blobs._room.free == blobs._room.total:  # noqa: ASYNC110
        await asyncio.sleep(0)
    os.truncate(file, 10)
    with pytest.raises(InvalidError, match="became shorter"):
        await putting
    assert [info.path async for info in blobs.list("a/")] == []


# ---- memory -------------------------------------------------------------------------------------------------------

_UP_AND_DOWN = """
import asyncio
from pathlib import Path
from ion.adapters.blobs import objects_put
from ion.adapters.blobs.objects import ObjectBlobs
from ion.adapters.blobs.objects_settings import ObjectsSettings

def peak():
    rows = Path("/proc/self/status").read_text().splitlines()
    return next(int(row.split()[1]) * 1024 for row in rows if row.startswith("VmHWM"))

async def main():
    folder = Path({folder!r})
    async with ObjectBlobs(ObjectsSettings(**{settings!r})) as blobs:
        await blobs.put_bytes("a/warm", bytes(1000))
        await blobs.get_bytes("a/warm")
        before = peak()
        await asyncio.gather(*(blobs.put(f"a/{{n}}", folder / "huge") for n in range({count})))
        await asyncio.gather(*(blobs.get(f"a/{{n}}", folder / str(n)) for n in range({count})))
        print(peak() - before)

asyncio.run(main())
"""


@pytest.mark.parametrize(("count", "size"), [(1, GIB), (4, GIB // 4)])
def test_memory_is_bounded(server: ObjectServer, tmp_path: Path, count: int, size: int) -> None:
    """1 GiB goes up and comes back, as one file or as four at once, with no more than 64 MiB above the idle process."""
    with (tmp_path / "huge").open("wb") as file:
        file.write(b"head")
        file.truncate(size)
        file.seek(size - 4)
        file.write(b"tail")
    settings = server.fresh(f"t-{uuid.uuid4().hex}")
    shown = {name: getattr(settings, name) for name in settings.__struct_fields__}
    program = _UP_AND_DOWN.format(folder=str(tmp_path), settings=shown, count=count)
    told = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    print("peak above idle:", int(told) // MIB, "MiB")
    assert MIB < int(told) < 64 * MIB
    for number in range(count):
        got = tmp_path / str(number)
        assert got.stat().st_size == size
        with got.open("rb") as reading:
            assert reading.read(4) == b"head"
            reading.seek(-4, os.SEEK_END)
            assert reading.read() == b"tail"
        got.unlink()


# ---- names, kinds, links ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["plain.jpg", "with blank.jpg", "日本語.jpg", "100% #1?&=+,;:@!$'()*.jpg", "a~b[c]{d}"]
)
async def test_a_link_opens_without_credentials(blobs: ObjectBlobs, name: str) -> None:
    """A signed link reads its blob, says its kind, and reads no other; without the signature the URI reads nothing."""
    await blobs.put_bytes(f"a/{name}", name.encode())
    await blobs.put_bytes("a/other", b"secret")
    link = await blobs.link(f"a/{name}", 60)
    with await asyncio.to_thread(urllib.request.urlopen, link, timeout=60.0) as answer:
        assert answer.read() == name.encode()
        assert answer.headers["Content-Type"] == ("image/jpeg" if name.endswith(".jpg") else "application/octet-stream")
    bare, _, query = link.partition("?")
    for wrong in (bare, f"{bare.rpartition('/')[0]}/other?{query}"):
        with pytest.raises(urllib.error.HTTPError) as caught:
            await asyncio.to_thread(urllib.request.urlopen, wrong, timeout=60.0)
        assert caught.value.code in (401, 403, 404)
        caught.value.close()


async def test_a_link_ends(blobs: ObjectBlobs) -> None:
    """After its lifetime a link opens nothing."""
    await blobs.put_bytes("a/b", b"x")
    link = await blobs.link("a/b", 1.0)

    def status() -> int:
        try:
            with urllib.request.urlopen(link, timeout=60.0) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            error.close()
            return error.code

    async with asyncio.timeout(180):
        while (found := await asyncio.to_thread(status)) == 200:  # noqa: ASYNC110 - it is the server's clock
            await asyncio.sleep(0.2)
    assert found == 403


async def test_a_uri_has_no_secret(blobs: ObjectBlobs) -> None:
    """The lasting URI names the blob, and carries neither key nor signature."""
    uri = blobs.uri("a/b c.jpg")
    assert uri.endswith("/a/b%20c.jpg")
    assert "?" not in uri
    assert all(getattr(blobs._settings, name) not in uri for name in blobs._settings.secrets if name in uri)
    assert uri.startswith(("http://127.0.0.1", "s3://ion-tests/"))


async def test_kinds_follow_names(blobs: ObjectBlobs, tmp_path: Path) -> None:
    """Small and large blobs carry the media type that their name says."""
    file, _ = given(tmp_path, "large", 9 * MIB)
    await blobs.put("a/film.mp4", file)
    await blobs.put_bytes("a/manifest.json", b"{}")
    for name, kind in (("film.mp4", "video/mp4"), ("manifest.json", "application/json")):
        found = await obstore.get_async(blobs._store, blobs._key(f"a/{name}"), options={"head": True})
        assert found.attributes["Content-Type"] == kind


@pytest.mark.parametrize("path", ["a/new\nline", "a/tab\t", "a/.ion~x", ".ion~probe"])
async def test_names_that_cannot_be_are_refused(blobs: ObjectBlobs, path: str) -> None:
    """Control characters, which the client does not take, and the adapter's own names raise InvalidError."""
    with pytest.raises(InvalidError):
        await blobs.put_bytes(path, b"")


LONG = f"{uuid.uuid4()}/1/{uuid.uuid4()}/data/" + "/".join(["d" * 224] * 3 + ["e" * 220, "f"])
"""What an execution stores of a module's longest path."""


async def test_a_large_file_may_have_the_longest_name(blobs: ObjectBlobs, tmp_path: Path) -> None:
    """Its claim has a key that fits, however long the file's own is and however short its last part."""
    file, content = given(tmp_path, "large", 6 * MIB)
    await blobs.put(LONG, file)
    await blobs.get(LONG, tmp_path / "got")
    assert digest(tmp_path / "got") == content


async def test_a_name_too_long_behind_the_prefix_is_refused(server: ObjectServer, tmp_path: Path) -> None:
    """The prefix counts: what no store takes is the name's fault, and not the store's that it might get over."""
    settings = server.fresh(f"t-{uuid.uuid4().hex}")
    (tmp_path / "small").write_bytes(b"1")
    async with ObjectBlobs(msgspec.structs.replace(settings, url=f"{settings.url}/{'p' * 60}")) as blobs:
        for putting in (blobs.put_bytes(LONG, b"1"), blobs.put(LONG, tmp_path / "small")):
            with pytest.raises(InvalidError, match="shorten the name, or the prefix"):
                await putting
        assert [info.path async for info in blobs.list("")] == []


async def test_two_may_delete_the_same(blobs: ObjectBlobs) -> None:
    """Deleting what another is deleting as well is harmless."""
    for number in range(50):
        await blobs.put_bytes(f"a/{number}", b"")
    await asyncio.gather(*(blobs.delete("a/") for _ in range(4)))
    assert [info.path async for info in blobs.list("a/")] == []


def test_the_client_is_not_imported_before_the_opening() -> None:
    """Making the adapter, and its settings, loads no client."""
    program = (
        "import sys, ion.adapters.blobs.objects as o, ion.adapters.blobs.objects_settings as s\n"
        "o.ObjectBlobs(s.ObjectsSettings(url='s3://b')).uri('a')\n"
        "print('obstore' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert told.stdout == "False\n"
