"""Who owns what: one row with a beat for each dispatcher, not a lease for each job.

A dispatcher is dead when its beat has stood still for `lease_s` on the observer's own monotonic clock (clocks that jump
decide nothing), or at once when the lock it holds on this host is free. What it owned is taken over. While the ledger
is away nobody can beat; whoever could not look counts anew.
"""

import fcntl
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from ion.errors import UnavailableError
from ion.model.job import Job
from ion.ports.ledger import Ledger, Owner

UNATTENDED_LEASES = 10
"""So many leases a dead dispatcher's scope has to be without another before a stranger calls its attempts lost."""


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
    """Beats for one dispatcher and finds the dead among the others."""

    def __init__(
        self, ledger: Ledger, me: Owner, *, lease_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ledger, self.me, self._lease_s, self._clock = ledger, me, lease_s, clock
        self._seen: dict[str, tuple[int, float]] = {}
        self.owners: Sequence[Owner] = (me,)

    def serve(self, modules: Sequence[str]) -> None:
        """Which modules' concurrency this dispatcher shares, from the next beat on."""
        self.me = msgspec.structs.replace(self.me, modules=tuple(sorted(modules)))

    async def beat(self) -> Sequence[Job]:
        """Beats once, and adopts what the dead have left.

        Returns:
            The running jobs taken over.
        """
        try:
            self.owners = await self._ledger.beat(self.me)
        except UnavailableError:
            self._seen.clear()  # while nobody could beat nobody stood still: leases begin anew with the next look
            raise
        dead = [owner.id for owner in self.owners if owner.id != self.me.id and self._is_ours_to_adopt(owner)]
        self._forget_gone()
        if not dead:
            return ()
        self.owners = [owner for owner in self.owners if owner.id not in dead]
        return await self._ledger.adopt(dead, self.me.id)

    def _is_ours_to_adopt(self, owner: Owner) -> bool:
        """Dead, and of a scope that this dispatcher attends; a scope that nobody attends is anybody's after a while."""
        still_s = self._stood_still_s(owner)
        if owner.host == self.me.host and owner.lock and lock_is_free(Path(owner.lock)):
            return True
        same = not owner.scope or set(owner.scope.split(",")) & set(self.me.scope.split(","))
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
