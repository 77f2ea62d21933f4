"""Who owns what: one row with a beat for each dispatcher, not a lease for each job.

A dispatcher is dead when its beat has stood still for `lease_s` on the observer's own monotonic clock (clocks that jump
decide nothing), or at once when the lock it holds on this host is free. What it owned is taken over. While the ledger
is away nobody can beat, and a host that stood still stood still for all on it; whoever could not look counts anew.
"""

import fcntl
import functools
import os
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from ion.errors import UnavailableError
from ion.model.job import Job
from ion.ports.executor import OF_A_HOST
from ion.ports.ledger import Ledger, Owner

UNATTENDED_LEASES = 10
"""So many leases a dead dispatcher's scope has to be without another before a stranger calls its attempts lost."""


@functools.cache
def this_host() -> str:
    """The machine, its boot, and which of its folders are seen: where all agree, a lock file means the same."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{socket.gethostname()}:{boot}:{Path('/proc/self/ns/mnt').readlink()}"


class LockFile:
    """A file locked for as long as this process lives: the kernel lets go of it at death, however that comes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = -1

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.path.unlink(missing_ok=True)
        os.close(self._fd)


def lock_is_free(path: Path) -> bool:
    """Whether nobody holds the lock; a missing file is a lock that was let go. Of another user's nothing is known."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    except PermissionError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True


class Ownership:
    """Beats for one dispatcher and finds the dead among the others. If it `runs` nothing, what runs is for others."""

    def __init__(
        self,
        ledger: Ledger,
        me: Owner,
        *,
        lease_s: float,
        runs: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger, self.me, self._lease_s, self._runs, self._clock = ledger, me, lease_s, runs, clock
        self._seen: dict[str, tuple[int, float]] = {}
        self._looked_s = 0.0
        self.owners: Sequence[Owner] = (me,)
        self.attended: frozenset[str] = frozenset()
        """The scopes that the ledger says this dispatcher reaches: whoever finds it dead knows to look there."""

    def serve(self, modules: Sequence[str], places: Sequence[str] = ()) -> None:
        """Which modules' concurrency this dispatcher shares, and where it can run those with rules, from the next beat
        on.
        """
        self.me = msgspec.structs.replace(self.me, modules=tuple(sorted(modules)), places=tuple(sorted(places)))

    def attend(self, scopes: Iterable[str]) -> None:
        """Which scopes this dispatcher reaches, from the next beat on."""
        self.me = msgspec.structs.replace(self.me, scope=",".join(sorted(scope for scope in scopes if scope)))

    async def beat(self) -> Sequence[Job]:
        """Beats once, and adopts what the dead have left.

        Returns:
            The running jobs taken over.
        """
        me = self.me
        try:
            self.owners = await self._ledger.beat(me)
        except UnavailableError:
            self._seen.clear()  # while nobody could beat nobody stood still: leases begin anew with the next look
            raise
        now_s = self._clock()
        if now_s - self._looked_s > self._lease_s:  # it was dead for others meanwhile, as they for it
            self._seen.clear()
        self._looked_s = now_s
        self.attended = frozenset(me.scope.split(","))
        dead = [owner.id for owner in self.owners if owner.id != self.me.id and self._is_ours_to_adopt(owner)]
        self._forget_gone()
        if not self._runs:
            dead = [owner for owner in dead if not await self._ledger.running(owner)]
        if not dead:
            return ()
        self.owners = [owner for owner in self.owners if owner.id not in dead]
        return await self._ledger.adopt(dead, self.me.id)

    def _is_ours_to_adopt(self, owner: Owner) -> bool:
        """Dead, and of a scope that this dispatcher attends; a scope that nobody attends is anybody's after a while."""
        still_s = self._stood_still_s(owner)
        theirs, mine = set(filter(None, owner.scope.split(","))), set(self.me.scope.split(","))
        # What runs in a cluster goes on without it: whoever cannot see that would call it lost.
        blind = any(not scope.startswith(OF_A_HOST) for scope in theirs - mine)
        if not blind and owner.host == self.me.host and owner.lock and lock_is_free(Path(owner.lock)):
            return True
        same = not theirs or (theirs & mine and not blind)
        return still_s >= (self._lease_s if same else self._lease_s * UNATTENDED_LEASES)

    def _stood_still_s(self, owner: Owner) -> float:
        now = self._clock()
        beat, since = self._seen.get(owner.id, (-1, now))
        if beat != owner.beat:
            since = now
        self._seen[owner.id] = (owner.beat, since)
        return now - since

    def _forget_gone(self) -> None:
        present = {owner.id for owner in self.owners}
        self._seen = {key: value for key, value in self._seen.items() if key in present}
