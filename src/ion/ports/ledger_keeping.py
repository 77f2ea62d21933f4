"""What becomes of jobs after their end: they are computed again, give way to a later run, expire and are forgotten.

Part of `ion.ports.ledger`, whose text holds for these verbs too. None of them makes a job run but `rerun`.

Retention takes things in an order that can be cut short anywhere and repeated: first the row says that they are gone
(`expire`, `drop_log`), then they go, then the row shrinks to a tombstone (`strip`), and at last it goes too (`forget`).
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from ion.model.job import Job


class KeepingLedger(ABC):
    @abstractmethod
    async def rerun(self, job: Job, needs: Sequence[str], actor: str) -> bool:
        """Admits a further run of what an event started: like `admit` of one waiting job whose `run` is above 0.

        Args:
            job: The new run.
            needs: Ids of the jobs whose stored files it reads. Whoever deletes files of an expired job looks for
                readers after the job has expired; so either this call is refused, or the new run is seen.
            actor: Who asked for it.

        Returns:
            False if a job of that id is known: nothing changed.

        Raises:
            ConflictError: its flow is cancelled, its module is gone, another run of it is open, its latest run was
                superseded, or one of `needs` has expired; says what to do.
        """

    @abstractmethod
    async def supersede(self, job: str, by: str) -> bool:
        """`released | dead | cancelled → superseded`: the run `by` has taken its place, or that of a job that it came
        of. Repeating it answers True; False in any other state.
        """

    @abstractmethod
    async def expire(self, job: str, actor: str) -> bool:
        """`released | superseded | dead | cancelled → expired`, while its flow is quiet: what it left may be deleted.
        Repeating it answers True; False in any other state, and where a job of its flow is open.
        """

    @abstractmethod
    async def drop_log(self, job: str, actor: str) -> bool:
        """A job that has ended no longer names its log; False if it is open. Repeating it answers True."""

    @abstractmethod
    async def strip(self, job: str) -> bool:
        """Of an expired job that names no log, only a tombstone stays: who it was, and its history. It has no manifest
        and no failure, its event neither files nor data. Repeating it answers True; False for other jobs.
        """

    @abstractmethod
    async def forget(self, correlation_id: str, most: int) -> int:
        """Removes up to `most` tombstones of a flow, the oldest first; the flow itself once no job of it is left.

        Returns:
            How many were removed. A job that is no tombstone stays, and so does its flow.
        """
