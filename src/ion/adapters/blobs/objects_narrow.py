"""An object store as a grant opens it: some blobs to read, a folder to put into, and nothing else.

There is a client for each credential, made when it is used, which takes 10 ms; a blob is read by the one that is there
for it. Nothing is tried out at the opening, for a grant may do nothing that an opening would try.

Who holds a grant may not be able to look at what it stored. So where an answer got lost, it is not the blob that says
whose it is: below the folder of a grant nobody else puts, so a conflict on a path that an earlier request of this very
store tried, whose fate was not known, is that request's doing. Requests are therefore repeated here and not in the
client, which would hide the first. A document is what was tried first, should a later try bring another.

Large files need no claim: of a folder with one writer none is quicker. On S3 they come in parts, and a put of a path
that is taken is refused only if that is seen beforehand. On Azure one request creates them (`objects_stream`).
"""

import asyncio
import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn, Self
from weakref import WeakValueDictionary

import msgspec

from ion.adapters.blobs import copying, objects_client
from ion.adapters.blobs.objects import ObjectBlobs, regular
from ion.adapters.blobs.objects_client import content_type
from ion.adapters.blobs.objects_errors import RefusedError, translated
from ion.adapters.blobs.objects_grants import ADAPTER, Ring
from ion.adapters.blobs.objects_transfer import Pieces, content_of, plan, upload
from ion.errors import ExistsError, InvalidError, UnavailableError, UnsupportedError
from ion.ports.blobs import BlobsGuarantees, Grant

if TYPE_CHECKING:
    from obstore import ObjectMeta

    from ion.adapters.blobs.objects_client import Store

_LARGE = 2
"""Large files that go up at a time: each has a thread, or memory for its parts."""
_READERS = 64
"""Clients that are kept for reading; one has connections of its own, and takes 10 ms to make and 120 KB."""
_TAKEN = re.compile(r"<Code>(?:UnauthorizedBlobOverwrite|AuthorizationPermissionMismatch)</Code>")
"""How Azure, and its emulator, call it that who may only create would overwrite."""
_BUSY = re.compile(r"<Code>(?:ConditionalRequestConflict|OperationAborted)</Code>")
"""How S3 calls it that another request for the path is not decided yet."""


