"""Each object store beside its bare client, with as many requests at a time and no checks: MB/s up and down.

Both put small files create-only, as R3 wants it: a server looks first whether the name is free.

One large file (1 GiB, or as many MiB as the argument says) and 1,000 files of 100 KB. The servers are real ones on this
machine, started for it, so both sides share its processors and its disk. GCS is left out: there is no server of it.
"""

import asyncio
import os
import statistics
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path

import obstore
from bench.measure import folder, line
from tests.stores.azurite import Azurite
from tests.stores.seaweed import Seaweed

from ion.adapters.blobs import objects_client
from ion.adapters.blobs.objects import ObjectBlobs
from ion.adapters.blobs.objects_settings import MIB, ObjectsSettings

LARGE_MIB, SMALL, SMALL_COUNT = 1024, 100_000, 1000
AT_ONCE, UP, DOWN, TURNS = 8, 4, 6, 6
Work = Callable[[str, Path], Awaitable[object]]


async def each(names: Iterable[str], work: Callable[[str], Awaitable[object]]) -> None:
    rest = iter(names)

    async def worker() -> None:
        for name in rest:
            await work(name)

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))


class Bare:
    """The client by itself."""

    def __init__(self, settings: ObjectsSettings) -> None:
        self._store, self._part = objects_client.made(settings), settings.part_size

    async def put_large(self, key: str, file: Path) -> None:
        await obstore.put_async(self._store, key, file, chunk_size=self._part, max_concurrency=UP)

    async def get_large(self, key: str, file: Path) -> None:
        size = (await obstore.head_async(self._store, key))["size"]
        starts = iter(range(0, size, self._part))
        target = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY)

        async def lane() -> None:
            for start in starts:
                end = min(start + self._part, size)
                content = await obstore.get_range_async(self._store, key, start=start, end=end)
                await asyncio.to_thread(os.pwrite, target, memoryview(content), start)

        await asyncio.gather(*(lane() for _ in range(DOWN)))
        os.close(target)

    async def put_small(self, key: str, file: Path) -> None:
        await obstore.put_async(self._store, key, file, use_multipart=False, mode="create")

    async def get_small(self, key: str, file: Path) -> None:
        found = await obstore.get_async(self._store, key)
        file.write_bytes(await found.bytes_async())  # noqa: ASYNC240 - a small one


class Turn:
    """One round of the four figures; what was written goes again."""

    def __init__(self, place: Path, large: Path, small: Path) -> None:
        self._place, self._large, self._small = place, large, small

    async def rates(self, up: tuple[Work, Work], down: tuple[Work, Work]) -> Sequence[float]:
        """MB/s: the large file up and down, the small ones up and down."""
        turn, names = uuid.uuid4().hex, [str(number) for number in range(SMALL_COUNT)]
        got = self._place / turn
        got.mkdir()
        size, all_small = self._large.stat().st_size, SMALL * SMALL_COUNT
        found = [
            await _rate(size, up[0](f"{turn}/large", self._large)),
            await _rate(size, down[0](f"{turn}/large", got / "large")),
            await _rate(all_small, each(names, lambda name: up[1](f"{turn}/{name}", self._small))),
            await _rate(all_small, each(names, lambda name: down[1](f"{turn}/{name}", got / name))),
        ]
        for file in got.iterdir():
            file.unlink()
        return found


async def _rate(size: int, work: Awaitable[None] | Awaitable[object]) -> float:
    began = time.perf_counter()
    await work
    return size / 1e6 / (time.perf_counter() - began)


async def measured(name: str, settings: ObjectsSettings, turn: Turn) -> None:
    bare = Bare(settings)
    figures: list[Sequence[float]] = []
    floors: list[Sequence[float]] = []
    async with ObjectBlobs(settings) as blobs:
        floor = floors, (bare.put_large, bare.put_small), (bare.get_large, bare.get_small)
        ours = figures, (blobs.put, blobs.put), (blobs.get, blobs.get)
        for number in range(TURNS):  # who comes first changes: what else is stored, or goes on here, meets both
            for found, up, down in (floor, ours) if number % 2 else (ours, floor):
                found.append(await turn.rates(up, down))
            for done in {info.path.split("/")[0] async for info in blobs.list("")}:  # room for the next
                await blobs.delete(f"{done}/")
    whats = ("large up", "large down", "1,000 small up", "1,000 small down")
    for what, mine, theirs in zip(whats, zip(*figures, strict=True), zip(*floors, strict=True), strict=True):
        rate, bound = statistics.median(mine), statistics.median(theirs)
        line(f"{name}: {what}", f"{rate:.0f} MB/s", f"{bound:.0f} MB/s", f"{rate / bound:.2f} of it (goal 0.9)")


def main() -> None:
    with folder() as place:
        large, small = place / "large.bin", place / "small.bin"
        with large.open("wb") as file:
            for _ in range(LARGE_MIB):
                file.write(os.urandom(MIB))
        small.write_bytes(os.urandom(SMALL))
        turn = Turn(place, large, small)
        with Azurite(place / "azurite") as server:
            asyncio.run(measured("azurite", server.fresh("bench"), turn))
        with Seaweed(place / "seaweed", most_volumes=300) as server:
            asyncio.run(measured("seaweedfs", server.fresh("bench"), turn))
