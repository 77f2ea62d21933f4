"""Blobs in an object store: Azure Blob, S3 and what speaks like it, Google Cloud Storage; one client for all.

A blob that fits into a part is stored in one request, which stores answer with a conflict where the path is taken: that
is create-only and all or nothing. A larger one comes in parts, of which nothing can be seen until the last request;
that one is made under a claim (`objects_claim`). Each put has a random word of its own, kept in the blob's metadata:
where a request was repeated because its answer got lost, the conflict that comes back is recognised as one's own doing.

What is brought is checked to be whole and of one version. That it is also what was stored is for whoever knows its
hash: the stores' own checksums are of a request, not of a file.

Names that begin with `.ion~` are the adapter's: claims, and the probe of an opening. They are not listed, and go with
the folder that they are in.
"""

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from ion.adapters.blobs import copying, objects_client, objects_grants
from ion.adapters.blobs.objects_errors import RefusedError, translated
from ion.adapters.blobs.objects_put import OWN, Putting
from ion.adapters.blobs.objects_room import Room
from ion.adapters.blobs.objects_settings import ObjectsSettings
from ion.adapters.blobs.objects_transfer import content_of, download, keep, ranged
from ion.adapters.blobs.paths import PATH_BYTES, check_path, check_prefix
from ion.errors import InvalidError, NotFoundError, UnavailableError, UnsupportedError
from ion.ports.blobs import BlobInfo, Blobs, BlobsGuarantees, Grant

if TYPE_CHECKING:
    from obstore import ObjectMeta

    from ion.adapters.blobs.objects_client import Store

CHUNK = 1024 * 1024
"""What `read` gives at a time; it asks for `_AHEAD` of these at once."""

_AHEAD = 4
_PAGE = 1000
_PROBE = f"{OWN}probe"


