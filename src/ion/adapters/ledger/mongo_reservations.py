"""What running jobs must not hold twice, where a single job's document cannot tell: devices of a scope, and the few
places of a module whose jobs are bounded over all owners.

Each has one document that names who holds what. It is written, guarded by its `rev`, before the job that holds begins
to run, and never when it ends: whether a holder still holds is seen at its job. A holder whose job does not run (yet)
may be about to, by somebody who was only slow, or who died. So before its part is given away its job is touched, which
makes that other compare-and-set fail.
"""

from collections.abc import Mapping

import msgspec

from ion.adapters.ledger.mongo_rows import altered
from ion.adapters.mongo.database import Document, MongoDatabase
from ion.adapters.mongo.schema import JOBS, RESERVATIONS
from ion.model.job import State


class Held(msgspec.Struct, frozen=True):
    """Who holds a part: a job in one attempt."""

    job: str
    attempt: int


class Reservation:
    """One document of parts and holders, as it was read."""

    def __init__(self, database: MongoDatabase, key: str) -> None:
        self._database, self._key = database, key
        self._old: Document = {}
        self.held: dict[str, Held] = {}
        self.touched: dict[str, Document] = {}
        """Waiting jobs that were touched, as they are now."""

    async def read(self) -> None:
        """Reads it, without those that hold no longer. Those that may be about to run are kept from it."""
        while True:
            self._old = await self._database.get(RESERVATIONS, self._key) or {}
            entries = {part: Held(job, attempt) for part, job, attempt in self._old.get("held", ())}
            jobs = await self._database.find_by_id(JOBS, list({held.job for held in entries.values()}))
            self.held = {part: held for part, held in entries.items() if _runs(jobs.get(held.job), held)}
            late = {
                held.job: jobs[held.job]
                for part, held in entries.items()
                if part not in self.held and _may_run(jobs.get(held.job), held)
            }
            pairs = [(job, altered(job)) for job in late.values()]
            touched = await self._database.swap_many(JOBS, pairs)
            self.touched |= {new["_id"]: new for _, new in pairs}
            if all(touched):
                return

    async def take(self, more: Mapping[str, Held]) -> bool:
        """Writes that these hold as well; False if somebody else has written since it was read."""
        held = [[part, held.job, held.attempt] for part, held in {**self.held, **more}.items()]
        new = {"_id": self._key, "rev": self._old.get("rev", 0) + 1, "held": held}
        return await self._database.swap(RESERVATIONS, self._old, new)


def _runs(job: Document | None, held: Held) -> bool:
    return job is not None and job["state"] == State.RUNNING and job["attempt"] == held.attempt


def _may_run(job: Document | None, held: Held) -> bool:
    return job is not None and job["state"] == State.WAITING and job["attempt"] == held.attempt - 1
