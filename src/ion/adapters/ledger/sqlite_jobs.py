"""What happens to jobs that are in the ledger: each change is one guarded update of one row.

Which row a change expects stands in its `WHERE`; a caller that was too late changes nothing and is told so.
"""

import sqlite3
from collections.abc import Sequence

import msgspec

from ion.adapters.ledger.rows import RETURNING, SELECT, Row, change, failure_text, job_from, text
from ion.adapters.ledger.sqlite_admission import keep_manifest
from ion.adapters.ledger.verbs import reason
from ion.model.job import Failure, FailureClass, Job, State
from ion.model.manifest import ManifestRef
from ion.ports.ledger import DEFER_MOST_S, Bury, Cancel, Control, GiveBack, Outcome, Retry

_DECIDED = (State.COMMITTED, State.RELEASED, State.SUPERSEDED, State.EXPIRED)
_ENDED = "ended_at = :now, deadline = NULL, not_before = NULL, devices = '[]'"


def commit(
    connection: sqlite3.Connection, job: str, attempt: int, manifest: ManifestRef, now: float
) -> tuple[bool, str]:
    """The one compare-and-set that decides; see `Ledger.commit`. Tells the job's owner too."""
    running = connection.execute(
        "SELECT seq FROM jobs WHERE id = ? AND state = 'running' AND attempt = ?", (job, attempt)
    ).fetchone()
    if running is not None:
        keep_manifest(connection, running[0], manifest)
    won = change(
        connection,
        f"state = 'committed', execution = :execution, cursor = 0, {_ENDED}, failure = NULL,"
        " troubled_at = NULL, cancelling = 0, log = CASE :log WHEN '' THEN log ELSE :log END",
        "id = :job AND state = 'running' AND attempt = :attempt",
        {
            "job": job,
            "attempt": attempt,
            "now": now,
            "log": manifest.log,
            "execution": manifest.execution,
        },
        state="'committed'",
        actor="owner",
        returning="RETURNING module, owner",
    ).fetchall()
    if won:
        _note_success(connection, won[0][0])
        return True, won[0][1]
    row = connection.execute("SELECT state, attempt, execution, owner FROM jobs WHERE id = ?", (job,)).fetchone()
    if row is None:
        return False, ""
    return row[0] in _DECIDED and row[1:3] == (attempt, manifest.execution), row[3]


def settle(
    connection: sqlite3.Connection, job: str, attempt: int, owner: str, outcome: Outcome, *, log: str, now: float
) -> State | None:
    """Ends a running attempt without results; the new state, or None where the guard did not hold."""
    row = connection.execute(
        "SELECT jobs.module, jobs.cancelling, flows.control FROM jobs JOIN flows ON flows.id = jobs.flow"
        " WHERE jobs.id = ? AND jobs.state = 'running' AND jobs.attempt = ? AND jobs.owner = ?",
        (job, attempt, owner),
    ).fetchone()
    if row is None:
        return None
    module, cancelling, control = row
    state = _settled(outcome, cancelled=bool(cancelling) or control == Control.CANCELLED)
    hold = "flow" if state is State.WAITING and control == Control.PAUSED else ""
    delay_s = outcome.delay_s if isinstance(outcome, Retry) else 0.0
    failure = outcome.failure if isinstance(outcome, Retry | Bury) else None
    times = (
        f"deadline = NULL, devices = '[]', not_before = {':due' if delay_s > 0 else 'NULL'}"
        if state is State.WAITING
        else _ENDED
    )
    change(
        connection,
        f"state = :state, hold = :hold, ready = :ready, cancelling = 0, {times},"
        f" log = CASE :log WHEN '' THEN log ELSE :log END{_counting(failure)}",
        "id = :job",
        {
            "job": job,
            "actor": owner,
            "note": reason(outcome),
            "now": now,
            "due": now + delay_s,
            "log": log,
            "state": state.value,
            "hold": hold,
            "ready": not hold and delay_s <= 0,
            **({} if failure is None else {"failure": failure_text(failure), "path": f"$.{failure.kind.value}"}),
        },
        state=":state",
    )
    _note_failure(connection, module, failure, now, died=state is State.DEAD)
    return state


