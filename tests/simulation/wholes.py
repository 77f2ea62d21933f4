"""What holds of the whole store after every step, whatever has just happened."""

import sqlite3
from collections import Counter
from collections.abc import Collection, Iterable

import msgspec
from tests.simulation.blobs import path_of
from tests.simulation.transitions import heard_by
from tests.simulation.witness import Known, Witness

from ion.model.job import State
from ion.model.record import Kind, logs_id

LATE_LOGS_STAY = True
"""Whether the log that any record tells of has to be stored. Off: one dispatcher records the log of an attempt that it
has lost, and the one that has it settles it as lost without a log and deletes all its blobs (with it on: seed 260)."""
_STATES = [state.value for state in State]
_TALLIES = f"SELECT flow, module, held, {', '.join(_STATES)} FROM tallies"
_JOBS = (
    "SELECT id, flow, module, state, attempt, owner, scope, hold, ready, not_before, deadline, devices, log,"
    " owner = '' OR owner IN (SELECT id FROM owners) FROM jobs ORDER BY seq"
)
_KEEPS_RESULTS = {State.COMMITTED, State.RELEASED}


class Row(msgspec.Struct, frozen=True, array_like=True):
    """A job as it stands in the ledger. `known`: its owner has a row, or it has none."""

    id: str
    flow: str
    module: str
    state: State
    attempt: int
    owner: str
    scope: str
    hold: str
    ready: bool
    not_before: float | None
    deadline: float | None
    devices: str
    log: str
    known: bool


def faults_of(
    connection: sqlite3.Connection, witness: Witness, blobs: Collection[str], living: Collection[str]
) -> list[str]:
    """Everything in the store that must not be."""
    rows = msgspec.convert(connection.execute(_JOBS).fetchall(), list[Row], strict=False)
    return [
        *_unlike(rows, witness),
        *_miscounted(connection, rows),
        *_stuck(rows, living),
        *_devices(connection, rows),
        *_without_blobs(rows, witness, blobs),
        *_without_records(connection, witness),
        *(_without_logs(connection, blobs) if LATE_LOGS_STAY else ()),
    ]


def _unlike(rows: list[Row], witness: Witness) -> Iterable[str]:
    """Every job is in exactly the state that its changes led to."""
    stored = {row.id: (row.state, row.attempt) for row in rows}
    pictured = {job.id: (job.state, job.attempt) for job in witness.jobs.values()}
    if stored != pictured:
        yield f"the ledger holds {stored.items() - pictured.items()}, unlike {pictured.items() - stored.items()}"


def _miscounted(connection: sqlite3.Connection, rows: list[Row]) -> Iterable[str]:
    counted = Counter((row.flow, row.module, row.state.value) for row in rows)
    counted.update((row.flow, row.module, "held") for row in rows if row.state is State.WAITING and row.hold)
    told = {
        (flow, module, name): count
        for flow, module, *counts in connection.execute(_TALLIES)
        for name, count in zip(["held", *_STATES], counts, strict=True)
        if count
    }
    if told != counted:
        yield f"the tallies say {told}, the rows are {dict(counted)}"


def _stuck(rows: list[Row], living: Collection[str]) -> Iterable[str]:
    """R4: whatever is open has something that will happen to it."""
    for row in rows:
        match row.state:
            case State.WAITING if not (row.hold or row.ready or row.not_before is not None):
                yield f"R4: job {row.id[:8]} waits for nothing"
            case State.RUNNING if row.deadline is None or not row.owner:
                yield f"R4: job {row.id[:8]} runs without a deadline or an owner"
            case State.COMMITTED if not row.known and row.owner not in living:
                yield f"R4: job {row.id[:8]} is committed and belongs to {row.owner[:8]}, whom nobody can adopt from"
            case State.DEAD | State.CANCELLED | State.RELEASED if row.deadline is not None or row.devices != "[]":
                yield f"job {row.id[:8]} is {row.state} and keeps a deadline or devices"


def _devices(connection: sqlite3.Connection, rows: list[Row]) -> Iterable[str]:
    given = Counter(
        (row.scope, device) for row in rows if row.state is State.RUNNING for device in msgspec.json.decode(row.devices)
    )
    if any(count > 1 for count in given.values()):
        yield f"R6: devices are given twice: {given}"
    if set(connection.execute("SELECT scope, device FROM devices")) != set(given):
        yield "the devices in use are not those of the running jobs"


def _without_blobs(rows: list[Row], witness: Witness, blobs: Collection[str]) -> Iterable[str]:
    """R3 and R7: what is decided keeps its blobs, and a log that a row names is stored."""
    for row in rows:
        if row.log and row.log not in blobs:
            yield f"R7: the log {row.log} of job {row.id[:8]} is not stored"
        job = witness.jobs[row.id]
        if row.state in _KEEPS_RESULTS and job.manifest is not None:
            missing = [file.blob for file in job.manifest.files if file.blob not in blobs]
            if missing:
                yield f"R3: job {row.id[:8]} is {row.state} and its {missing[0]} is gone"


def _without_logs(connection: sqlite3.Connection, blobs: Collection[str]) -> Iterable[str]:
    """R7: the log that a record tells of outlives its attempt, whatever becomes of that."""
    query = "SELECT id, json_extract(body, '$.logs') FROM records WHERE kind = ?"
    for record, uri in connection.execute(query, (Kind.MODULE_LOGS,)):
        if path_of(uri) not in blobs:
            yield f"R7: the log of which the record {record} tells is not stored"


def _without_records(connection: sqlite3.Connection, witness: Witness) -> Iterable[str]:
    """What was released since the last look has its records."""
    for job in witness.released:
        for kind, key in _records(job):
            if not connection.execute("SELECT 1 FROM records WHERE kind = ? AND id = ?", (kind, key)).fetchone():
                yield f"R1: job {job.id[:8]} was released before its {kind} record {key} was there"
    witness.released.clear()


def _records(job: Known) -> Iterable[tuple[str, str]]:
    manifest = job.manifest
    if manifest is None:
        return
    for event in manifest.events:
        yield Kind.EVENT_META, event.id
    if manifest.insights:
        yield Kind.INSIGHT, manifest.execution
    if manifest.log:
        yield Kind.MODULE_LOGS, logs_id(job.module, job.event.id, job.attempt)


def unfinished(witness: Witness) -> list[str]:
    """What a flow lacks once everything has recovered: every job ended, every decided event has its jobs."""
    found = [
        f"R4: job {job.id[:8]} of {job.module} is {job.state} for ever, owned by {job.owner[:8]}"
        for job in witness.jobs.values()
        if job.state not in (State.RELEASED, State.DEAD, State.CANCELLED)
    ]
    children = {(job.event.id, job.module) for job in witness.jobs.values()}
    for job in witness.jobs.values():
        for event in job.manifest.events if job.manifest else ():
            found += [
                f"R1: module {module} never got event {event.id}"
                for module in heard_by(witness, event.type, job.decided_at)
                if (event.id, module) not in children
            ]
    return found
