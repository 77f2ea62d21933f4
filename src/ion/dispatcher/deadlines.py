"""What is past its deadline, by clocks that nobody can set (R4).

The deadline stands in the ledger, by the ledger's clock, so that others find what its owner does not end. That clock
may be set, or run on while the machine sleeps. So an owner goes by its own monotonic clock, and moves the deadlines of
what it runs when the two have come apart; whoever sees a deadline of another's pass gives its owner time to do so.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime

from ion.dispatcher.claim import Running
from ion.model.job import Job
from ion.ports.ledger import Ledger

BATCH = 500
APART_S = 60.0
"""The clocks may differ by so much before a deadline is moved: what it leaves for the commit is longer."""


class Deadlines:
    """The deadlines of what one dispatcher runs, and those of others that it sees pass.

    `patience_s` is how long an attempt of another's has to be seen overdue, by this one's clock.
    """

    def __init__(self, ledger: Ledger, running: Running, *, owner: str, patience_s: float) -> None:
        self._ledger, self._running, self._owner, self._patience_s = ledger, running, owner, patience_s
        self._overdue_since: dict[tuple[str, int], float] = {}

    async def own_late(self, mine: Iterable[Job]) -> Sequence[Job]:
        """Those of its running jobs that have had their time; the deadlines of the others are true afterwards."""
        now, late = await self._ledger.now(), []
        elapsed = [(job, self._running.elapsed_s(job)) for job in mine]
        for job, elapsed_s in elapsed:
            if elapsed_s is None:  # it has ended meanwhile
                continue
            if elapsed_s >= span_s(job):
                late.append(job)
            elif abs(_since_start_s(job, now) - elapsed_s) > APART_S:
                await self._ledger.retime(job.id, job.attempt, self._owner, elapsed_s)
        return late

    async def others_late(self) -> Sequence[Job]:
        """Running jobs of others that stay overdue, so that their owner does not get to them."""
        overdue = {(j.id, j.attempt): j for j in await self._ledger.overdue(BATCH) if j.owner != self._owner}
        now_s = self._running.clock()
        self._overdue_since = {key: self._overdue_since.get(key, now_s) for key in overdue}
        return [job for key, job in overdue.items() if now_s - self._overdue_since[key] >= self._patience_s]


def span_s(job: Job) -> float:
    """How long a running attempt may take in all."""
    return 0.0 if job.deadline is None else _since_start_s(job, job.deadline)


def plausible_elapsed_s(job: Job, now: datetime) -> float:
    """How long an adopted attempt has gone on; 0 where the ledger's clock cannot tell, for it would be over by now."""
    elapsed_s = _since_start_s(job, now)
    return elapsed_s if 0.0 <= elapsed_s < span_s(job) else 0.0


def _since_start_s(job: Job, when: datetime) -> float:
    return 0.0 if job.started_at is None else (when - job.started_at).total_seconds()
