"""The file-system blob store, with and without links, against the suite of every adapter; and what is its own."""

import asyncio
import errno
import os
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from ion.adapters.blobs import copying
from ion.adapters.blobs.filesystem import LINK_FROM, FilesystemBlobs, leases_work
from ion.errors import ConflictError, UnavailableError
from ion.ports.blobs import Blobs
from ion.testing.conformance.blobs import BlobsConformance

GIB = 1024**3
SHM = Path("/dev/shm")


class TestFilesystemBlobs(BlobsConformance):
    links = False
    durable = False

    @pytest.fixture(autouse=True)
    def root(self, tmp_path: Path) -> Path:
        self.folder = tmp_path / "the store"
        return self.folder

    def open_blobs(self) -> AbstractAsyncContextManager[Blobs]:
        return FilesystemBlobs(self.folder, links=self.links, durable=self.durable)

    def elsewhere(self) -> str:
        return f"""
from pathlib import Path
from ion.adapters.blobs.filesystem import FilesystemBlobs

def open_blobs():
    return FilesystemBlobs(Path({str(self.folder)!r}), links={self.links})
"""


class TestFilesystemBlobsWithLinks(TestFilesystemBlobs):
    links = True


class TestFilesystemBlobsWithPowerCuts(TestFilesystemBlobs):
    durable = True


@pytest.fixture
async def blobs(tmp_path: Path) -> AsyncIterator[FilesystemBlobs]:
    async with FilesystemBlobs(tmp_path / "store", links=True) as store:
        yield store


def sparse(file: Path, size: int) -> Path:
    with file.open("wb") as writing:
        writing.write(b"head")
        writing.truncate(size)
        writing.seek(size - 4)
        writing.write(b"tail")
    return file


def stored(blobs: Blobs, path: str) -> Path:
    return Path(unquote(urlsplit(blobs.uri(path)).path))


async def test_a_moved_file_is_not_read(blobs: FilesystemBlobs, tmp_path: Path) -> None:
    """`move` makes the very file the blob, read-only, however large it is."""
    file = sparse(tmp_path / "huge", 2 * GIB)
    before = file.stat()
    await blobs.put("a/huge", file, move=True)
    after = stored(blobs, "a/huge").stat()
    assert (after.st_ino, after.st_blocks) == (before.st_ino, before.st_blocks)
    assert stat.S_IMODE(after.st_mode) == 0o444


async def test_a_copied_file_keeps_its_holes(blobs: FilesystemBlobs, tmp_path: Path) -> None:
    """A sparse file is copied in and out without its holes taking room or time."""
    file = sparse(tmp_path / "huge", 2 * GIB)
    await blobs.put("a/huge", file)
    await blobs.get("a/huge", tmp_path / "again", private=True)
    for copy in (stored(blobs, "a/huge"), tmp_path / "again"):
        assert copy.stat().st_size == 2 * GIB
        assert copy.stat().st_blocks * 512 < 1024**2
        with copy.open("rb") as reading:
            assert reading.read(4) == b"head"
            reading.seek(-4, os.SEEK_END)
            assert reading.read() == b"tail"


@pytest.mark.parametrize(("size", "link"), [(LINK_FROM - 1, False), (LINK_FROM, True)])
async def test_only_larger_files_come_as_links(
    blobs: FilesystemBlobs, tmp_path: Path, size: int, *, link: bool
) -> None:
    """A small file comes as a writable copy, a larger one as the stored file where the file system cannot clone."""
    await blobs.put_bytes("a/b", b"x" * size)
    given = await blobs.get("a/b", tmp_path / "file")
    assert given == (link and not blobs._clones)
    assert ((tmp_path / "file").stat().st_ino == stored(blobs, "a/b").stat().st_ino) == given
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == (0o444 if given else 0o644)


@pytest.mark.skipif(not SHM.is_dir(), reason="no second file system to move from")
async def test_a_file_of_another_file_system_is_copied(blobs: FilesystemBlobs, tmp_path: Path) -> None:
    """`move` and `get` work between file systems, by copying."""
    file = SHM / f"ion-{os.getpid()}"
    try:
        file.write_bytes(b"x" * LINK_FROM)
        await blobs.put("a/b", file, move=True)
        file.unlink()
        assert not await blobs.get("a/b", file)
        assert file.read_bytes() == b"x" * LINK_FROM == await blobs.get_bytes("a/b")
    finally:
        file.unlink(missing_ok=True)


