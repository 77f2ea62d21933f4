"""What becomes of jobs after their end; see `ion.ports.ledger_keeping`."""

from collections.abc import Sequence

import msgspec

from ion.adapters.ledger.postgres_queries import get
from ion.adapters.ledger.postgres_rows import admissions, note_text
from ion.adapters.ledger.postgres_verbs import PostgresVerbs, check_runnable
from ion.adapters.ledger.rows import text
from ion.errors import ConflictError, NotFoundError
from ion.model.job import OPEN_STATES, Job
from ion.model.manifest import ManifestRef
from ion.ports.ledger import Changes
from ion.ports.ledger_keeping import KeepingLedger

_manifest = msgspec.json.Decoder(ManifestRef)


class PostgresKeeping(PostgresVerbs, KeepingLedger):
    """The part of the PostgreSQL ledger that looks after what has ended."""

    _max_jobs: int

    async def rerun(self, job: Job, needs: Sequence[str], actor: str) -> bool:
        ((outcome, which, state),) = await self._database.run(
            "SELECT outcome, which, is_in FROM rerun(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            (
                admissions([job]),
                job.id,
                job.correlation_id,
                job.module,
                job.event.id,
                list(needs),
                text(actor),
                note_text(f"run {job.run}"),
                self._max_jobs,
                self._clock,
            ),
        )
        check_runnable(outcome, job.id, job.correlation_id, job.module)
        if outcome == "open":
            raise ConflictError(f"job {which} is {state}, a run of the same; wait for its end, or cancel it")
        if outcome == "superseded":
            raise ConflictError(f"job {which} was superseded with what it came of; run the later one again")
        if outcome == "expired":
            raise ConflictError(
                f"job {job.id} of module {job.module} would need files of the job {which}, which has expired; "
                "raise the root event anew instead"
            )
        self._tell(Changes.DUE if outcome == "new" else None)
        return bool(outcome == "new")

    async def supersede(self, job: str, by: str) -> bool:
        note = note_text(f"superseded by {by}")
        return bool(await self._value("SELECT supersede(%s, %s, %s, %s)", job, text(by), note, self._clock))

    async def expire(self, job: str, actor: str) -> bool:
        return bool(await self._value("SELECT expire(%s, %s, %s)", job, text(actor), self._clock))

    async def drop_log(self, job: str, actor: str) -> bool:
        """The manifest's reference is changed here, since its text may be one that the server cannot take apart."""
        while rows := await self._database.run("SELECT state, manifest FROM jobs WHERE id = %s", (job,)):
            state, before = rows[0]
            if state in OPEN_STATES:
                return False
            after = None if before is None else text(msgspec.structs.replace(_manifest.decode(before), log=""))
            if await self._value("SELECT drop_log(%s, %s, %s, %s, %s)", job, text(actor), before, after, self._clock):
                return True
        return False

    async def strip(self, job: str) -> bool:
        try:
            found = await get(self._database, job)
        except NotFoundError:
            return False
        event = msgspec.structs.replace(found.event, files=(), data={}, dataref="")
        return bool(await self._value("SELECT strip(%s, %s)", job, text(event)))

    async def forget(self, correlation_id: str, most: int) -> int:
        return int(await self._value("SELECT forget(%s, %s)", correlation_id, most))
