"""The log of an attempt elsewhere, as it grows: a bounded file on this host, whose new bytes are stored in pieces.

So a lost node takes no more than the last seconds along. A piece is named by its first and last byte: two dispatchers
that read the same log store the same bytes, and whoever puts pieces together takes of each what the ones before did
not have. Once the whole log is stored they go.
"""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

from ion.adapters.executors.log import LogSpool, Mask
from ion.errors import ExistsError, NotFoundError
from ion.ports.blobs import Blobs

_READ = 64 * 1024
_PIECE_MOST = 16 * 2**20


class GrowingLog(ABC):
    """At most `limit` bytes of what an attempt logs, in `file`, without the `secrets`."""

    def __init__(self, file: Path, *, limit: int, secrets: Sequence[str]) -> None:
        self.file = file
        self._mask, self._limit = Mask(secrets), limit
        self._spool: LogSpool | None = None
        self._stored = self._piece_at = 0

    @property
    def begun(self) -> bool:
        """Whether anything was logged, be it nothing yet of an output that was found."""
        return self._spool is not None

    @property
    def in_pieces(self) -> bool:
        """Whether some of it was stored in pieces."""
        return bool(self._stored)

    @abstractmethod
    def stream(self, start: int) -> AsyncIterator[bytes]:
        """What there is from byte `start` on. Raises NotFoundError if nothing is."""

    async def store_piece(self, blobs: Blobs, path: Callable[[int, int], str]) -> None:
        """Stores what is new since the last piece; `path` names it by its first byte and the one after its last."""
        if not self.begun:
            return
        with self.file.open("rb") as stream:
            stream.seek(self._stored)
            new = stream.read(_PIECE_MOST)
        if not new:
            return
        began, end = self._piece_at, self._stored + len(new)
        with contextlib.suppress(ExistsError):  # another dispatcher had it
            await blobs.put_bytes(path(self._stored - began, end - began), new)
        if self._piece_at == began:  # else another log has begun meanwhile
            self._stored = end

    def _pieces_begin(self) -> None:
        """Pieces are those of another log from here on, and count from its first byte."""
        self._stored = self._piece_at = self.file.stat().st_size

    async def _written(self, start: int) -> AsyncIterator[bytes]:
        """What there is from byte `start` on. Raises NotFoundError if nothing is."""
        try:
            stream = self.file.open("rb")
        except FileNotFoundError as error:
            raise NotFoundError("it has not logged anything yet") from error
        with stream:
            stream.seek(start)
            while piece := stream.read(_READ):
                yield piece

    def _ready(self) -> LogSpool:
        if self._spool is None:
            self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._spool = LogSpool.create(self.file, limit=self._limit, secrets=())
        return self._spool

    def _shut(self) -> str:
        """Closes the file; a sentence about one that could not be written, else nothing."""
        if self._spool is None:
            return ""
        self._spool.close()
        return f"its log in {self.file} cannot be written: {self._spool.fault.strerror}" if self._spool.fault else ""
