"""How jobs get into the ledger, and their place in the line.

Claims rotate between flows by start-time fair queueing: a job's tag is one more than the larger of its flow's last
waiting tag and the largest tag ever claimed of its module, and claims take the smallest tag. So a flow of ten thousand
jobs spreads over ten thousand tags, and the first job of a flow that comes later stands right behind what is being
claimed now. Nothing is kept for a flow that has nothing waiting.
"""

import sqlite3
from collections.abc import Sequence
from typing import Any

import msgspec

from ion.adapters.ledger.rows import change, change_text, failure_text, seconds, text
from ion.adapters.ledger.verbs import ADMISSION, admission_note, held
from ion.errors import ConflictError
from ion.model.job import Hold, Job, State
from ion.model.manifest import ManifestRef
from ion.ports.ledger import Control

_INSERT = """
INSERT INTO jobs (id, module, flow, event_id, state, run, attempt, hold, ready, priority, tag, scope, revision,
  execution, admitted_at, started_at, ended_at, not_before, log, failures, failure, history, event)
VALUES (:id, :module, :flow, :event_id, :state, :run, :attempt, :hold, :ready, :priority, :tag, :scope, :revision,
  :execution, :admitted_at, :started_at, :ended_at, :not_before, :log, :failures, :failure, :history, :event)
"""


JOBS_OF_FLOW = (
    "(SELECT coalesce(sum(waiting + running + committed + released + dead + cancelled + superseded + expired), 0)"
    " FROM tallies WHERE tallies.flow = flows.id)"
)


class FlowRow(msgspec.Struct, frozen=True):
    """What of a flow decides about its jobs."""

    control: Control
    priority: int
    jobs: int


def admit(connection: sqlite3.Connection, jobs: Sequence[Job], now: float, max_jobs: int) -> frozenset[str]:
    """Adds the jobs whose ids are not known; see `Ledger.admit`."""
    known = _known(connection, jobs)
    flows: dict[str, FlowRow] = {}
    tags: dict[tuple[str, str], int] = {}
    fresh: list[tuple[Job, dict[str, Any]]] = []
    for job in jobs:
        if job.id in known:
            continue
        known.add(job.id)
        flow = flows.get(job.correlation_id) or open_flow(connection, job.correlation_id, now)
        flows[job.correlation_id] = FlowRow(flow.control, flow.priority, flow.jobs + 1)
        lane = (job.correlation_id, job.module)
        if job.state is State.WAITING:
            tags[lane] = tags[lane] + 1 if lane in tags else next_tag(connection, *lane)
        fresh.append((job, _values(job, flow, tags.get(lane, 0), now, max_jobs)))
    connection.executemany(_INSERT, [values for _, values in fresh])
    connection.executemany(
        "INSERT OR REPLACE INTO manifests (job, body) SELECT seq, ? FROM jobs WHERE id = ?",
        [(text(job.manifest), job.id) for job, _ in fresh if job.state is State.COMMITTED and job.manifest],
    )
    return frozenset(job.id for job, _ in fresh)


def _known(connection: sqlite3.Connection, jobs: Sequence[Job]) -> set[str]:
    """Those of the jobs' ids that have a row."""
    ids = text([job.id for job in jobs])
    found = connection.execute("SELECT id FROM jobs WHERE id IN (SELECT value FROM json_each(?))", (ids,))
    return {key for (key,) in found}


def keep_manifest(connection: sqlite3.Connection, place: int | None, manifest: ManifestRef) -> None:
    """Writes the manifest of the job in the row `place`."""
    connection.execute("INSERT OR REPLACE INTO manifests (job, body) VALUES (?, ?)", (place, text(manifest)))


def open_flow(connection: sqlite3.Connection, flow: str, now: float) -> FlowRow:
    """The flow's row, made if this is the first that is heard of it."""
    made = connection.execute("INSERT INTO flows (id, started_at) VALUES (?, ?) ON CONFLICT DO NOTHING", (flow, now))
    if made.rowcount > 0:
        return FlowRow(Control.NONE, 0, 0)
    control, priority, jobs = connection.execute(
        f"SELECT control, priority, {JOBS_OF_FLOW} FROM flows WHERE id = ?",  # noqa: S608  a constant
        (flow,),
    ).fetchone()
    return FlowRow(Control(control), priority, jobs)


