"""Flows: their controls, priorities and open jobs.

A control is kept on the flow's row, for jobs not born yet, and put on its waiting jobs in the same transaction, so that
claims need not look at flows at all.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from ion.adapters.ledger.rows import change
from ion.adapters.ledger.sqlite_admission import JOBS_OF_FLOW, open_flow
from ion.adapters.ledger.sqlite_registry import note_action
from ion.errors import ConflictError, NotFoundError
from ion.model.job import State
from ion.ports.ledger import Control, Flow, Open

_COLUMNS = f"seq, id, control, priority, {JOBS_OF_FLOW}, started_at"
_STATES = ", ".join(State)
# Named indexes: left alone, SQLite would walk all that waits in any flow.
_WAITING = "seq IN (SELECT seq FROM jobs INDEXED BY jobs_lane WHERE state = 'waiting' AND flow = :flow)"
_RUNNING = "seq IN (SELECT seq FROM jobs INDEXED BY jobs_running WHERE state = 'running' AND flow = :flow)"
_PAUSE = f"UPDATE jobs SET hold = 'flow', ready = 0 WHERE {_WAITING} AND hold = ''"  # noqa: S608  constants
_FREE = (
    "UPDATE jobs SET hold = '', ready = not_before IS NULL OR not_before <= :now"  # noqa: S608  constants
    f" WHERE {_WAITING} AND hold = 'flow'"
)
_PRIORITISE = f"UPDATE jobs SET priority = :priority WHERE ({_WAITING} OR {_RUNNING}) AND priority <> :priority"  # noqa: S608  constants


def control(connection: sqlite3.Connection, flow: str, wanted: Control, actor: str, *, now: float) -> None:
    """Pauses, cancels or frees a flow; see `Ledger.control`."""
    present = open_flow(connection, flow, now).control
    if present is wanted:
        return
    if present is Control.CANCELLED:
        raise ConflictError(f"the flow {flow} is cancelled, which cannot be taken back; raise its root event anew")
    connection.execute("UPDATE flows SET control = ? WHERE id = ?", (wanted, flow))
    note_action(connection, actor, wanted or "free", flow, now)
    match wanted:
        case Control.PAUSED:
            connection.execute(_PAUSE, {"flow": flow})
        case Control.NONE:
            connection.execute(_FREE, {"flow": flow, "now": now})
        case Control.CANCELLED:
            _cancel_jobs(connection, flow, actor, now)


def _cancel_jobs(connection: sqlite3.Connection, flow: str, actor: str, now: float) -> None:
    values = {"flow": flow, "actor": actor, "now": now, "note": "its flow was cancelled"}
    change(
        connection,
        "state = 'cancelled', hold = '', ready = 0, ended_at = :now, not_before = NULL",
        _WAITING,
        values,
        state="'cancelled'",
    )
    values["note"] = "to be cancelled with its flow"
    change(connection, "cancelling = 1", f"{_RUNNING} AND NOT cancelling", values)


def prioritise(connection: sqlite3.Connection, flow: str, priority: int, now: float) -> None:
    """Sets a flow's priority, on running jobs too since they may wait again; see `Ledger.prioritise`."""
    open_flow(connection, flow, now)
    connection.execute("UPDATE flows SET priority = ? WHERE id = ?", (priority, flow))
    connection.execute(_PRIORITISE, {"flow": flow, "priority": priority})


def open_jobs(connection: sqlite3.Connection, flow: str) -> Open:
    """A flow's open jobs, from its tallies: one row a module."""
    waiting, running, committed, held = connection.execute(
        "SELECT coalesce(sum(waiting), 0), coalesce(sum(running), 0), coalesce(sum(committed), 0),"
        " coalesce(sum(held), 0) FROM tallies WHERE flow = ?",
        (flow,),
    ).fetchone()
    return Open(waiting=waiting, running=running, committed=committed, held=held)


def tally(connection: sqlite3.Connection, flow: str) -> Mapping[tuple[str, State], int]:
    """How many jobs of a flow stand in each state, by module; without zeros."""
    rows = connection.execute(f"SELECT module, {_STATES} FROM tallies WHERE flow = ?", (flow,))  # noqa: S608  our own states
    return {
        (module, state): count for module, *counts in rows for state, count in zip(State, counts, strict=True) if count
    }


def flow(connection: sqlite3.Connection, key: str) -> Flow:
    """See `Ledger.flow`."""
    row = connection.execute(f"SELECT {_COLUMNS} FROM flows WHERE id = ?", (key,)).fetchone()  # noqa: S608  a constant
    if row is None:
        raise NotFoundError(f"there is no flow {key}; `ion flow list` shows those there are")
    return _flow_from(row)


def flow_page(connection: sqlite3.Connection, before: int | None, most: int) -> tuple[Sequence[Flow], int | None]:
    """Up to `most` flows, newest first, that are older than row `before`; and where to go on, None at the end."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM flows WHERE seq < coalesce(?, 9223372036854775807) ORDER BY seq DESC LIMIT ?",  # noqa: S608  a constant
        (before, most),
    ).fetchall()
    return [_flow_from(row) for row in rows], rows[-1][0] if len(rows) == most else None


def _flow_from(row: tuple[int, str, str, int, int, float]) -> Flow:
    _, key, control, priority, jobs, started_at = row
    return Flow(
        correlation_id=key,
        control=Control(control),
        priority=priority,
        jobs=jobs,
        started_at=datetime.fromtimestamp(started_at, UTC),
    )
