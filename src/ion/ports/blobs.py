"""The blobs: files by path. A path is relative, with forward slashes; no part of it is empty, `.` or `..`.

All verbs are safe to call concurrently and stream: none holds a whole file in memory. `UnavailableError` where the
store is away or full.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Collection
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from ion.errors import UnsupportedError


class BlobsGuarantees(msgspec.Struct, frozen=True, kw_only=True):
    """`create_only`: two writers of one path, one wins (R3 needs it). `links`: `get` may give a link to the stored file
    itself, so the reader must be kept from writing to it. `local`: only processes of this host reach it.

    `narrows_reads`: who holds a grant reads the blobs that it names and no others, for as long as it lasts.
    `narrows_writes`: it writes below its folder and nowhere else; without this it creates what is not there yet,
    wherever that is. With neither, nothing is granted.
    """

    create_only: bool
    links: bool
    local: bool
    narrows_reads: bool = False
    narrows_writes: bool = False


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """What opens a part of a blob store in another process, for a while; a secret, masked in `repr`.

    As JSON it goes to whoever runs an attempt elsewhere. `adapter` is the kind of store that `content` opens, and
    `ends_at` when that is over, by the clock of whoever granted it.
    """

    adapter: str
    ends_at: datetime
    content: dict[str, Any]

    def __repr__(self) -> str:
        return f"Grant(adapter={self.adapter!r}, ends_at={self.ends_at!r}, content='***')"


class BlobInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A stored blob; `size` in bytes, `modified_s` in seconds since the epoch by the store's clock."""

    path: str
    size: int
    modified_s: float


class Blobs(ABC):
    @property
    @abstractmethod
    def guarantees(self) -> BlobsGuarantees: ...

    @abstractmethod
    async def __aenter__(self) -> Self: ...

    @abstractmethod
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def expect(self, prefix: str) -> None:  # noqa: B027 - most stores have nothing to do
        """Blobs below this prefix will come soon: what they need may be made now. Never raises, promises nothing."""

    @abstractmethod
    async def put(self, path: str, file: Path, *, move: bool = False) -> None:
        """Stores a file, create-only; the blob is whole or absent at every instant.

        With `move` the caller gives the file up: the store may take the very file (its mode becomes read-only), and
        nobody may have it open for writing.

        Raises:
            ExistsError: the path is taken; the stored blob is untouched.
        """

    @abstractmethod
    async def put_bytes(self, path: str, content: bytes) -> None:
        """Like `put`, for small documents."""

    @abstractmethod
    async def get(self, path: str, file: Path, *, private: bool = False) -> bool:
        """Brings a blob to `file`, which must not exist; its folder must.

        Unless `private`, and where the guarantees say `links`, the file may be a link to the stored blob.

        Returns:
            Whether it is a link, which must be kept from change.

        Raises:
            NotFoundError: there is no such blob.
        """

    @abstractmethod
    async def get_bytes(self, path: str, *, most: int = 64 * 1024 * 1024) -> bytes:
        """A small document's content. Raises NotFoundError; InvalidError if it is larger than `most` bytes."""

    @abstractmethod
    def read(self, path: str, *, start: int = 0) -> AsyncIterator[bytes]:
        """The content from byte `start`, in chunks of at most 1 MiB. Raises NotFoundError."""

    @abstractmethod
    def uri(self, path: str) -> str:
        """The blob's lasting URI; makes no call."""

    @abstractmethod
    async def link(self, path: str, ttl_s: float) -> str:
        """A URL that a person can open without credentials for `ttl_s` seconds. Raises NotFoundError."""

    async def narrowed(self, reads: Collection[str], below: str, lasts_s: float) -> Grant:  # noqa: ARG002 - see below
        """What another process needs to read some blobs and to put further ones below a folder, and for nothing else.

        It cannot list, delete or overwrite, but where a store's rights are coarser than this, as its guarantees and
        its documentation say. Asked again it grants anew; what was granted before stays good until it ends.

        Args:
            reads: Paths of blobs; that they exist is not looked at.
            below: The folder, ending in a slash.
            lasts_s: Seconds from now. A store that knows no such short time grants the shortest that it knows.

        Raises:
            UnsupportedError: this store, or who opened it, cannot narrow; the message says what would help.
            InvalidError: no grant lasts so long. UnavailableError: whoever issues it is away or refuses.
        """
        raise UnsupportedError("these blobs are files of this host: there is no credential that could be narrowed")

    @abstractmethod
    async def info(self, path: str) -> BlobInfo:
        """A stored blob without its content. Raises NotFoundError."""

    @abstractmethod
    def list(self, prefix: str) -> AsyncIterator[BlobInfo]:
        """Blobs whose path begins with the folder `prefix` (ends in a slash; empty: all of the store), in no order."""

    @abstractmethod
    async def delete(self, prefix: str, *, keep: Callable[[str], bool] | None = None) -> int:
        """Removes everything below the folder `prefix` but what `keep` keeps; repeating it is harmless.

        Args:
            prefix: Ends in a slash.
            keep: Asked about each path just before it would go, so it judges what came meanwhile as well.

        Returns:
            How many blobs were removed.
        """
