"""How jobs look: a table of many, a page of one, and the document for scripts."""

from collections import deque
from collections.abc import Sequence
from typing import Any

import click
import msgspec

from ion.cli.output import SUBJECT_MOST, facts, moment, plain, short, table
from ion.errors import NotFoundError
from ion.management.jobs import stored_log
from ion.management.report_text import duration, seconds_between, size
from ion.management.verbs import JobVerbs
from ion.management.verbs.jobs import JobDetails
from ion.model.event import FileRef
from ion.model.job import Change, Failure, Job, State
from ion.model.manifest import Manifest
from ion.model.record import key_values

FILES_SHOWN = 20
LOG_SHOWN = 10
LOG_END = 64 * 1024
"""So many bytes are read for the end of a log."""
LINE_MOST = 2000
HEADER = ("JOB", "MODULE", "STATE", "TRY", "ADMITTED", "TOOK", "EVENT", "SUBJECT", "FAILURE")


def listing(jobs: Sequence[Job]) -> None:
    """The table of `ion job list`."""
    table(HEADER, [_row(job) for job in jobs])


def _row(job: Job) -> tuple[str, ...]:
    return (
        short(job.id),
        plain(job.module),
        standing(job),
        str(job.attempt),
        moment(job.admitted_at),
        took(job),
        plain(job.event.type),
        plain(job.event.subject, SUBJECT_MOST),
        fault(job.failure),
    )


def standing(job: Job) -> str:
    """The job's state, and why it is not claimed although it waits."""
    return f"{job.state} (held: {job.hold})" if job.hold else job.state.value


def place(job: Job) -> str:
    """The provider that the rules of its module have chosen for it, and its priority there."""
    provider, _, priority = job.route.partition("@")[0].partition("!")
    return f"{provider}, priority {priority}" if priority not in ("", "0") else provider


def took(job: Job) -> str:
    """How long the last attempt ran, once the job has ended."""
    seconds = None if job.state in (State.WAITING, State.RUNNING) else seconds_between(job.started_at, job.ended_at)
    return "-" if seconds is None else duration(seconds)


def fault(failure: Failure | None) -> str:
    """A failure in one line."""
    return f"{failure.kind}: {plain(failure.message)}" if failure else ""


def view(job: Job, results: Manifest | None = None) -> dict[str, Any]:
    """The job as a document. The manifest's text is left out of the row; it stands beside it if it is given."""
    document: dict[str, Any] = msgspec.to_builtins(job)
    if job.manifest is not None:
        document["manifest"].pop("inline", None)
    # Fields at their defaults are not stored; scripts should find these always.
    document |= {"state": job.state.value, "attempt": job.attempt, "run": job.run}
    if results is not None:  # what is at its default may be there or not, by which way it came
        document["results"] = {key: value for key, value in msgspec.to_builtins(results).items() if value != {}}
    return document


async def show_job(details: JobDetails, jobs: JobVerbs) -> None:
    """The page of `ion job show`."""
    job, results = details.job, details.results
    event = job.event
    facts(
        [
            ("job", job.id),
            ("module", plain(job.module) + (f" (revision {job.revision})" if job.revision else "")),
            ("state", f"{standing(job)}, attempt {job.attempt}" if job.attempt else standing(job)),
            ("failure", fault(job.failure)),
            ("note", "it raised nothing, though its module declares events" if details.silent else ""),
            ("failed", ", ".join(f"{count} {kind}" for kind, count in job.failures.items())),
            ("flow", plain(job.correlation_id)),
            ("event", f"{plain(event.type)} {event.id}"),
            ("subject", plain(event.subject)),
            ("parent", plain(event.parent_id)),
            ("admitted", moment(job.admitted_at)),
            ("ran", f"{moment(job.started_at)}, {took(job)}" if job.started_at else ""),
            ("runs at", place(job)),
            ("priority", f"{job.priority}" if job.priority else ""),
            ("due", moment(job.not_before) if job.not_before else ""),
        ]
    )
    _section("data", [f"{plain(pair['key'])} = {plain(pair['value'], 200)}" for pair in key_values(event.data)])
    _files("files in", event.files)
    if results is not None:
        _results(results)
    _section("history", [_change(change) for change in job.history])
    lines = await _last_lines(job, jobs)
    _section(f"log (its end; all of it: ion job logs {short(job.id)})", [plain(line, LINE_MOST) for line in lines])


def _results(results: Manifest) -> None:
    _files("files out", results.files)
    _section("insights", [f"{plain(i.key)} = {plain(i.value, 200)}" for i in results.insights])
    _section("events", [f"{plain(e.type)} {e.id} {plain(e.subject)}".rstrip() for e in results.events])


def _files(title: str, files: Sequence[FileRef]) -> None:
    _section(title, [f"{plain(file.path)}  {size(file.size)}" for file in files])


def _change(change: Change) -> str:
    attempt = f", attempt {change.attempt}" if change.attempt else ""
    note = f": {plain(change.note)}" if change.note else ""
    return f"{moment(change.at)}  {change.state}{attempt}, by {plain(change.actor)}{note}"


def _section(title: str, lines: Sequence[str]) -> None:
    if not lines:
        return
    click.echo(f"\n{title}")
    for line in lines[:FILES_SHOWN] if title != "history" else lines:
        click.echo(f"  {line}")
    if title != "history" and len(lines) > FILES_SHOWN:
        click.echo(f"  and {len(lines) - FILES_SHOWN} more; --json has all")


async def _last_lines(job: Job, jobs: JobVerbs) -> Sequence[str]:
    last: deque[bytes] = deque(maxlen=LOG_SHOWN)
    rest = b""
    try:
        async for chunk in jobs.log(job=job.id, start=-LOG_END):
            *lines, rest = (rest + chunk).split(b"\n")
            last.extend(lines)
    except NotFoundError:
        return [f"(its log {stored_log(job)} is gone)"]
    return [line.decode(errors="replace") for line in ([*last, rest] if rest else last)]
