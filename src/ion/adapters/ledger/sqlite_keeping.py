"""What becomes of jobs after their end; see `ion.ports.ledger_keeping`."""

import sqlite3
from collections.abc import Sequence

from ion.adapters.ledger.rows import MANIFEST, change, text
from ion.adapters.ledger.sqlite_admission import admit, check_runnable
from ion.adapters.sqlite.database import Database
from ion.errors import ConflictError
from ion.model.job import Job
from ion.ports.ledger import Changes
from ion.ports.ledger_keeping import KeepingLedger

_NONE = Changes(0)
_OPEN = "state IN ('waiting', 'running', 'committed')"
_FLOW_IS_OPEN = "EXISTS (SELECT 1 FROM tallies WHERE tallies.flow = jobs.flow AND waiting + running + committed > 0)"
_TOMBSTONE = f"state = 'expired' AND log = '' AND {MANIFEST} IS NULL AND failure IS NULL"


class SqliteKeeping(KeepingLedger):
    """The part of the SQLite ledger that looks after what has ended."""

    _database: Database
    _max_jobs: int

    async def rerun(self, job: Job, needs: Sequence[str], actor: str) -> bool:
        now, most = self._database.now(), self._max_jobs
        return await self._database.write(
            lambda db: rerun(db, job, needs, actor, now=now, max_jobs=most),
            wakes=lambda new: Changes.DUE if new else _NONE,
        )

    async def supersede(self, job: str, by: str) -> bool:
        now = self._database.now()
        return await self._database.write(lambda db: supersede(db, job, by, now))

    async def expire(self, job: str, actor: str) -> bool:
        now = self._database.now()
        return await self._database.write(lambda db: expire(db, job, actor, now))

    async def drop_log(self, job: str, actor: str) -> bool:
        now = self._database.now()
        return await self._database.write(lambda db: drop_log(db, job, actor, now))

    async def strip(self, job: str) -> bool:
        return await self._database.write(lambda db: strip(db, job))

    async def forget(self, correlation_id: str, most: int) -> int:
        return await self._database.write(lambda db: forget(db, correlation_id, most))


def rerun(
    connection: sqlite3.Connection, job: Job, needs: Sequence[str], actor: str, *, now: float, max_jobs: int
) -> bool:
    """Admits a further run; see `KeepingLedger.rerun`."""
    if connection.execute("SELECT 1 FROM jobs WHERE id = ?", (job.id,)).fetchone():
        return False
    check_runnable(connection, job.id, job.module, job.correlation_id, now)
    still = connection.execute(
        f"SELECT id, state FROM jobs WHERE event_id = ? AND module = ? AND {_OPEN}",  # noqa: S608  a constant
        (job.event.id, job.module),
    ).fetchone()
    if still:
        raise ConflictError(f"job {still[0]} is {still[1]}, a run of the same; wait for its end, or cancel it")
    last = connection.execute(
        "SELECT id, state FROM jobs WHERE event_id = ? AND module = ? ORDER BY run DESC LIMIT 1",
        (job.event.id, job.module),
    ).fetchone()
    if last and last[1] == "superseded":
        raise ConflictError(f"job {last[0]} was superseded with what it came of; run the later one again")
    gone = connection.execute(
        "SELECT id FROM jobs WHERE id IN (SELECT value FROM json_each(?)) AND state = 'expired'", (text(needs),)
    ).fetchone()
    if gone:
        raise ConflictError(
            f"job {job.id} of module {job.module} would need files of the job {gone[0]}, which has expired; "
            "raise the root event anew instead"
        )
    admit(connection, [job], now, max_jobs)
    change(connection, "", "id = :job", {"job": job.id, "actor": actor, "now": now, "note": f"run {job.run}"})
    return True


def supersede(connection: sqlite3.Connection, job: str, by: str, now: float) -> bool:
    """A later run takes a job's place; see `KeepingLedger.supersede`."""
    values = {"job": job, "now": now, "by": by, "note": f"superseded by {by}"}
    done = change(
        connection,
        "state = 'superseded'",
        "id = :job AND state IN ('released', 'dead', 'cancelled')",
        values,
        state="'superseded'",
        actor=":by",
    )
    return done.rowcount > 0 or _is(connection, job, "state = 'superseded'")


def expire(connection: sqlite3.Connection, job: str, actor: str, now: float) -> bool:
    """What a job left may be deleted; see `KeepingLedger.expire`."""
    done = change(
        connection,
        "state = 'expired'",
        f"id = :job AND state IN ('released', 'superseded', 'dead', 'cancelled') AND NOT {_FLOW_IS_OPEN}",
        {"job": job, "actor": actor, "now": now},
        state="'expired'",
    )
    return done.rowcount > 0 or _is(connection, job, "state = 'expired'")


def drop_log(connection: sqlite3.Connection, job: str, actor: str, now: float) -> bool:
    """A job names its log no longer; see `KeepingLedger.drop_log`."""
    done = change(
        connection,
        "log = ''",
        f"id = :job AND NOT {_OPEN} AND log <> ''",
        {"job": job, "actor": actor, "now": now, "note": "its log has expired"},
    )
    connection.execute(
        "UPDATE manifests SET body = json_remove(body, '$.log')"
        " WHERE job = (SELECT seq FROM jobs WHERE id = ? AND log = '')",
        (job,),
    )
    return done.rowcount > 0 or _is(connection, job, f"NOT {_OPEN}")


def strip(connection: sqlite3.Connection, job: str) -> bool:
    """Leaves a tombstone; see `KeepingLedger.strip`."""
    done = connection.execute(
        "UPDATE jobs SET failure = NULL, failures = '{}', cursor = 0,"
        " event = json_remove(event, '$.files', '$.data', '$.dataref')"
        " WHERE id = ? AND state = 'expired' AND log = ''",
        (job,),
    )
    if done.rowcount:
        connection.execute("DELETE FROM manifests WHERE job = (SELECT seq FROM jobs WHERE id = ?)", (job,))
    return done.rowcount > 0


def forget(connection: sqlite3.Connection, flow: str, most: int) -> int:
    """Removes tombstones; see `KeepingLedger.forget`."""
    removed = connection.execute(
        f"DELETE FROM jobs WHERE seq IN (SELECT seq FROM jobs WHERE flow = ? AND {_TOMBSTONE} ORDER BY seq LIMIT ?)",  # noqa: S608  a constant
        (flow, most),
    ).rowcount
    if not connection.execute("SELECT 1 FROM jobs WHERE flow = ?", (flow,)).fetchone():
        connection.execute("DELETE FROM tallies WHERE flow = ?", (flow,))
        connection.execute("DELETE FROM flows WHERE id = ? AND ? > 0", (flow, removed))
    return removed


def _is(connection: sqlite3.Connection, job: str, condition: str) -> bool:
    sql = f"SELECT 1 FROM jobs WHERE id = ? AND {condition}"  # noqa: S608  our own constants
    return connection.execute(sql, (job,)).fetchone() is not None
