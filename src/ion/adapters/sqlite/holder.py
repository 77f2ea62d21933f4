"""Who holds a database locked, as far as Linux tells: for the message of whoever waited for it in vain.

SQLite's locks are the kernel's, on bytes of the file and of its shared memory; a process that was stopped while it
wrote keeps them until it goes on or dies. `/proc/locks` names the holder of each, in this process's own numbering.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from ion.adapters.sqlite.translation import BusyError

_WRITE_BYTE = 120
"""The byte of the shared memory that a writer locks (SQLite's "WAL-Index File Format")."""
_STOPPED = "Tt"


def named(error: BusyError, path: Path | None) -> BusyError:
    """The same error; its text names the process that holds the file, and what to do about it, where that is found."""
    pid = None if path is None else _holder(path)
    if pid is None:
        return error
    return BusyError(f"the database {path} is locked by process {pid}{_about(pid)}")


def _holder(path: Path) -> int | None:
    try:
        files = {_key(path): None, _key(Path(f"{path}-shm")): _WRITE_BYTE}
        locks = Path("/proc/locks").read_text()
    except OSError:
        return None
    others = (pid for pid in _writers(locks, files) if pid > 0 and pid != os.getpid())
    return next(others, None)


def _key(path: Path) -> str:
    """A file as `/proc/locks` names it."""
    status = path.stat()
    return f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"


def _writers(locks: str, files: dict[str, int | None]) -> Iterator[int]:
    """Who has locked one of the files for itself alone: any part of it, or that byte."""
    for line in locks.splitlines():
        match line.split():
            case [_, "POSIX", _, "WRITE", pid, file, start, end] if file in files:
                byte = files[file]
                if byte is None or (int(start) <= byte and (end == "EOF" or byte <= int(end))):
                    yield int(pid)


def _about(pid: int) -> str:
    """Its name, and whether it can let go by itself."""
    try:
        name, _, rest = Path(f"/proc/{pid}/stat").read_text().partition("(")[2].rpartition(")")
    except OSError:  # it has gone since, or is hidden from us
        return "; try again"
    if rest.split()[0] in _STOPPED:
        return f" ({name}), which is stopped; let it go on with `kill -CONT {pid}`, or end it with `kill -KILL {pid}`"
    return f" ({name}); try again, or see what it is doing"