def next_tag(connection: sqlite3.Connection, flow: str, module: str) -> int:
    """The tag of the next job of a flow for a module."""
    (tag,) = connection.execute(
        "SELECT 1 + max(coalesce((SELECT tag FROM turns WHERE module = :module), 0),"
        " coalesce((SELECT max(tag) FROM jobs INDEXED BY jobs_lane"
        " WHERE state = 'waiting' AND flow = :flow AND module = :module), 0))",
        {"flow": flow, "module": module},
    ).fetchone()
    return int(tag)


def requeue(connection: sqlite3.Connection, job: str, actor: str, now: float) -> bool:
    """A dead or cancelled job waits again, at the end of its flow's line; see `Ledger.requeue`."""
    found = connection.execute(
        "SELECT module, flow FROM jobs WHERE id = ?"
        " AND (state IN ('dead', 'cancelled') OR state = 'waiting' AND hold IN ('hops', 'jobs'))",
        (job,),
    ).fetchone()
    if found is None:
        return False
    module, name = found
    flow = check_runnable(connection, job, module, name, now)
    hold = Hold.FLOW if flow.control is Control.PAUSED else ""
    change(
        connection,
        "state = 'waiting', hold = :hold, ready = :ready, priority = :priority, tag = :tag, revision = '', owner = '',"
        " scope = '', route = '', failures = '{}', failure = NULL, troubled_at = NULL, cancelling = 0,"
        " not_before = NULL, deadline = NULL, ended_at = NULL",
        "id = :job",
        {
            "job": job,
            "actor": actor,
            "now": now,
            "hold": hold,
            "ready": not hold,
            "priority": flow.priority,
            "tag": next_tag(connection, name, module),
        },
        state="'waiting'",
    )
    return True


def check_runnable(connection: sqlite3.Connection, job: str, module: str, name: str, now: float) -> FlowRow:
    """The flow's row. Raises ConflictError where no job of it, or of the module, may be queued by hand."""
    flow = open_flow(connection, name, now)
    if flow.control is Control.CANCELLED:
        raise ConflictError(f"job {job} belongs to the cancelled flow {name}; raise its root event anew instead")
    if not connection.execute("SELECT 1 FROM modules WHERE name = ?", (module,)).fetchone():
        raise ConflictError(f"job {job} is for the module {module}, which is gone; apply that module first")
    return flow


def _values(job: Job, flow: FlowRow, tag: int, now: float, max_jobs: int) -> dict[str, Any]:
    state = State.CANCELLED if flow.control is Control.CANCELLED and job.state is not State.COMMITTED else job.state
    hold = held(job, flow.control, beyond=flow.jobs >= max_jobs) if state is State.WAITING else None
    not_before = seconds(job.not_before)
    manifest = job.manifest if state is State.COMMITTED else None
    return {
        "id": job.id,
        "module": job.module,
        "flow": job.correlation_id,
        "event_id": job.event.id,
        "state": state.value,
        "run": job.run,
        "attempt": job.attempt,
        "hold": hold.value if hold else "",
        "ready": state is State.WAITING and hold is None and (not_before is None or not_before <= now),
        "priority": flow.priority,
        "tag": tag,
        "scope": job.scope,
        "revision": job.revision,
        "execution": job.execution if manifest is None else manifest.execution,
        "admitted_at": now,
        "started_at": seconds(job.started_at),
        "ended_at": None if state is State.WAITING else seconds(job.ended_at) or now,
        "not_before": not_before,
        "log": job.log,
        "failures": text(job.failures),
        "failure": None if job.failure is None else failure_text(job.failure),
        "history": f"[{change_text(now, state, job.attempt, ADMISSION, admission_note(job, state, hold))}]",
        "event": text(job.event),
    }
