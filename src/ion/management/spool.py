"""Where uploads lie until their event is raised: one folder a request, removed when the request ends, however it ends.

Each folder is held locked while its request lives. The kernel lets go of the lock if the process is killed, so what
dead gateways left behind is known by its free lock; it is cleared when the first upload of a new process begins.
"""

import asyncio
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TypeVar, TypeVarTuple

from ion.errors import UnavailableError

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

PREFIX = "upload-"
SETTLED_S = 60.0
"""A folder younger than this may be one whose maker has not locked it yet."""
BATCH = 256 * 1024


class Spool:
    """Makes folders for uploads below `folder`; on the blob store's file system, files need not be copied."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._cleared = False

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[Path]:
        """A fresh folder, gone when the context is left. Raises UnavailableError where the disk is full."""
        if not self._cleared:
            self._cleared = True
            await in_thread(clear, self._folder)
        folder, lock = self._make()
        try:
            yield folder
        finally:
            await in_thread(_remove, folder, lock)

    def _make(self) -> tuple[Path, int]:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=self._folder))
            return folder, _locked(folder)
        except OSError as error:
            raise full(self._folder, error) from error


def clear(spool: Path, *, settled_s: float = SETTLED_S) -> None:
    """Removes the folders of requests whose process is dead."""
    for folder in spool.glob(f"{PREFIX}*"):
        with suppress(OSError):  # another gateway is faster, or it is in use
            if time.time() - folder.stat().st_mtime >= settled_s:
                _remove(folder, _locked(folder))


def _locked(folder: Path) -> int:
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise
    return lock


def _remove(folder: Path, lock: int) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    os.close(lock)


def full(folder: Path, error: OSError) -> UnavailableError:
    """The error for a spool that cannot be written."""
    return UnavailableError(f"uploads cannot be kept in {folder}: {error.strerror}; make room there and send it again")


async def in_thread(work: Callable[[*Ts], T], *args: *Ts) -> T:
    """Runs file work off the loop, and to its end even if the caller is cancelled: next it may remove the files."""
    task = asyncio.ensure_future(asyncio.to_thread(work, *args))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        task.exception()  # the cancellation stands for it
        raise


async def batches(stream: AsyncIterable[bytes]) -> AsyncGenerator[bytes]:
    """The stream in larger pieces: a thread each network packet would cost more than the work."""
    batch = bytearray()
    async for chunk in stream:
        batch += chunk
        if len(batch) >= BATCH:
            yield bytes(batch)
            batch.clear()
    if batch:
        yield bytes(batch)


async def save(stream: AsyncIterable[bytes], file: Path) -> Path:
    """Writes a body to a new file. Raises UnavailableError."""
    try:
        with file.open("xb") as target:
            async for batch in batches(stream):
                await in_thread(target.write, batch)
    except OSError as error:
        raise full(file.parent, error) from error
    return file
