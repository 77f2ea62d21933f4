"""The processes of the cluster: started with their logs in the run folder, known by pid, ended by pid."""

import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
from tests.waiting import waited


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """One process: how it was started, and what tells it from a later one with the same pid."""

    name: str
    pid: int
    born: int
    command: tuple[str, ...]
    environ: dict[str, str] = {}


def start(name: str, command: Sequence[str], folder: Path, environ: Mapping[str, str] | None = None) -> Started:
    """Starts it in a session of its own, so that no signal of a terminal reaches it; its log is `name.log`."""
    log = os.fspath(folder / f"{name}.log")
    opened = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    streams = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, log, opened, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    told = {**os.environ, **(environ or {})}
    pid = os.posix_spawnp(command[0], list(command), told, file_actions=streams, setsid=True)
    return Started(name=name, pid=pid, born=_born(pid), command=tuple(command), environ=dict(environ or {}))


def alive(process: Started) -> bool:
    return _born(process.pid) == process.born


def end(process: Started, *, grace_s: float = 10.0) -> None:
    """SIGTERM, and SIGKILL after the grace; returns when it is gone."""
    for number, patience_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 60.0)):
        if not alive(process):
            break
        os.kill(process.pid, number)
        waited(lambda: not alive(process), patience_s)
    if alive(process):
        raise TimeoutError(f"{process.name} (pid {process.pid}) does not end")


def running_as(name: str) -> Sequence[int]:
    """The processes of this name that have the same view of the file system as this one."""
    here, found = Path("/proc/self/ns/mnt").readlink(), []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if (place / "comm").read_text() == f"{name}\n" and (place / "ns" / "mnt").readlink() == here:
                found.append(int(place.name))
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended meanwhile
    return found


def _born(pid: int) -> int:
    """When a process began, in the kernel's ticks since boot; 0 if it is gone or only waits to be reaped."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    if fields[0] == "Z":
        try:
            os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            return 0
        return 0
    return int(fields[19])
