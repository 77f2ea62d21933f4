"""Carrying a large file to a store and back, in parts, with so many bytes in memory and no more.

An upload hands its content to the client piece by piece; the client makes parts of it and says nothing of a part's
arrival, so room is held for as many parts as it may have under way until the upload ends. A download asks for each part
by itself, and only of the very version that was found first: a blob that changes meanwhile fails the download, and so
does a part that comes short.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING

from ion.adapters.blobs.objects_room import Room
from ion.adapters.blobs.objects_settings import MIB
from ion.errors import InvalidError, UnavailableError

if TYPE_CHECKING:
    from obstore import GetOptions, GetResult
    from obstore.store import AzureStore, GCSStore, S3Store

    Store = AzureStore | GCSStore | S3Store

LANES = 6
"""Parts of one file that come at a time."""
LANE = 7 * MIB
"""What a part that is coming may hold, the client's buffers counted."""
MOST_PARTS = 9_000
"""S3 takes 10,000."""
PIECE = MIB
"""Of a part, what is in the hands of this process at a time."""
SPARE = 2 * MIB
"""What an upload holds besides its parts."""
INLINE = 256 * 1024
"""So much is read from a file or written to it at once; more in a thread."""


def plan(size: int, wanted: int, room: Room) -> tuple[int, int]:
    """How a file of `size` bytes goes up: bytes of a part, and how many parts may be under way.

    Two uploads fit into the room, unless a file is so large that its parts have to be larger than `wanted`.

    Raises:
        InvalidError: the room cannot carry such a file.
    """
    part = max(wanted, -(-size // MOST_PARTS))
    if 2 * part + SPARE > room.most:
        raise InvalidError(
            f"a file of {size} bytes goes up in parts of {part}, of which two do not fit into the store's memory "
            f"of {room.total}; set memory to three times that part or more"
        )
    return part, max(1, (room.most // 2 - SPARE) // part - 1)


class Pieces:
    """The content of an open file, as the client asks for it; `before_end` is awaited before it may end.

    The client joins pieces to parts. It copies each, so they are small.
    """

    def __init__(self, source: int, size: int, before_end: Callable[[], Awaitable[None]]) -> None:
        self._source, self._size, self._before_end = source, size, before_end
        self._at = 0

    def __aiter__(self) -> "Pieces":
        return self

    async def __anext__(self) -> bytes:
        if self._at >= self._size:
            await self._before_end()
            raise StopAsyncIteration
        content = await asyncio.to_thread(whole, self._source, min(PIECE, self._size - self._at), self._at)
        self._at += len(content)
        return content


def whole(source: int, size: int, at: int) -> bytes:
    """Exactly `size` bytes of an open file from `at`. Raises InvalidError if it has become shorter."""
    content = os.pread(source, size, at)
    while len(content) < size:
        more = os.pread(source, size - len(content), at + len(content))
        if not more:
            raise InvalidError("the file became shorter while it was stored; store it when nobody writes to it")
        content += more
    return content


async def upload(
    store: "Store",
    key: str,
    content: Pieces,
    attributes: dict[str, str],
    *,
    part: int,
    under_way: int,
    room: Room,
) -> None:
    """Stores content under a key, overwriting; nothing can be seen of it until it is whole.

    What asking for a piece raises ends the upload, without a trace.
    """
    from obstore import put_async

    async with room.taken(part * (under_way + 1) + SPARE, long=True):  # one part fills while the others go
        await put_async(
            store,
            key,
            content,
            attributes=attributes,
            use_multipart=True,
            chunk_size=part,
            max_concurrency=under_way,
        )


async def download(store: "Store", key: str, target: int, size: int, tag: str | None, *, part: int, room: Room) -> None:
    """Writes a blob of `size` bytes into an open file, of the version `tag` alone."""
    rest = iter(range(0, size, part))

    async def lane(starts: Iterator[int]) -> None:
        for start in starts:
            span = start, min(start + part, size)
            async with room.taken(LANE):
                await _bring(store, key, target, span, tag)

    try:
        async with asyncio.TaskGroup() as group:
            for number in range(LANES):
                group.create_task(lane(rest), name=f"part-{number}")
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from failures


async def _bring(store: "Store", key: str, target: int, span: tuple[int, int], tag: str | None) -> None:
    """Writes a part as it comes. Raises UnavailableError if it comes short."""
    at, end = span
    found = await _found(store, key, span, tag)
    async for piece in found.stream(min_chunk_size=PIECE):
        await keep(target, memoryview(piece), at)
        at += len(piece)
    if at != end:
        raise UnavailableError(f"{at - span[0]} bytes came of {end - span[0]} from byte {span[0]} of {key!r}; retry")


async def content_of(source: int, size: int) -> bytes:
    """All of a small file that is open."""
    return whole(source, size, 0) if size <= INLINE else await asyncio.to_thread(whole, source, size, 0)


async def keep(target: int, content: memoryview, at: int) -> None:
    """Writes to an open file. When cancelled, it ends first: the file is closed afterwards."""
    if len(content) <= INLINE:
        _write(target, content, at)
        return
    running = asyncio.ensure_future(asyncio.to_thread(_write, target, content, at))
    try:
        await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise


async def ranged(store: "Store", key: str, span: tuple[int, int], tag: str | None) -> memoryview:
    """Bytes of a blob, from the first of `span` until before the second; with `tag` of that version alone."""
    found = await _found(store, key, span, tag)
    return memoryview(await found.bytes_async())


async def _found(store: "Store", key: str, span: tuple[int, int], tag: str | None) -> "GetResult":
    from obstore import get_async

    options: GetOptions = {"range": span}
    if tag is not None:
        options["if_match"] = tag
    return await get_async(store, key, options=options)


def _write(target: int, content: memoryview, at: int) -> None:
    while content:
        done = os.pwrite(target, content, at)
        content, at = content[done:], at + done
