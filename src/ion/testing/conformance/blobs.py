"""What every adapter of `ion.ports.blobs` must do. Subclass it, name the class `Test...`, and say how to open one."""

import asyncio
import hashlib
import os
from abc import ABC, abstractmethod
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from ion.errors import ExistsError, InvalidError, IonError, NotFoundError
from ion.ports.blobs import Blobs
from ion.testing.conformance.elsewhere import running

LARGE = 3 * 1024 * 1024 + 17
"""Bytes: more than any adapter does in one step."""

_PUT_ELSEWHERE = """
import asyncio
from pathlib import Path

async def main():
    folder = Path({folder!r})
    async with open_blobs() as blobs:
        for number in range(1000):
            file = folder / str(number)
            file.write_bytes(bytes([number % 251]) * {size})
            await blobs.put(f"job/1/killed/{{number}}", file, move=number % 2 == 0)
            print(number, flush=True)

asyncio.run(main())
"""


async def paths(blobs: Blobs, prefix: str) -> list[str]:
    """What is listed, in order."""
    return sorted([info.path async for info in blobs.list(prefix)])


async def content(blobs: Blobs, path: str, start: int = 0) -> bytes:
    return b"".join([piece async for piece in blobs.read(path, start=start)])


class BlobsConformance(ABC):
    @abstractmethod
    def open_blobs(self) -> AbstractAsyncContextManager[Blobs]:
        """Opens this test's store; every call opens the same one, which begins empty."""

    def elsewhere(self) -> str:
        """Python source that defines `open_blobs` for the same store in another process; "" if there is none."""
        return ""

    async def test_what_is_put_comes_back(self, tmp_path: Path) -> None:
        """A file and its bytes come back by every way of reading, whether small, large or empty."""
        async with self.open_blobs() as blobs:
            for size in (0, 1, 1000, LARGE):
                source, path = tmp_path / f"in-{size}", f"job/1/run/data/{size}"
                source.write_bytes(os.urandom(size))
                await blobs.put(path, source)
                await blobs.get(path, tmp_path / f"out-{size}")
                assert (tmp_path / f"out-{size}").read_bytes() == source.read_bytes()
                assert await blobs.get_bytes(path) == source.read_bytes()
                assert await content(blobs, path) == source.read_bytes()

    async def test_reading_begins_where_asked(self) -> None:
        """`read` gives the content from a byte on, in pieces of at most 1 MiB, and nothing beyond the end."""
        document = os.urandom(LARGE)
        async with self.open_blobs() as blobs:
            await blobs.put_bytes("a/b", document)
            assert await content(blobs, "a/b", start=LARGE - 5) == document[-5:]
            assert await content(blobs, "a/b", start=LARGE) == b""
            assert await content(blobs, "a/b", start=LARGE + 5) == b""
            assert max([len(piece) async for piece in blobs.read("a/b")]) <= 1024 * 1024

    async def test_a_taken_path_is_refused(self, tmp_path: Path) -> None:
        """A second put of a path raises ExistsError, however it is made, and changes nothing."""
        file = tmp_path / "second"
        async with self.open_blobs() as blobs:
            await blobs.put_bytes("a/b", b"first")
            for move in (False, True):
                file.write_bytes(b"second")
                with pytest.raises(ExistsError):
                    await blobs.put("a/b", file, move=move)
                file.unlink()
            with pytest.raises(ExistsError):
                await blobs.put_bytes("a/b", b"third")
            assert await blobs.get_bytes("a/b") == b"first"

    async def test_of_many_writers_one_wins(self) -> None:
        """Of writers that put one path at once exactly one succeeds, and the blob is that one's."""
        async with self.open_blobs() as blobs:
            puts = [blobs.put_bytes("a/b", b"%d" % number * 1000) for number in range(20)]
            answers = await asyncio.gather(*puts, return_exceptions=True)
            (winner,) = [number for number, answer in enumerate(answers) if answer is None]
            assert sum(isinstance(answer, ExistsError) for answer in answers) == 19
            assert await blobs.get_bytes("a/b") == b"%d" % winner * 1000

    @pytest.mark.parametrize("size", [10, LARGE])
    async def test_a_file_that_is_kept_may_go_on_changing(self, tmp_path: Path, size: int) -> None:
        """Without `move` the blob is what the file was at the put, whatever is written to the file later."""
        file = tmp_path / "log"
        file.write_bytes(b"a" * size)
        async with self.open_blobs() as blobs:
            await blobs.put("a/b", file)
            with file.open("r+b") as writing:
                writing.write(b"b" * size)
            assert await blobs.get_bytes("a/b") == b"a" * size

    @pytest.mark.parametrize("size", [10, LARGE])
    async def test_a_file_under_two_names_is_not_taken(self, tmp_path: Path, size: int) -> None:
        """`move` of a file that somebody has under another name leaves that one writable, and no part of the blob."""
        given, other = tmp_path / "given", tmp_path / "other"
        given.write_bytes(b"a" * size)
        other.hardlink_to(given)
        async with self.open_blobs() as blobs:
            await blobs.put("a/b", given, move=True)
            other.write_bytes(b"b" * size)
            assert await blobs.get_bytes("a/b") == b"a" * size

    @pytest.mark.parametrize("size", [10, LARGE])
    async def test_a_private_copy_may_be_changed(self, tmp_path: Path, size: int) -> None:
        """`private` never gives a link: the file can be written to, and the blob stays."""
        async with self.open_blobs() as blobs:
            await blobs.put_bytes("a/b", b"a" * size)
            assert not await blobs.get("a/b", tmp_path / "mine", private=True)
            (tmp_path / "mine").write_bytes(b"changed")
            assert await blobs.get_bytes("a/b") == b"a" * size

    async def test_links_are_given_only_where_guaranteed(self, tmp_path: Path) -> None:
        """`get` says whether the file is a link, and it is one only where the guarantees allow it."""
        async with self.open_blobs() as blobs:
            await blobs.put_bytes("a/b", b"a" * LARGE)
            link = await blobs.get("a/b", tmp_path / "file")
            assert blobs.guarantees.links or not link
            assert link == ((tmp_path / "file").stat().st_nlink > 1)

    async def test_what_is_not_there_is_not_found(self, tmp_path: Path) -> None:
        """Every way of reading raises NotFoundError for an unknown path, also one that is a folder or below a blob."""
        async with self.open_blobs() as blobs:
            await blobs.put_bytes("a/b/c", b"")
            for path in ("x/y", "a/b", "a/b/c/d"):
                with pytest.raises(NotFoundError):
                    await blobs.get(path, tmp_path / "file")
                with pytest.raises(NotFoundError):
                    await blobs.get_bytes(path)
                with pytest.raises(NotFoundError):
                    await content(blobs, path)
                with pytest.raises(NotFoundError):
                    await blobs.link(path, 60)
            assert not (tmp_path / "file").exists()

    async def test_a_missing_file_cannot_be_put(self, tmp_path: Path) -> None:
        """A put of a file that is not there raises NotFoundError and stores nothing."""
        async with self.open_blobs() as blobs:
            for move in (False, True):
                with pytest.raises(NotFoundError):
                    await blobs.put("a/b", tmp_path / "none", move=move)
            assert await paths(blobs, "a/") == []

    async def test_a_document_that_is_too_large_is_refused(self) -> None:
        """`get_bytes` raises InvalidError rather than taking more memory than it was allowed."""
        async with self.open_blobs() as blobs:
            await blobs.put_bytes("a/b", b"12345")
            assert await blobs.get_bytes("a/b", most=5) == b"12345"
            with pytest.raises(InvalidError):
                await blobs.get_bytes("a/b", most=4)

    async def test_a_listing_is_of_one_folder(self) -> None:
        """A listing has every blob below the folder with its size, and none of a folder whose name begins alike."""
        async with self.open_blobs() as blobs:
            for path in ("job/1/x/data/a", "job/1/x/manifest.json", "job/10/x/a", "job2/1/x/a", "job/1x"):
                await blobs.put_bytes(path, b"12")
            assert await paths(blobs, "job/1/") == ["job/1/x/data/a", "job/1/x/manifest.json"]
            assert await paths(blobs, "nothing/") == []
            infos = [info async for info in blobs.list("job/1/")]
            assert all(info.size == 2 and info.modified_s > 0 for info in infos)

    async def test_a_listing_may_be_of_the_whole_store(self) -> None:
        """The empty prefix lists every blob, whatever its first part is called."""
        async with self.open_blobs() as blobs:
            assert await paths(blobs, "") == []
            names = sorted(["job/1/x/a", "job2/a", ".tmp/b", "ab/cd/e"])
            for name in names:
                await blobs.put_bytes(name, b"1")
            assert await paths(blobs, "") == names

    async def test_info_tells_of_one_blob(self) -> None:
        """It has the size that was stored; what is no blob, a folder of blobs too, is not found."""
        async with self.open_blobs() as blobs:
            await blobs.put_bytes("job/1/a", b"12345")
            found = await blobs.info("job/1/a")
            assert (found.path, found.size) == ("job/1/a", 5)
            assert found.modified_s > 0
            for path in ("job/1", "job/1/b", "job/1/a/b"):
                with pytest.raises(NotFoundError):
                    await blobs.info(path)

    async def test_a_long_listing_is_complete(self) -> None:
        """A listing longer than a page has every blob once."""
        async with self.open_blobs() as blobs:
            names = sorted(f"a/{number % 7}/{number}" for number in range(1200))
            for name in names:
                await blobs.put_bytes(name, b"")
            assert await paths(blobs, "a/") == names

    async def test_deleting_keeps_what_was_said(self) -> None:
        """`delete` removes all below the folder but what is kept, counts it, and may be repeated."""
        async with self.open_blobs() as blobs:
            for path in ("job/1/x/data/a", "job/1/x/log.txt", "job/1/y/a", "job/10/x/a", "job/2/x/a"):
                await blobs.put_bytes(path, b"")
            assert await blobs.delete("job/1/", keep=lambda path: path == "job/1/x/log.txt") == 2
            assert await paths(blobs, "job/") == ["job/1/x/log.txt", "job/10/x/a", "job/2/x/a"]
            assert await blobs.delete("job/1/", keep=lambda path: path == "job/1/x/log.txt") == 0
            assert await blobs.delete("job/1/") == 1
            assert await blobs.delete("never/") == 0
            await blobs.put_bytes("job/1/x/log.txt", b"again")

    async def test_deleting_does_not_disturb_putting(self) -> None:
        """A put succeeds while its neighbours are deleted and their empty folders cleared away."""
        async with self.open_blobs() as blobs:

            async def put_and_delete(number: int) -> None:
                for turn in range(30):
                    await blobs.put_bytes(f"job/1/{number}/{turn}/a", b"x")
                    await blobs.delete(f"job/1/{number}/{turn}/")
                await blobs.put_bytes(f"job/1/{number}/kept", b"x")

            await asyncio.gather(*(put_and_delete(number) for number in range(8)))
            assert await paths(blobs, "job/") == [f"job/1/{number}/kept" for number in range(8)]

    @pytest.mark.parametrize(
        "path",
        ["", "/a", "a//b", "a/", "../a", "a/../b", "..a/../b", "./a", "a/.", "a\0b", "a\\..\\b", "a/" + "n" * 256],
    )
    async def test_a_path_that_names_no_blob_is_refused(self, tmp_path: Path, path: str) -> None:
        """A path that is empty, absolute, leaves its folder or is too long raises InvalidError in every verb."""
        (tmp_path / "file").write_bytes(b"")
        async with self.open_blobs() as blobs:
            for attempt in (
                lambda: blobs.put(path, tmp_path / "file"),
                lambda: blobs.put_bytes(path, b""),
                lambda: blobs.get(path, tmp_path / "out"),
                lambda: blobs.get_bytes(path),
                lambda: blobs.delete(f"{path}/"),
            ):
                with pytest.raises(InvalidError):
                    await attempt()

    @pytest.mark.parametrize("name", ["with blank", "a,b", "日本語.png", "100% #1?.jpg", "..hidden", ".tmp", "a" * 200])
    async def test_unusual_names_are_names(self, name: str) -> None:
        """Blanks, commas, other scripts and signs of URLs are kept in paths, as a first part and as a last."""
        async with self.open_blobs() as blobs:
            for path in (f"{name}/a", f"job/1/{name}"):
                await blobs.put_bytes(path, name.encode())
                assert await blobs.get_bytes(path) == name.encode()
            assert await paths(blobs, "job/1/") == [f"job/1/{name}"]
            assert await paths(blobs, f"{name}/") == [f"{name}/a"]

    async def test_a_uri_is_lasting_and_its_own(self) -> None:
        """The URI of a path is the same at every call, and another path's is another."""
        async with self.open_blobs() as blobs:
            uris = [blobs.uri(path) for path in ("a/b c", "a/b c", "a/b%20c", "a/b#c")]
            assert uris[0] == uris[1]
            assert len(set(uris)) == 3
            assert all(":" in uri and " " not in uri for uri in uris)

    async def test_a_killed_writer_leaves_whole_blobs_only(self, tmp_path: Path) -> None:
        """Whatever a process had put when it was killed is there and whole; what it was putting is whole or absent."""
        if not self.elsewhere():
            pytest.skip("only this process reaches the store")
        program = self.elsewhere() + _PUT_ELSEWHERE.format(folder=str(tmp_path), size=LARGE)
        async with running(program) as output:
            told = [int(await output.readline()) for _ in range(7)]
        async with self.open_blobs() as blobs:
            stored = {int(path.rpartition("/")[2]) for path in await paths(blobs, "job/1/killed/")}
            assert stored >= set(told)
            for number in stored:
                read = await blobs.get_bytes(f"job/1/killed/{number}")
                expected = bytes([number % 251]) * LARGE
                assert hashlib.sha256(read).digest() == hashlib.sha256(expected).digest()

    async def test_a_cancelled_put_leaves_all_or_nothing(self, tmp_path: Path) -> None:
        """Cancelling a put leaves the blob whole or absent, and the store usable."""
        (tmp_path / "large").write_bytes(b"x" * LARGE)
        async with self.open_blobs() as blobs:
            putting = asyncio.create_task(blobs.put("a/b", tmp_path / "large"))
            await asyncio.sleep(0)
            putting.cancel()
            await asyncio.wait([putting])
            try:
                await blobs.put("a/b", tmp_path / "large")
            except IonError as error:
                assert isinstance(error, ExistsError)  # noqa: PT017 - both outcomes are right
            assert await blobs.get_bytes("a/b") == b"x" * LARGE
