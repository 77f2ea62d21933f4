"""The blobs: files by path. A path is relative, with forward slashes; no part of it is empty, `.` or `..`.

All verbs are safe to call concurrently and stream: none holds a whole file in memory. `UnavailableError` where the
store is away or full.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec


class BlobsGuarantees(msgspec.Struct, frozen=True, kw_only=True):
    """`create_only`: two writers of one path, one wins (R3 needs it). `links`: `get` may give a link to the stored file
    itself, so the reader must be kept from writing to it. `local`: only processes of this host reach it.
    """

    create_only: bool
    links: bool
    local: bool


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

    @abstractmethod
    async def info(self, path: str) -> BlobInfo:
        """A stored blob without its content. Raises NotFoundError."""

    @abstractmethod
    def list(self, prefix: str) -> AsyncIterator[BlobInfo]:
        """Blobs whose path begins with the folder `prefix` (ends in a slash; empty: all of the store), in no order."""

    @abstractmethod
    async def delete(self, prefix: str, *, keep: Sequence[str] = ()) -> int:
        """Removes everything below the folder `prefix` except the paths `keep`; repeating it is harmless.

        Returns:
            How many blobs were removed.
        """
