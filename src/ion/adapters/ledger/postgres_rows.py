"""A job as a row of PostgreSQL and back; what is the same in every store is in `rows`."""

from collections.abc import Sequence
from typing import Any

from ion.adapters.ledger.rows import clipped, failure_text, seconds, text
from ion.model.job import Job, State
from ion.model.manifest import ManifestRef

HISTORY = "'[' || array_to_string(history, ',') || ']'"
JOB = (
    "seq, id, module, event, run, state, attempt, hold, priority, tag, owner, scope, revision, execution, devices,"
    " failures::text, troubled_at, failure, manifest, cursor, log, cancelling, admitted_at, started_at, ended_at,"
    f" not_before, deadline, {HISTORY}, route"
)
"""The columns that `rows.job_from` reads."""


def admissions(jobs: Sequence[Job]) -> str:
    """Jobs as the function `admit` takes them: an array of rows, each id once."""
    once = {job.id: job for job in reversed(jobs)}
    return text([_row(number, job) for number, job in enumerate(reversed(once.values()))])


def _row(number: int, job: Job) -> dict[str, Any]:
    manifest = job.manifest if job.state is State.COMMITTED else None
    return {
        "n": number,
        "id": job.id,
        "module": job.module,
        "flow": job.correlation_id,
        "event_id": job.event.id,
        "state": job.state.value,
        "run": job.run,
        "attempt": job.attempt,
        "hold": job.hold.value if job.hold else "",
        "scope": job.scope,
        "revision": job.revision,
        "execution": job.execution if manifest is None else manifest.execution,
        "started_at": seconds(job.started_at),
        "ended_at": seconds(job.ended_at),
        "not_before": seconds(job.not_before),
        "log": job.log,
        "failures": job.failures,
        "failure": None if job.failure is None else failure_text(job.failure),
        "manifest": None if manifest is None else text(manifest),
        "event": text(job.event),
        "failed": None if job.failure is None else note_text(f"{job.failure.kind}: {job.failure.message}"),
    }


def decisions(asked: Sequence[tuple[str, int, ManifestRef]]) -> str:
    """Commits (job, attempt, manifest) as the function `commit_jobs` takes them."""
    return text(
        [
            {
                "n": number,
                "id": job,
                "attempt": attempt,
                "execution": manifest.execution,
                "log": manifest.log,
                "manifest": text(manifest),
            }
            for number, (job, attempt, manifest) in enumerate(asked)
        ]
    )


def note_text(what: str) -> str:
    """A note for a history, as JSON."""
    return text(clipped(what))
