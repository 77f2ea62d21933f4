"""Ends what escapes from an attempt: daemons, and other processes that left the module's process group.

The dispatcher is made the *subreaper* of everything below it: a process whose parent died becomes the dispatcher's
child instead of init's. So after a module has ended, what is left of it is found among the dispatcher's children.
Those may be others' too: the guard, daemons of attempts that still run, programs that the user's own code started and
what those left behind. So only what shows that it is this attempt's is ended.
"""

import asyncio
import contextlib
import os
import time

import msgspec

from ion.adapters.executors.local import family
from ion.adapters.executors.local.marks import bears, drafted
from ion.errors import UnavailableError

_PR_SET_CHILD_SUBREAPER = 36

GONE_WITHIN_S = 30.0
"""How long a killed process may take to be gone; only one that hangs in the kernel takes longer."""

STALE_S = 5.0
"""A dead child that nobody reaped for so long was orphaned to us, and is reaped here."""


def become_subreaper() -> None:
    """Lets orphans below this process become its children (Linux, for the rest of its life)."""
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class Reaped(msgspec.Struct, frozen=True, kw_only=True):
    """What ended processes used: seconds of processor, the largest resident memory of one in bytes."""

    cpu_s: float = 0.0
    peak_memory: int = 0

    def __add__(self, other: "Reaped") -> "Reaped":
        return Reaped(cpu_s=self.cpu_s + other.cpu_s, peak_memory=max(self.peak_memory, other.peak_memory))


class Orphans:
    """`known` are the children of this process that others look after; `stale_s` as `STALE_S`."""

    def __init__(self, *, stale_s: float = STALE_S) -> None:
        self.known: set[int] = set()
        self._stale_s = stale_s
        self._dead_since: dict[tuple[int, int], float] = {}

    async def end(self, folder: str, pipe: str, *, mark: int = 0, leader: int = 0) -> Reaped:
        """Kills and reaps the orphans of the attempt in `folder` until there are none.

        Its `leader` was started with this `mark`, 0 if without one, and with its outputs in `pipe`.

        Raises:
            UnavailableError: one cannot be ended.
        """
        deadline, reaped, pause = time.monotonic() + GONE_WITHIN_S, Reaped(), 0.0
        own_session = os.getsid(0)
        while left := [
            pid
            for pid, session in self._strangers()
            if bears(pid, mark)
            or drafted(pid, session, mark, leader, own_session)
            or family.carries(pid, folder)
            or family.touches(pid, folder, pipe)
        ]:
            if time.monotonic() > deadline:
                raise UnavailableError(f"process {left[0]} of the module cannot be ended: it hangs in the kernel")
            for pid in left:
                family.kill(family.tree(pid))
                reaped += await self._reap(pid, deadline)
            await asyncio.sleep(pause)
            pause = 0.005
        return reaped

    def _strangers(self) -> list[tuple[int, int]]:
        """Children of ours that nobody here knows, with their sessions; those long dead are reaped."""
        living, dead, now = [], {}, time.monotonic()
        for pid in family.adopted():
            if pid in self.known or (process := family.look(pid)) is None:
                continue
            if not process.zombie:
                living.append((pid, process.session))
                continue
            since = self._dead_since.get((pid, process.started), now)
            if now - since > self._stale_s:
                reap(pid)
            else:
                dead[pid, process.started] = since
        self._dead_since = dead
        return living

    async def _reap(self, pid: int, deadline: float) -> Reaped:
        while (found := reap(pid)) is None:
            if time.monotonic() > deadline:
                raise UnavailableError(f"process {pid} of the module cannot be ended: it hangs in the kernel")
            await asyncio.sleep(0.001)
        return found[1]


def reap(pid: int) -> tuple[int, Reaped] | None:
    """Reaps a child (or one of a group, for a negative `pid`): its exit code and use, None while it lives.

    A child that is gone already gives code 0.
    """
    with contextlib.suppress(ChildProcessError):
        found, status, usage = os.wait4(pid, os.WNOHANG)
        if not found:
            return None
        use = Reaped(cpu_s=usage.ru_utime + usage.ru_stime, peak_memory=usage.ru_maxrss * 1024)
        return os.waitstatus_to_exitcode(status), use
    return 0, Reaped()
