"""A job as a row and back, and the expressions that every change of a row shares."""

import sqlite3
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from ion.model.event import Event
from ion.model.job import HISTORY_LIMIT, Change, Failure, FailureClass, Hold, Job, State
from ion.model.manifest import ManifestRef

NOTE_LIMIT = 300
"""Characters of a note in the history: fifty of them stay far below a row's 64 KB."""

MESSAGE_LIMIT = 4000
"""Characters of a failure's message in the row; the log has it whole."""

MANIFEST = "(SELECT body FROM manifests WHERE manifests.job = jobs.seq)"
COLUMNS = (
    "seq, id, module, event, run, state, attempt, hold, priority, tag, owner, scope, revision, execution, devices, "
    "failures, troubled_at, failure, manifest, cursor, log, cancelling, admitted_at, started_at, ended_at, not_before, "
    "deadline, history, route"
)
SELECT = f"SELECT {COLUMNS.replace(' manifest,', f' {MANIFEST},')} FROM jobs"  # noqa: S608  a constant
# Of rows that have no manifest: those of jobs that wait or run.
RETURNING = "RETURNING " + COLUMNS.replace(" manifest,", " NULL,")

_history: msgspec.json.Decoder[tuple[Change, ...]] = msgspec.json.Decoder(tuple[Change, ...])
_event = msgspec.json.Decoder(Event)
_failures: msgspec.json.Decoder[dict[FailureClass, int]] = msgspec.json.Decoder(dict[FailureClass, int])
_failure = msgspec.json.Decoder(Failure)
_manifest = msgspec.json.Decoder(ManifestRef)
_devices: msgspec.json.Decoder[tuple[str, ...]] = msgspec.json.Decoder(tuple[str, ...])

Row = tuple[Any, ...]


def job_from(row: Row) -> Job:
    """The job of a row with `COLUMNS`."""
    (_, key, module, event, run, state, attempt, hold, priority, _, owner, scope, revision, execution, devices) = row[
        :15
    ]
    failures, troubled_at, failure, manifest, cursor, log, cancelling = row[15:22]
    admitted_at, started_at, ended_at, not_before, deadline, history, route = row[22:]
    return Job(
        id=key,
        module=module,
        event=_event.decode(event),
        run=run,
        state=State(state),
        attempt=attempt,
        hold=Hold(hold) if hold else None,
        priority=priority,
        owner=owner,
        scope=scope,
        revision=revision,
        execution=execution,
        devices=_devices.decode(devices),
        route=route,
        failures=_failures.decode(failures),
        troubled_at=moment(troubled_at),
        failure=None if failure is None else _failure.decode(failure),
        manifest=None if manifest is None else _manifest.decode(manifest),
        cursor=cursor,
        log=log,
        cancelling=bool(cancelling),
        admitted_at=moment(admitted_at),
        started_at=moment(started_at),
        ended_at=moment(ended_at),
        not_before=moment(not_before),
        deadline=moment(deadline),
        history=_history.decode(history),
    )


def moment(seconds: float | None) -> datetime | None:
    """Seconds since the epoch as an aware time."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def seconds(moment: datetime | None) -> float | None:
    """An aware time as seconds since the epoch."""
    return None if moment is None else moment.timestamp()


def text(value: Any) -> str:
    """Any value as JSON text."""
    return msgspec.json.encode(value).decode()


def failure_text(failure: Failure) -> str:
    """A failure as JSON text, its message clipped to what a row can hold."""
    return text(msgspec.structs.replace(failure, message=clipped(failure.message, MESSAGE_LIMIT)))


def clipped(note: str, limit: int = NOTE_LIMIT) -> str:
    """A text of at most `limit` characters."""
    return note if len(note) <= limit else note[: limit - 1] + "…"


def change_text(now: float, state: State, attempt: int, actor: str, note: str = "") -> str:
    """One entry of a history as JSON text."""
    at = datetime.fromtimestamp(now, UTC)
    return text(Change(at=at, state=state, attempt=attempt, actor=actor, note=clipped(note)))


def change(
    connection: sqlite3.Connection,
    assignments: str,
    where: str,
    values: Mapping[str, Any],
    *,
    state: str = "state",
    actor: str = ":actor",
    rise: int = 0,
    returning: str = "",
) -> sqlite3.Cursor:
    """Updates the jobs that `where` allows and adds a line to their histories.

    The first line of a full history is kept and the second dropped, so it always tells how the job came to be.

    Args:
        connection: Inside a transaction.
        assignments: SQL of the columns that change, or empty.
        where: SQL of the guard; what the row must be.
        values: The named parameters; `now`, `actor` and `note` are the new line's.
        state: SQL of the line's state.
        actor: SQL of the line's actor.
        rise: How much the attempt in the line is above the row's.
        returning: SQL after the update.
    """
    line = f"json_object('at', :at, 'state', {state}, 'attempt', attempt + {rise}, 'actor', {actor}, 'note', :note)"
    kept = f"CASE WHEN json_array_length(history) < {HISTORY_LIMIT} THEN history ELSE json_remove(history, '$[1]') END"
    also = f", {assignments}" if assignments else ""
    sql = f"UPDATE jobs SET history = json_insert({kept}, '$[#]', {line}){also} WHERE {where} {returning}"  # noqa: S608  our own constants
    at = datetime.fromtimestamp(values["now"], UTC).isoformat().replace("+00:00", "Z")
    return connection.execute(sql, {**values, "at": at, "note": clipped(values.get("note", ""))})
