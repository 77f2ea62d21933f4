"""A blob store in memory that can be away for a while."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from ion.errors import ExistsError, NotFoundError, UnavailableError
from ion.ports.blobs import BlobInfo, Blobs, BlobsGuarantees

_SCHEME = "memory:"


def path_of(uri: str) -> str:
    """The path of a blob with this URI."""
    return uri.removeprefix(_SCHEME)


class MemoryBlobs(Blobs):
    """Blobs as bytes by path. `away` is set by the schedule."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.stored: dict[str, bytes] = {}
        self.away = False
        self.deletions = 0
        self._clock = clock
        self._times: dict[str, float] = {}

    @property
    def guarantees(self) -> BlobsGuarantees:
        return BlobsGuarantees(create_only=True, links=False, local=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Keeps what it holds."""

    async def put(self, path: str, file: Path, *, move: bool = False) -> None:
        await self.put_bytes(path, file.read_bytes())  # noqa: ASYNC240  small, and nobody waits

    async def put_bytes(self, path: str, content: bytes) -> None:
        self.keep(path, content)

    def keep(self, path: str, content: bytes) -> None:
        """As `put_bytes`, for a schedule that has no time to wait."""
        self._check()
        if path in self.stored:
            raise ExistsError(f"{path} is stored already")
        self.stored[path] = content
        self._times[path] = self._clock()

    async def get(self, path: str, file: Path, *, private: bool = False) -> bool:
        file.write_bytes(self._found(path))  # noqa: ASYNC240  small, and nobody waits
        return False

    async def get_bytes(self, path: str, *, most: int = 64 * 1024 * 1024) -> bytes:
        return self._found(path)

    async def read(self, path: str, *, start: int = 0) -> AsyncIterator[bytes]:
        yield self._found(path)[start:]

    def uri(self, path: str) -> str:
        return _SCHEME + path

    async def link(self, path: str, ttl_s: float) -> str:
        self._found(path)
        return self.uri(path)

    async def info(self, path: str) -> BlobInfo:
        return BlobInfo(path=path, size=len(self._found(path)), modified_s=self._times[path])

    async def list(self, prefix: str) -> AsyncIterator[BlobInfo]:
        self._check()
        for path in [path for path in self.stored if path.startswith(prefix)]:
            yield await self.info(path)

    async def delete(self, prefix: str, *, keep: Callable[[str], bool] | None = None) -> int:
        self._check()
        gone = [path for path in self.stored if path.startswith(prefix) and not (keep and keep(path))]
        self.deletions += len(gone)
        for path in gone:
            del self.stored[path], self._times[path]
        return len(gone)

    def _found(self, path: str) -> bytes:
        self._check()
        if path not in self.stored:
            raise NotFoundError(f"there is no blob {path}")
        return self.stored[path]

    def _check(self) -> None:
        if self.away:
            raise UnavailableError("the blob store is away")