async def test_copying_works_where_holes_are_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a file system without SEEK_DATA the whole file is copied."""
    (tmp_path / "from").write_bytes(b"x" * 100_000)
    seek = os.lseek

    def without_holes(descriptor: int, position: int, whence: int) -> int:
        if whence in (os.SEEK_DATA, os.SEEK_HOLE):
            raise OSError(errno.EINVAL, "no holes")
        return seek(descriptor, position, whence)

    monkeypatch.setattr(os, "lseek", without_holes)
    with copying.opened(tmp_path / "from") as source, copying.created(tmp_path / "to", 0o600) as target:
        copying.copy(source, target)
    assert (tmp_path / "to").read_bytes() == b"x" * 100_000


async def test_a_cancelled_copy_has_ended(blobs: FilesystemBlobs, tmp_path: Path) -> None:
    """Once a cancelled `get` or `put` has ended, nothing goes on writing: no partial file is left, and none comes."""
    (tmp_path / "large").write_bytes(b"x" * 64 * 1024**2)
    await blobs.put("a/b", tmp_path / "large")
    for call in (blobs.get("a/b", tmp_path / "copy", private=True), blobs.put("a/c", tmp_path / "large")):
        running = asyncio.create_task(call)
        await asyncio.sleep(0)
        running.cancel()
        await asyncio.wait([running])
        assert list((tmp_path / "store/.tmp").iterdir()) == []
        assert (tmp_path / "copy").exists() in (False, not running.cancelled())


async def test_the_store_is_closed_to_others_and_its_files_readable(blobs: FilesystemBlobs, tmp_path: Path) -> None:
    """The root is 0700; copies are readable by any user of a container, whatever the umask."""
    umask = os.umask(0o077)
    try:
        await blobs.put_bytes("a/b", b"x")
        await blobs.get("a/b", tmp_path / "file")
    finally:
        os.umask(umask)
    assert stat.S_IMODE((tmp_path / "store").stat().st_mode) == 0o700
    assert stat.S_IMODE(stored(blobs, "a/b").stat().st_mode) == 0o444
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o644


async def test_what_a_killed_writer_left_goes_at_a_later_opening(tmp_path: Path) -> None:
    """Opening removes temporary files older than an hour, and leaves those that may still be written."""
    async with FilesystemBlobs(tmp_path) as blobs:
        assert list((tmp_path / ".tmp").iterdir()) == []
    old, new = tmp_path / ".tmp/old", tmp_path / ".tmp/new"
    old.write_bytes(b"")
    new.write_bytes(b"")
    os.utime(old, (time.time() - 4000, time.time() - 4000))
    async with blobs:
        assert list((tmp_path / ".tmp").iterdir()) == [new]


async def test_empty_folders_do_not_pile_up(blobs: FilesystemBlobs, tmp_path: Path) -> None:
    """Deleting an execution takes its empty folders along, up to the shard."""
    await blobs.put_bytes("abcd/1/x/data/a", b"")
    await blobs.delete("abcd/1/x/")
    assert [entry.name for entry in (tmp_path / "store").iterdir() if entry.name != ".tmp"] == ["ab"]
    assert list((tmp_path / "store/ab").iterdir()) == []


async def test_a_blob_is_no_folder(blobs: FilesystemBlobs) -> None:
    """A path below an existing blob is a conflict, with one sentence."""
    await blobs.put_bytes("a/b", b"")
    with pytest.raises(ConflictError, match=r"'a/b/c'.* a file, not a folder"):
        await blobs.put_bytes("a/b/c", b"")


async def test_a_lost_root_is_unavailable(blobs: FilesystemBlobs, tmp_path: Path) -> None:
    """When the store's folder is away, puts raise UnavailableError with the place."""
    (tmp_path / "store").rename(tmp_path / "elsewhere")
    with pytest.raises(UnavailableError, match=str(tmp_path / "store")):
        await blobs.put_bytes("a/b", b"")


def test_a_full_disk_is_unavailable(tmp_path: Path) -> None:
    """No room raises UnavailableError with path and reason, and leaves no partial file."""
    program = f"""
import asyncio, resource, signal
from pathlib import Path
from ion.adapters.blobs.filesystem import FilesystemBlobs
from ion.errors import UnavailableError

async def main():
    async with FilesystemBlobs(Path({str(tmp_path)!r})) as blobs:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            await blobs.put_bytes("a/b", b"x" * 2000)
        except UnavailableError as error:
            print(error)

asyncio.run(main())
"""
    told = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert f"cannot store the blob 'a/b' in {tmp_path}: File too large" in told.stdout
    assert [entry.name for entry in tmp_path.rglob("*") if entry.is_file()] == []


async def test_a_link_opens_the_file(blobs: FilesystemBlobs) -> None:
    """The link that a person gets is the file's URI, and names the stored file."""
    await blobs.put_bytes("a/ü #1", b"x")
    assert await blobs.link("a/ü #1", 60) == blobs.uri("a/ü #1")
    assert stored(blobs, "a/ü #1").read_bytes() == b"x"


def test_leases_are_really_tried(tmp_path: Path) -> None:
    """`leases_work` says no for a folder where nothing can be leased, and leaves nothing behind."""
    assert not leases_work(tmp_path / "none")
    assert leases_work(tmp_path) in (True, False)
    assert list(tmp_path.iterdir()) == []