def _settled(outcome: Outcome, *, cancelled: bool) -> State:
    match outcome:
        case Bury():
            return State.DEAD
        case Cancel():
            return State.CANCELLED
        case Retry() | GiveBack():
            # Queueing it again would lose what a person asked for.
            return State.CANCELLED if cancelled else State.WAITING


def _counting(failure: Failure | None) -> str:
    if failure is None:
        return ""
    streak = "coalesce(troubled_at, :now)" if failure.kind is FailureClass.INFRASTRUCTURE else "NULL"
    return (
        ", failure = :failure, failures = json_set(failures, :path, coalesce(json_extract(failures, :path), 0) + 1),"
        f" troubled_at = {streak}"
    )


def _note_success(connection: sqlite3.Connection, module: str) -> None:
    connection.execute(
        "UPDATE modules SET dead_in_row = 0, trouble_in_row = 0"
        " WHERE name = ? AND (dead_in_row <> 0 OR trouble_in_row <> 0)",
        (module,),
    )


def _note_failure(
    connection: sqlite3.Connection, module: str, failure: Failure | None, now: float, *, died: bool
) -> None:
    trouble = failure is not None and failure.kind is FailureClass.INFRASTRUCTURE
    if died or trouble:
        connection.execute(
            "UPDATE modules SET dead_in_row = dead_in_row + ?, trouble_in_row = trouble_in_row + ?, failed_at = ?"
            " WHERE name = ?",
            (died, trouble, now, module),
        )


def retime(connection: sqlite3.Connection, job: str, attempt: int, owner: str, started_at: float) -> bool:
    """Moves a running attempt to when it really began; see `Ledger.retime`."""
    moved = connection.execute(
        "UPDATE jobs SET deadline = deadline - started_at + :at, started_at = :at"
        " WHERE id = :job AND state = 'running' AND attempt = :attempt AND owner = :owner",
        {"job": job, "attempt": attempt, "owner": owner, "at": started_at},
    )
    return moved.rowcount > 0


def unreleased(connection: sqlite3.Connection, most: int, owner: str, now: float) -> Sequence[Job]:
    """The oldest committed jobs that are due and the owner's or nobody's; see `Ledger.unreleased`."""
    jobs = due_for_relay(connection, most, owner, now)
    connection.executemany(
        "UPDATE jobs SET owner = ? WHERE id = ?", [(owner, job.id) for job in jobs if job.owner != owner]
    )
    return [job if job.owner == owner else msgspec.structs.replace(job, owner=owner) for job in jobs]


def due_for_relay(connection: sqlite3.Connection, most: int, owner: str, now: float) -> list[Job]:
    """Those jobs, some of them still nobody's."""
    held = (
        "SELECT seq FROM (SELECT seq FROM jobs INDEXED BY jobs_committed WHERE state = 'committed' AND owner = {}"
        " AND (not_before IS NULL OR not_before <= :now OR not_before > :far) ORDER BY seq LIMIT :most)"
    )
    rows = connection.execute(
        SELECT + f" WHERE seq IN ({held.format(':owner')} UNION ALL {held.format(repr(''))}) ORDER BY seq LIMIT :most",
        {"owner": owner, "most": most, "now": now, "far": now + DEFER_MOST_S},
    )
    return [job_from(row) for row in rows]


def jobs_of(connection: sqlite3.Connection, sequence: Sequence[int]) -> list[Job]:
    """The jobs of these row numbers, in their order."""
    sql = SELECT + " WHERE seq IN (SELECT value FROM json_each(?)) ORDER BY seq"  # noqa: S608  constants
    return [job_from(row) for row in connection.execute(sql, (text(sequence),))]


def advance(connection: sqlite3.Connection, job: str, owner: str, cursor: int) -> bool:
    """Raises the relay's cursor; see `Ledger.advance`."""
    moved = connection.execute(
        "UPDATE jobs SET cursor = max(cursor, ?) WHERE id = ? AND state = 'committed' AND owner = ?",
        (cursor, job, owner),
    )
    return moved.rowcount > 0


