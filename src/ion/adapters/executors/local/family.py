"""Which processes belong to an attempt, as far as /proc can tell.

A module may fork, daemonise, start sessions of its own and clear its environment. So no single sign is enough; a
process is an attempt's if any of these holds:

- it bears the attempt's mark, or the mark's draft (see `marks`); some systems do not let us set them, and no container
  has one;
- it is in the leader's session, or its environment names the attempt's directory in `ION_DIR`;
- it descends from the dispatcher, and works in the attempt's folder or has a file there open;
- it is a child of such a process.

The last but one asks for descent so that a person who looks into the folder with a shell or `tail` is left alone.
Imports nothing but the standard library's basics: the guard uses it too.
"""

import contextlib
import os
import signal
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ion.adapters.executors.local.marks import bears, drafted, mark_of


class Process(NamedTuple):
    """One line of the census. `started` is in clock ticks since boot: with the pid it names a process for good."""

    parent: int
    group: int
    session: int
    zombie: bool
    started: int


def look(pid: int) -> Process | None:
    """How a process stands, or None if there is none of that id."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - pathlib is not loaded in the guard
            fields = file.read().rpartition(b")")[2].split()
        # A leader that ended is a zombie while its other threads still run.
        zombie = fields[0] in b"ZX" and len(os.listdir(f"/proc/{pid}/task")) <= 1  # noqa: PTH208 - as above
    except (FileNotFoundError, ProcessLookupError):
        return None
    return Process(int(fields[1]), int(fields[2]), int(fields[3]), zombie, int(fields[19]))


def census() -> dict[int, Process]:
    """Every process that is visible here."""
    names = (int(name) for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208 - as above
    return {pid: process for pid in names if (process := look(pid)) is not None}


def children(pid: int) -> list[int]:
    """The children of a process, those adopted included."""
    found: list[int] = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for task in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - as above
            # A thread may end while we look; its children go to another thread, seen next time.
            with (
                contextlib.suppress(FileNotFoundError, ProcessLookupError),
                open(f"/proc/{pid}/task/{task}/children", "rb") as file,  # noqa: PTH123 - as above
            ):
                found += map(int, file.read().split())
    return found


def adopted() -> list[int]:
    """The children of this process's main thread: those it started, and every orphan, which Linux gives to the first
    living thread of a subreaper.
    """
    file, text = os.open(f"/proc/self/task/{os.getpid()}/children", os.O_RDONLY | os.O_CLOEXEC), b""
    try:  # not by `open`: this is on every job's way
        while piece := os.read(file, 65536):
            text += piece
    finally:
        os.close(file)
    return [int(pid) for pid in text.split()]


def tree(pid: int) -> list[int]:
    """A process and everything below it."""
    found = [pid]
    for one in found:
        found += [child for child in children(one) if child not in found]
    return found


def carries(pid: int, folder: str) -> bool:
    """Whether the process was started with `ION_DIR` below `folder`."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123 - as above
            environment = b"\0" + file.read()
    except OSError:  # gone, or another user's
        return False
    return b"\0ION_DIR=" + os.fsencode(folder) + b"/" in environment


def touches(pid: int, folder: str, pipe: str = "") -> bool:
    """Whether the process works below `folder`, or holds a file there or the `pipe` open."""
    inside = folder + "/"
    try:
        links = [f"/proc/{pid}/cwd", *(f"/proc/{pid}/fd/{fd}" for fd in os.listdir(f"/proc/{pid}/fd"))]  # noqa: PTH208 - as above
    except OSError:  # gone, or another user's
        return False
    for link in links:
        with contextlib.suppress(OSError):
            target = os.readlink(link)  # noqa: PTH115 - as above
            if target.startswith(inside) or target in (folder, pipe or folder):
                return True
    return False


def below(ancestor: int, everyone: Mapping[int, Process]) -> set[int]:
    """All that descends from a process."""
    return _closed({ancestor}, everyone) - {ancestor}


def members(folder: str, *, leader: int = 0, dispatcher: int = 0) -> set[int]:
    """The living processes of the attempt in `folder`; `leader` and `dispatcher` are 0 where not known."""
    everyone = census()
    near = below(dispatcher, everyone) if dispatcher else set()
    mark = mark_of(folder)
    own_session = everyone[dispatcher].session if dispatcher in everyone else 0
    makers = {dispatcher, os.getpid()}  # who wear the draft themselves, for an instant
    seeds = {
        pid
        for pid, process in everyone.items()
        if (leader and leader in (pid, process.session))
        or bears(pid, mark)
        or (pid not in makers and drafted(pid, process.session, mark, leader, own_session))
        or carries(pid, folder)
        or (pid in near and touches(pid, folder))
    }
    found = _closed(seeds, everyone) - {os.getpid()}
    return {pid for pid in found if not everyone[pid].zombie}


def _closed(seeds: Iterable[int], everyone: Mapping[int, Process]) -> set[int]:
    found, grown = set(seeds), True
    while grown:
        more = {pid for pid, process in everyone.items() if process.parent in found} - found
        found |= more
        grown = bool(more)
    return found


def kill(pids: Iterable[int]) -> None:
    """SIGKILL to each; those already gone are passed over."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
