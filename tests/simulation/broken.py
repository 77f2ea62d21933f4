"""Ledgers that break a promise each, to see that the simulation tells."""

import sqlite3
from collections.abc import Sequence

import msgspec

from ion.adapters.ledger.sqlite import SqliteLedger
from ion.model.job import Job, State
from ion.model.manifest import ManifestRef
from ion.ports.ledger import Claim, Control


class AnyAttemptCommits(SqliteLedger):
    """Takes the results of whatever attempt, as long as the job runs."""

    async def commit(self, job: str, attempt: int, manifest: ManifestRef, *, by: str = "") -> bool:
        current = (await self.get(job)).attempt
        return await super().commit(job, current, manifest, by=by)


class LastCommitWins(SqliteLedger):
    """Lets a second execution replace what was decided."""

    async def commit(self, job: str, attempt: int, manifest: ManifestRef, *, by: str = "") -> bool:
        def reopen(connection: sqlite3.Connection) -> None:
            connection.execute(
                "UPDATE jobs SET state = 'running' WHERE id = ? AND state = 'committed' AND attempt = ?", (job, attempt)
            )

        await self._database.write(reopen)
        return await super().commit(job, attempt, manifest, by=by)


class CommitForgets(SqliteLedger):
    """Denies the execution that won when its commit is repeated."""

    async def commit(self, job: str, attempt: int, manifest: ManifestRef, *, by: str = "") -> bool:
        decided = (await self.get(job)).state is not State.RUNNING
        return False if decided else await super().commit(job, attempt, manifest, by=by)


class ChildrenComeLate(SqliteLedger):
    """Admits children only once their parent is released."""

    _owed: tuple[Job, ...] = ()

    async def admit(self, jobs: Sequence[Job]) -> frozenset[str]:
        if any(job.state is State.COMMITTED for job in jobs):
            return await super().admit(jobs)
        self._owed += tuple(jobs)
        return frozenset(job.id for job in jobs)

    async def released(self, job: str, owner: str) -> bool:
        done = await super().released(job, owner)
        owed, self._owed = self._owed, ()
        await super().admit(owed)
        return done


class PauseIsForgotten(SqliteLedger):
    """Keeps a flow's pause for jobs to come, and goes on claiming those that wait."""

    async def control(self, correlation_id: str, control: Control, actor: str) -> None:
        def free(connection: sqlite3.Connection) -> None:
            connection.execute(
                "UPDATE jobs SET hold = '', ready = 1 WHERE flow = ? AND hold = 'flow'", (correlation_id,)
            )

        await super().control(correlation_id, control, actor)
        await self._database.write(free)


class NobodyIsAdopted(SqliteLedger):
    """Removes the dead, and leaves what they had."""

    async def adopt(self, dead: Sequence[str], owner: str) -> Sequence[Job]:
        def forget(connection: sqlite3.Connection) -> None:
            connection.executemany("DELETE FROM owners WHERE id = ?", [(one,) for one in dead])

        await self._database.write(forget)
        return ()


class CancelSparesTheWaiting(SqliteLedger):
    """Cancels a flow for jobs to come alone."""

    async def control(self, correlation_id: str, control: Control, actor: str) -> None:
        def mark(connection: sqlite3.Connection) -> None:
            connection.execute("UPDATE flows SET control = ? WHERE id = ?", (control, correlation_id))

        if control is Control.CANCELLED:
            await self._database.write(mark)
        else:
            await super().control(correlation_id, control, actor)


class AnyRouteIsClaimed(SqliteLedger):
    """Gives jobs to whoever asks, whatever place they wait for."""

    async def claim(self, claim: Claim) -> Sequence[Job]:
        every = await self.routes(claim.module)
        return await super().claim(msgspec.structs.replace(claim, routes=tuple(every) or claim.routes))


BROKEN: tuple[type[SqliteLedger], ...] = (
    AnyAttemptCommits,
    LastCommitWins,
    CommitForgets,
    ChildrenComeLate,
    PauseIsForgotten,
    NobodyIsAdopted,
    CancelSparesTheWaiting,
    AnyRouteIsClaimed,
)
