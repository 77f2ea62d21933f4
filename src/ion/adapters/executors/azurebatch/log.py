"""The log of one attempt: its task's standard output, in a bounded file on this host, and in the end its errors.

The node puts a time before each line. Pieces are of one run of the task, whatever this host knows of those before it.
"""

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from ion.adapters.executors.azurebatch.client import Batch
from ion.adapters.executors.azurebatch.task import ERRORS, LOG
from ion.adapters.executors.growing import GrowingLog
from ion.adapters.executors.log import LINE_LIMIT
from ion.errors import NotFoundError, UnavailableError

FRESH_S = 0.5
"""What was read so short a time ago is not asked for again."""
_CHUNK = 4 * 2**20
_STAMP = re.compile(rb"(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[-+]\d\d:\d\d)) ?")


class TaskLog(GrowingLog):
    """Reads a task's outputs into `file`, at most `limit` bytes of them, without the `secrets`."""

    def __init__(self, batch: Batch, job: str, task: str, file: Path, *, limit: int, secrets: Sequence[str]) -> None:
        super().__init__(file, limit=limit, secrets=secrets)
        self._batch, self._job, self._task = batch, job, task
        self._reading = asyncio.Lock()
        self._run_s, self._at, self._rest = 0.0, 0, b""
        self._cut = False
        self._read_at = 0.0
        self._closed = False

    def see(self, started_s: float) -> None:
        """When the task began to run: if that is another time than before, another node has another output."""
        if self._run_s and started_s != self._run_s:
            self._end_line()
            self._at = 0
            if self.begun:
                self.say("its node went away; Batch runs the task anew")
                self._pieces_begin()
        self._run_s = started_s

    async def read_on(self, *, soon: bool = False) -> None:
        """Takes what is new. A task that has no output yet, or whose node is gone, has nothing new.

        With `soon` it need not be newer than a moment. Raises UnavailableError.
        """
        async with self._reading:
            if self._closed or (soon and time.monotonic() - self._read_at < FRESH_S):
                return
            self._read_at = time.monotonic()
            with contextlib.suppress(NotFoundError):
                await self._read_output()
                if not self._closed:
                    self._ready()  # a module that says nothing has a log nevertheless

    async def complete(self) -> str:
        """Reads all there is, and closes the file; whether the node was still there to be asked is not known.

        Returns:
            A sentence about a file that could not be written, else nothing.
        """
        if self._closed:
            return ""
        await self.read_on()
        errors = b""
        with contextlib.suppress(NotFoundError):
            errors = await self._read_errors()
        self._end_line()
        for line in errors.splitlines():
            self.say(f"{ERRORS}: {line.decode(errors='replace')}")
        return self.close()

    def close(self) -> str:
        """Reads no further."""
        self._closed = True
        if self.begun:
            self._end_line()
        return self._shut()

    def say(self, sentence: str) -> None:
        """Adds a line of Ion's own."""
        stamp = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self._line(f"{stamp} [ion] {sentence}".encode())

    async def stream(self, start: int) -> AsyncIterator[bytes]:
        """What there is from byte `start` on. Raises NotFoundError if nothing is."""
        with contextlib.suppress(UnavailableError):  # then it is what was read before
            await self.read_on(soon=True)
        async for piece in self._written(start):
            yield piece

    async def _read_output(self) -> None:
        """Goes on where it was left, piece by piece: whatever breaks it off, nothing is taken twice."""
        run_s, size = self._run_s, await self._batch.size(self._job, self._task, LOG)
        while (first := self._at) < size:
            last = min(size, first + _CHUNK) - 1
            async with contextlib.aclosing(self._batch.read(self._job, self._task, LOG, first, last)) as pieces:
                async for piece in pieces:
                    if self._closed or self._run_s != run_s:
                        return
                    self._take(piece)
                    self._at += len(piece)
            if self._at == first:
                return

    async def _read_errors(self) -> bytes:
        """The end of the task's standard error."""
        if not (size := await self._batch.size(self._job, self._task, ERRORS)):
            return b""
        pieces = self._batch.read(self._job, self._task, ERRORS, max(0, size - LINE_LIMIT), size - 1)
        return b"".join([piece async for piece in pieces])

    def _take(self, piece: bytes) -> None:
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            self._line(line)
        while len(self._rest) > LINE_LIMIT:
            self._line(self._rest[:LINE_LIMIT], cut=True)
            self._rest = self._rest[LINE_LIMIT:]

    def _end_line(self) -> None:
        if self._rest or self._cut:
            line, self._rest = self._rest, b""
            self._line(line)

    def _line(self, line: bytes, *, cut: bool = False) -> None:
        """Writes a line; of one that is `cut` the end is to come, which may go on with the value of a secret."""
        stamp, text = _stamped(line) if not self._cut else (b"", line)
        masked = self._mask.feed(text) + (b"" if cut else self._mask.flush())
        self._cut = cut
        self._ready().add(stamp + masked + b"\n")


def _stamped(line: bytes) -> tuple[bytes, bytes]:
    """The node's time before a line as logs show it (UTC, to the millisecond, a space behind it), and the text."""
    if (found := _STAMP.match(line)) is None:
        return b"", line
    try:
        when = datetime.fromisoformat(found["time"].decode()).astimezone(UTC)
    except (ValueError, OverflowError):  # it is of the text
        return b"", line
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z ").encode(), line[found.end() :]