class ObjectBlobs(Blobs):
    """A blob store in a container or bucket; see `ObjectsSettings`."""

    def __init__(self, settings: ObjectsSettings) -> None:
        self._settings = settings
        self._place = objects_client.host(settings)
        self._client: Store | None = None
        self._room = Room(settings.memory)
        self._gate = asyncio.Semaphore(settings.at_once)

    @property
    def guarantees(self) -> BlobsGuarantees:
        reads, writes = objects_grants.narrows(self._settings)
        return BlobsGuarantees(create_only=True, links=False, local=False, narrows_reads=reads, narrows_writes=writes)

    async def __aenter__(self) -> Self:
        """Raises InvalidError where the credentials are refused or there is no such bucket; UnsupportedError where the
        store does not know create-only.
        """
        self._client = objects_client.made(self._settings)
        try:
            with self._translated("open the blob store"):
                await self._probe()
        except RefusedError as error:
            raise InvalidError(str(error)) from error
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client = None
        await objects_client.let_go()

    def _translated(self, doing: str) -> AbstractContextManager[None]:
        """Gives what the client raises while this is tried as Ion's errors."""
        return translated(doing, self._place)

    def _reader(self, path: str) -> "Store":  # noqa: ARG002 - who has several clients chooses by the path
        """The client that reads a blob."""
        return self._store

    @property
    def _putting(self) -> Putting:
        return Putting(self._store, self._settings, self._room)

    @property
    def _store(self) -> "Store":
        if self._client is None:
            raise RuntimeError("the blob store is not open")
        return self._client

    async def _probe(self) -> None:
        """Reaches the store with what Ion needs there: listing, writing, and refusing to write twice."""
        from obstore import list as listing

        async for _ in listing(self._store, f"{self._settings.prefix}{OWN}none", chunk_size=1):
            break
        key = f"{self._settings.prefix}{_PROBE}"
        if await self._creates(key) and await self._creates(key):
            raise UnsupportedError(
                f"{self._place} overwrites what it was asked to create only (it ignores If-None-Match), so two "
                "writers could mix their results: take a newer server"
            )

    async def _creates(self, key: str) -> bool:
        from obstore import put_async
        from obstore.exceptions import AlreadyExistsError

        try:
            await put_async(self._store, key, b"", mode="create")
        except AlreadyExistsError:
            return False
        return True

    # ---- putting ----------------------------------------------------------------------------------------------

    async def put(self, path: str, file: Path, *, move: bool = False) -> None:  # noqa: ARG002 - it is always copied
        """See the port. The file stays where it is, with `move` too: whoever owns that folder removes it."""
        key = self._key(path)
        with self._translated(f"store the blob {path!r}"):
            size = regular(file)
            with copying.opened(file) as source:
                if size <= self._settings.part_size:
                    async with self._gate, self._room.taken(size):
                        await self._putting.whole(key, await content_of(source, size))
                else:
                    await self._putting.parts(key, source, size)

    async def put_bytes(self, path: str, content: bytes) -> None:
        key = self._key(path)
        with self._translated(f"store the blob {path!r}"):
            async with self._gate, self._room.taken(len(content)):
                await self._putting.whole(key, content)

    # ---- getting ----------------------------------------------------------------------------------------------

    async def get(self, path: str, file: Path, *, private: bool = False) -> bool:  # noqa: ARG002 - it is always private
        from obstore import get_async

        key = self._key(path)
        with self._translated(f"bring the blob {path!r}"):
            async with self._gate:
                found = await get_async(self._reader(path), key)
                size, tag = found.meta["size"], found.meta["e_tag"]
                if size <= self._settings.part_size:
                    async with self._room.taken(size):
                        content = memoryview(await found.bytes_async())
                        _check_size(path, len(content), size)
                        with copying.created(file, 0o644) as target:
                            await keep(target, content, 0)
                    return False
                del found  # its connection goes with it: large blobs come in parts of their own
            with copying.created(file, 0o644) as target:
                part = self._settings.part_size
                await download(self._reader(path), key, target, size, tag, part=part, room=self._room)
        return False

    async def get_bytes(self, path: str, *, most: int = 64 * 1024 * 1024) -> bytes:
        from obstore import get_async

        key = self._key(path)
        with self._translated(f"read the blob {path!r}"):
            async with self._gate:
                found = await get_async(self._reader(path), key)
                size = found.meta["size"]
                if size > most:
                    raise InvalidError(f"the blob {path!r} has {size} bytes, more than the {most} of a document")
                async with self._room.taken(size):
                    content = bytes(await found.bytes_async())
        _check_size(path, len(content), size)
        return content

    async def read(self, path: str, *, start: int = 0) -> AsyncIterator[bytes]:
        """Each few pieces are a request of their own, so that a slow reader holds no connection."""
        meta = await self._meta(path)
        size, key = meta["size"], self._key(path)
        while start < size:
            end = min(start + _AHEAD * CHUNK, size)
            with self._translated(f"read the blob {path!r}"):
                async with self._gate:
                    content = await ranged(self._reader(path), key, (start, end), meta["e_tag"])
                _check_size(path, len(content), end - start)
            for at in range(0, len(content), CHUNK):
                yield bytes(content[at : at + CHUNK])
            start = end

    def uri(self, path: str) -> str:
        return objects_client.uri(self._settings, self._key(path))

    async def link(self, path: str, ttl_s: float) -> str:
        await self._meta(path)
        with self._translated(f"sign a link to the blob {path!r}"):
            return await objects_client.signed(self._store, self._settings, self._key(path), ttl_s)

    async def narrowed(self, reads: Collection[str], below: str, lasts_s: float) -> Grant:
        for path in reads:
            self._key(path)
        check_prefix(below)
        return await objects_grants.made(self._settings, reads, below, lasts_s)

    # ---- listing and deleting ---------------------------------------------------------------------------------

    async def info(self, path: str) -> BlobInfo:
        meta = await self._meta(path)
        return BlobInfo(path=path, size=meta["size"], modified_s=meta["last_modified"].timestamp())

    async def _meta(self, path: str) -> "ObjectMeta":
        from obstore import head_async

        with self._translated(f"read the blob {path!r}"):
            async with self._gate:
                return await head_async(self._reader(path), self._key(path))

    async def list(self, prefix: str) -> AsyncIterator[BlobInfo]:
        async for page in self._pages(prefix):
            for meta in page:
                path = meta["path"].removeprefix(self._settings.prefix)
                if not _is_own(path):
                    yield BlobInfo(path=path, size=meta["size"], modified_s=meta["last_modified"].timestamp())

    async def _pages(self, prefix: str) -> "AsyncIterator[Sequence[ObjectMeta]]":
        from obstore import list as listing

        if prefix:
            check_prefix(prefix)
        with self._translated(f"list {prefix!r}"):
            folder = f"{self._settings.prefix}{prefix}".rstrip("/")
            async for page in listing(self._store, folder or None, chunk_size=_PAGE):
                yield page

    async def delete(self, prefix: str, *, keep: Callable[[str], bool] | None = None) -> int:
        check_prefix(prefix)
        removed = 0
        async for page in self._pages(prefix):
            going = [meta["path"] for meta in page]
            kept = len(self._settings.prefix)
            going = [key for key in going if _is_own(key) or not (keep and keep(key[kept:]))]
            with self._translated(f"delete {prefix!r}"):
                await self._remove(going)
            removed += sum(not _is_own(key) for key in going)
        return removed

    async def _remove(self, keys: Sequence[str]) -> None:
        from obstore import delete_async

        if not keys:
            return
        try:
            await delete_async(self._store, keys)
        except FileNotFoundError:  # somebody else removes them too; the rest may or may not be gone
            for key in keys:
                await _tolerant(delete_async(self._store, key))

    def _key(self, path: str) -> str:
        check_path(path)
        if _is_own(path):
            raise InvalidError(f"{path!r} cannot name a blob: names that begin with {OWN} are the store's own")
        key = f"{self._settings.prefix}{path}"
        # Azure counts characters, the others bytes.
        if len(key if self._settings.kind == "az" else key.encode()) > PATH_BYTES:
            raise InvalidError(
                f"{path!r} cannot name a blob: behind the prefix of {self._settings.url} it is longer than "
                f"{PATH_BYTES} bytes; shorten the name, or the prefix"
            )
        return key


def _is_own(path: str) -> bool:
    return path.rpartition("/")[2].startswith(OWN)


async def _tolerant(removing: Awaitable[None]) -> None:
    try:
        await removing
    except FileNotFoundError:
        return


def regular(file: Path) -> int:
    """The size of a file to store. Raises NotFoundError, InvalidError."""
    try:
        info = os.lstat(file)
    except FileNotFoundError as error:
        raise NotFoundError(f"there is no file {file} to store") from error
    if not stat.S_ISREG(info.st_mode):
        raise InvalidError(f"{file} is not a regular file, so it cannot be stored")
    return info.st_size


def _check_size(path: str, came: int, size: int) -> None:
    if came != size:
        raise UnavailableError(f"{came} bytes came of the {size} of the blob {path!r}; retry")