class NarrowBlobs(ObjectBlobs):
    """What a grant opens. `list`, `delete` and `link` raise UnsupportedError; so does `narrowed`.

    A refusal says whether the grant is over: it is an UnavailableError, for another attempt gets another grant.
    """

    def __init__(self, grant: Grant) -> None:
        if grant.adapter != ADAPTER:
            raise UnsupportedError(
                f"the grant is for blobs of the kind {grant.adapter!r}, which this version does not know"
            )
        try:
            self._ring = msgspec.convert(grant.content, Ring)
        except msgspec.ValidationError as error:
            raise InvalidError(f"the grant cannot be read by this version of Ion: {error}") from error
        super().__init__(self._ring.settings)
        self._ends_at = grant.ends_at
        self._places = {path: place for place, key in enumerate(self._ring.keys) for path in key.reads}
        self._readers: dict[int, Store] = {}
        self._is_open = False
        self._once: Store | None = None
        self._large = asyncio.Semaphore(_LARGE)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._unsure: set[str] = set()  # paths that were tried, with an outcome that nobody knows
        self._first: dict[str, bytes] = {}  # documents that are being put, as they were tried first
        self._kept: dict[str, bytes] = {}  # what was stored of a path in place of a later document

    @property
    def guarantees(self) -> BlobsGuarantees:
        return BlobsGuarantees(create_only=True, links=False, local=False)

    async def __aenter__(self) -> Self:
        """Makes no call."""
        self._is_open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_open, self._once = False, None
        self._readers.clear()
        await super().__aexit__(kind, error, trace)

    @property
    def _store(self) -> "Store":
        if self._is_open and self._client is None:
            self._client = self._made(self._ring.writes)
        return super()._store

    def _made(self, credential: dict[str, str], **others: int) -> "Store":
        return objects_client.made(msgspec.structs.replace(self._settings, **credential, **others))

    def _translated(self, doing: str) -> AbstractContextManager[None]:
        return translated(doing, self._place, self._refusal)

    def _refusal(self) -> str:
        if datetime.now(UTC) >= self._ends_at:
            ended = f"{self._ends_at.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"
            return f"the attempt's credential is over since {ended}; another attempt gets its own"
        return (
            f"the attempt's credential does not allow that; it reads {len(self._places)} blobs that exist, "
            f"and puts below {self._ring.below!r}"
        )

    # ---- reading ----------------------------------------------------------------------------------------------

    def _reader(self, path: str) -> "Store":
        """Asked for what the grant does not name, the store itself refuses."""
        if path not in self._places:
            return self._store
        place = self._places[path]
        if place not in self._readers:
            if len(self._readers) >= _READERS:
                self._readers.pop(next(iter(self._readers)))
            self._readers[place] = self._made(self._ring.keys[place].credential)
        return self._readers[place]

    async def get_bytes(self, path: str, *, most: int = 64 * 1024 * 1024) -> bytes:
        if path in self._kept:
            return self._kept[path]
        return await super().get_bytes(path, most=most)

    # ---- putting ----------------------------------------------------------------------------------------------

    async def put(self, path: str, file: Path, *, move: bool = False) -> None:  # noqa: ARG002 - it is always copied
        with self._translated(f"store the blob {path!r}"):
            size = regular(file)
            with copying.opened(file) as source:
                if size <= self._settings.part_size:
                    await self._sure(path, partial(self._small, source, size))
                    return
                way = self._in_one if self._settings.kind == "az" else self._in_parts
                async with self._large:
                    await self._sure(path, partial(way, path, source, size))

    async def put_bytes(self, path: str, content: bytes) -> None:
        first = content

        async def send(key: str) -> None:
            nonlocal first
            first = self._first.setdefault(path, content)
            await self._whole(first, key)

        try:
            await self._sure(path, send)
        finally:
            if path not in self._unsure:
                self._first.pop(path, None)
        if first != content:
            self._kept[path] = first
            raise ExistsError(f"an earlier try stored the blob {path!r}, with another content")

    async def _sure(self, path: str, send: Callable[[str], Awaitable[None]]) -> None:
        """Sends until it is known what became of it, one at a time of a path.

        Raises ExistsError where the path was taken before.
        """
        key = self._key(path)
        if not path.startswith(self._ring.below):
            raise InvalidError(f"{path!r} is not below {self._ring.below!r}, where alone the attempt's credential puts")
        async with self._turns.setdefault(path, asyncio.Lock()):
            await self._repeated(path, partial(send, key))

    async def _repeated(self, path: str, send: Callable[[], Awaitable[None]]) -> None:
        loop = asyncio.get_running_loop()
        until, tries = loop.time() + self._settings.retry_for_s, 0
        while True:
            tried = path in self._unsure
            self._unsure.add(path)
            try:
                with self._translated(f"store the blob {path!r}"), creating():
                    await send()
            except RefusedError:
                if not tried:
                    self._unsure.discard(path)
                raise
            except ExistsError:
                self._unsure.discard(path)
                if not tried:
                    raise
                return
            except UnavailableError:
                pause = min(5.0, 0.2 * 2**tries) * random.uniform(0.5, 1.5)  # noqa: S311 - nobody is to guess it
                tries += 1
                if tries > self._settings.retries or loop.time() + pause > until:
                    raise
                await asyncio.sleep(pause)
            else:
                self._unsure.discard(path)
                return

    async def _small(self, source: int, size: int, key: str) -> None:
        await self._whole(await content_of(source, size), key)

    async def _whole(self, content: bytes, key: str) -> None:
        from obstore import put_async

        if self._once is None:
            self._once = self._made(self._ring.writes, retries=0)
        async with self._gate, self._room.taken(len(content)):
            attributes = {"Content-Type": content_type(key)}
            await put_async(self._once, key, content, attributes=attributes, mode="create", use_multipart=False)

    async def _in_one(self, path: str, source: int, _: int, key: str) -> None:
        from ion.adapters.blobs import objects_stream  # all of the standard library's HTTP, which is 20 ms of a start

        if datetime.now(UTC) >= self._ends_at:  # before a large file is carried for nothing
            raise RefusedError(f"cannot store the blob {path!r} in {self._place}: {self._refusal()}")
        url = f"{self.uri(path)}?{self._ring.writes['sas']}"
        await copying.apart(partial(objects_stream.create, self._settings, url, content_type(key), source))

    async def _in_parts(self, path: str, source: int, size: int, key: str) -> None:
        if await self._is_there(key):
            raise ExistsError(f"{path!r} exists already in {self._place}")
        part, under_way = plan(size, self._settings.part_size, self._room)
        pieces = Pieces(source, size, _nothing)
        attributes = {"Content-Type": content_type(key)}
        await upload(self._store, key, pieces, attributes, part=part, under_way=under_way, room=self._room)

    async def _is_there(self, key: str) -> bool:
        """S3 does not say of a blob that it is not there to who may not list; so it may be."""
        from obstore import head_async
        from obstore.exceptions import PermissionDeniedError

        try:
            await head_async(self._store, key)
        except (FileNotFoundError, PermissionDeniedError):
            return False
        return True

    # ---- what a grant is not for ------------------------------------------------------------------------------

    async def link(self, path: str, ttl_s: float) -> str:  # noqa: ARG002 - it is refused
        _beyond("sign links")

    async def _pages(self, prefix: str) -> "AsyncIterator[Sequence[ObjectMeta]]":  # noqa: ARG002
        _beyond("list or delete")
        yield []


def _beyond(verb: str) -> NoReturn:
    raise UnsupportedError(f"an attempt's credential cannot {verb}; whoever granted it can")


async def _nothing() -> None:
    return


@contextmanager
def creating() -> Iterator[None]:
    """A store that knows rights to create says of a path that is taken that it may not be overwritten; and not every
    conflict is a blob.
    """
    from obstore.exceptions import AlreadyExistsError, PermissionDeniedError

    try:
        yield
    except AlreadyExistsError as error:
        if _BUSY.search(str(error)):
            raise UnavailableError("the store is busy with that path; retry") from error
        raise
    except PermissionDeniedError as error:
        if not _TAKEN.search(str(error)):
            raise
        raise ExistsError("something is stored there already") from error