def released(connection: sqlite3.Connection, job: str, owner: str, now: float) -> bool:
    """`committed → released`; see `Ledger.released`."""
    done = change(
        connection,
        "state = 'released', not_before = NULL",
        "id = :job AND state = 'committed' AND owner = :actor",
        {"job": job, "actor": owner, "now": now},
        state="'released'",
    )
    if done.rowcount:
        return True
    return connection.execute("SELECT 1 FROM jobs WHERE id = ? AND state = 'released'", (job,)).fetchone() is not None


def defer(connection: sqlite3.Connection, job: str, owner: str, delay_s: float, *, note: str, now: float) -> bool:
    """A committed job's relay is put off; see `Ledger.defer`."""
    done = change(
        connection,
        "not_before = :due",
        "id = :job AND state = 'committed' AND owner = :actor",
        {"job": job, "actor": owner, "note": note, "now": now, "due": now + delay_s},
    )
    return done.rowcount > 0


def bury(connection: sqlite3.Connection, job: str, failure: Failure, actor: str, now: float) -> bool:
    """`waiting → dead`; see `Ledger.bury`."""
    done = change(
        connection,
        f"state = 'dead', hold = '', ready = 0, failure = :failure, {_ENDED}",
        "id = :job AND state = 'waiting' AND NOT EXISTS (SELECT 1 FROM modules WHERE name = jobs.module)",
        {
            "job": job,
            "actor": actor,
            "now": now,
            "failure": failure_text(failure),
            "note": f"{failure.kind}: {failure.message}",
        },
        state="'dead'",
    )
    return done.rowcount > 0


def cancel(connection: sqlite3.Connection, job: str, actor: str, now: float) -> State | None:
    """Cancels a waiting job, marks a running one; the state it was in, or None where it was neither."""
    values = {"job": job, "actor": actor, "now": now, "note": "cancelled"}
    done = change(
        connection,
        f"state = 'cancelled', hold = '', ready = 0, {_ENDED}",
        "id = :job AND state = 'waiting'",
        values,
        state="'cancelled'",
    )
    if done.rowcount:
        return State.WAITING
    values["note"] = "to be cancelled"
    change(connection, "cancelling = 1", "id = :job AND state = 'running' AND NOT cancelling", values)
    running = connection.execute("SELECT 1 FROM jobs WHERE id = ? AND state = 'running'", (job,)).fetchone()
    return State.RUNNING if running else None


def adopt(connection: sqlite3.Connection, dead: Sequence[str], owner: str, now: float) -> tuple[Sequence[Job], bool]:
    """Takes over from dead owners; the running jobs, and whether committed ones became nobody's."""
    rows: list[Row] = []
    freed = False
    for one in dead:
        if one == owner:
            continue
        values = {"dead": one, "actor": owner, "now": now, "note": f"taken over from {one}"}
        freed |= disown_committed(connection, one)
        rows += change(
            connection, "owner = :actor", "state = 'running' AND owner = :dead", values, returning=RETURNING
        ).fetchall()
        connection.execute("DELETE FROM owners WHERE id = ?", (one,))
    return [job_from(row) for row in sorted(rows)], freed


def disown_strays(connection: sqlite3.Connection) -> bool:
    """The same for owners without a row: one that was taken for dead may have committed since, and died then."""
    freed = connection.execute(
        "UPDATE jobs INDEXED BY jobs_committed SET owner = ''"
        " WHERE state = 'committed' AND owner <> '' AND owner NOT IN (SELECT id FROM owners)"
    )
    return freed.rowcount > 0


def disown_committed(connection: sqlite3.Connection, owner: str) -> bool:
    """Makes an owner's committed jobs nobody's, for any relay to take."""
    freed = connection.execute(
        "UPDATE jobs INDEXED BY jobs_committed SET owner = '' WHERE state = 'committed' AND owner = ?", (owner,)
    )
    return freed.rowcount > 0
