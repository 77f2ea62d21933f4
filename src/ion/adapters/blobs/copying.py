"""Bringing the content of one file into another, by the cheapest way that the file system has.

A clone (reflink) shares the blocks until one side is written to, so it costs nothing and needs no guard. A link is a
second name of the same file. Otherwise the kernel copies, hole by hole: a sparse file stays sparse.
"""

import asyncio
import errno
import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

NO_LINK = frozenset({errno.EXDEV, errno.EMLINK, errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENOSYS})
"""What link(2) answers where the two places, the owner or the file system do not allow this link, but a copy may do."""

_CLONE = 0x40049409  # FICLONE of linux/fs.h; Python has no name for it
_STEP = 16 * 1024 * 1024
_SMALL = 64 * 1024
"""So little is copied in one piece, holes and all."""


@contextmanager
def opened(file: Path | str) -> Iterator[int]:
    """The file open for reading; a symbolic link is not followed."""
    source = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        yield source
    finally:
        os.close(source)


@contextmanager
def created(file: Path | str, mode: int) -> Iterator[int]:
    """A new file open for writing, with exactly this mode whatever the umask is; removed again if filling it fails."""
    target = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(target, mode)
        yield target
    except BaseException:
        Path(file).unlink(missing_ok=True)
        raise
    finally:
        os.close(target)


def linked(source: Path | str, target: Path | str) -> bool:
    """Gives a file a second name; False where that cannot be."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno in NO_LINK:
            return False
        raise
    return True


def clone(source: int, target: int) -> bool:
    """Makes the file open at `target` share the blocks of the one open at `source`; False where that cannot be."""
    try:
        fcntl.ioctl(target, _CLONE, source)
    except OSError:
        return False
    return True


async def apart(work: Callable[[threading.Event], None]) -> None:
    """Runs work in a thread. When cancelled, sets the event and waits for it: nothing goes on writing unseen."""
    stop = threading.Event()
    running = asyncio.ensure_future(asyncio.to_thread(work, stop))
    try:
        await asyncio.shield(running)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.gather(running, return_exceptions=True)
        raise


def copy(source: int, target: int, stop: threading.Event | None = None) -> None:
    """Copies what the file open at `source` holds now into the new one at `target`, without reading its holes.

    Blocks as long as that takes. Raises InterruptedError soon after `stop` is set.
    """
    size = os.fstat(source).st_size
    if size <= _SMALL:
        write(target, os.pread(source, size, 0))
        return
    at = 0
    while (span := _data(source, at, size)) is not None:
        at, end = span
        os.lseek(target, at, os.SEEK_SET)
        while at < end:
            if stop is not None and stop.is_set():
                raise InterruptedError(errno.EINTR, "cancelled")
            sent = os.sendfile(target, source, at, min(_STEP, end - at))
            if sent == 0:  # the source was cut short meanwhile
                return
            at += sent
    os.ftruncate(target, size)


def write(target: int, content: bytes) -> None:
    """Writes all of it, where one call of the system may take less."""
    view = memoryview(content)
    while view:
        view = view[os.write(target, view) :]


def _data(source: int, at: int, size: int) -> tuple[int, int] | None:
    """The next stretch of data from `at`, as start and end; None where only a hole is left."""
    if at >= size:
        return None
    try:
        start = os.lseek(source, at, os.SEEK_DATA)
        end = os.lseek(source, start, os.SEEK_HOLE)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return None
        if error.errno == errno.EINVAL:  # a file system that does not tell its holes
            return at, size
        raise
    return (start, min(end, size)) if start < size else None
