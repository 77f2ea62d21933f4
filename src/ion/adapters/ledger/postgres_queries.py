"""Reading jobs and flows: single ones, pages of a listing, counts.

A listing walks the index that narrows most, in steps of a few thousand rows that the server looks through, each a
statement of its own. So a rare match in a million jobs holds nobody up.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from ion.adapters.ledger.postgres_rows import JOB
from ion.adapters.ledger.rows import job_from
from ion.adapters.ledger.verbs import load_of
from ion.adapters.postgres.database import Postgres, Row
from ion.errors import InvalidError, NotFoundError
from ion.model.job import Job, State
from ion.ports.ledger import Control, Flow, JobFilter, JobPage, Load, Open

_STEP = 2000
_PREFIX_LEAST = 4
_FLOW_PAGE = 200
_FLOW = "seq, id, control, priority, jobs_of(id), started_at"
_STATES = ", ".join(f"sum({state})" for state in State)


async def get(database: Postgres, job: str) -> Job:
    """See `Ledger.get`."""
    rows = await database.run(f"SELECT {JOB} FROM jobs WHERE id = %s", (job,))  # noqa: S608  a constant
    if not rows:
        raise NotFoundError(f"there is no job {job}; `ion job list` shows those there are")
    return job_from(rows[0])


async def query(database: Postgres, which: JobFilter, most: int, after: str | None) -> JobPage:
    """A page of jobs in the order of admission; see `Ledger.query`."""
    position = _position(after)
    statement, values = _step(which), _values(which)
    found: list[int] = []
    more = True
    while more and len(found) <= most:
        values |= {"after": position, "step": _STEP, "most": most + 1 - len(found)}
        ((matching, seen, position),) = await database.run(statement, values)
        found += matching
        more = seen == _STEP
    page = found[:most]
    rows = await database.run(f"SELECT {JOB} FROM jobs WHERE seq = ANY (%s::bigint[]) ORDER BY seq", (page,))  # noqa: S608
    return JobPage(
        jobs=tuple(job_from(row) for row in rows), after=str(page[-1]) if page and len(found) > most else None
    )


def _position(after: str | None) -> int:
    try:
        return int(after or 0)
    except ValueError:
        raise InvalidError(f"{after!r} is not where a page of jobs ended; give the last page's `after`") from None


def _step(which: JobFilter) -> str:
    """The matches among the next candidates, how many candidates there were, and where the last stands."""
    scan = "(SELECT place, id, module, flow, event_id, state, owner FROM jobs WHERE {} AND {order} > %(after)s"
    scan += " ORDER BY {order} LIMIT %(step)s)"
    scans = " UNION ALL ".join(
        scan.format(drive, order="seq" if drive == "true" else "place") for drive in _driving(which)
    )
    return (
        f"WITH candidates AS MATERIALIZED (SELECT * FROM ({scans}) AS scans ORDER BY place LIMIT %(step)s)"  # noqa: S608
        f" SELECT ARRAY(SELECT place FROM candidates WHERE {_matching(which)} ORDER BY place LIMIT %(most)s),"
        " count(*), coalesce(max(place), 0) FROM candidates"
    )


def _driving(which: JobFilter) -> Sequence[str]:
    """The index to walk; one for each state where states narrow most."""
    if len(which.id_prefix) >= _PREFIX_LEAST:
        return ["id >= %(prefix)s AND id < %(beyond)s"]
    if which.event_id:
        return ["event_id = %(event)s"]
    if which.correlation_id:
        return ["flow = %(flow)s"]
    if which.states:
        return [f"state = '{state.value}'" for state in dict.fromkeys(which.states)]
    return ["true"]


def _matching(which: JobFilter) -> str:
    conditions = {
        "starts_with(id, %(prefix)s)": which.id_prefix,
        "module = %(module)s": which.module,
        "flow = %(flow)s": which.correlation_id,
        "event_id = %(event)s": which.event_id,
        "owner = %(owner)s": which.owner,
        "state = ANY (%(states)s)": which.states,
    }
    return " AND ".join(condition for condition, given in conditions.items() if given) or "true"


def _values(which: JobFilter) -> dict[str, Any]:
    return {
        "prefix": which.id_prefix,
        "beyond": which.id_prefix + chr(0x10FFFF),
        "module": which.module,
        "flow": which.correlation_id,
        "event": which.event_id,
        "owner": which.owner,
        "states": [state.value for state in which.states],
    }


_LOADED = (
    ("waiting", "state = 'waiting' AND ready"),
    ("waiting", "state = 'waiting' AND NOT ready AND hold = ''"),
    ("waiting", "state = 'waiting' AND hold <> ''"),
    ("dead", "state = 'dead'"),
    ("cancelled", "state = 'cancelled'"),
)
_FEW = "SELECT '{0}', count(*), NULL::float8 FROM (SELECT module FROM jobs WHERE state = '{0}' LIMIT %(most)s) AS few"
_LOAD = " UNION ALL ".join(
    [
        f"SELECT '{state}', count(*), min(admitted_at) FROM (SELECT admitted_at FROM jobs"  # noqa: S608  our own constants
        f" WHERE module = %(module)s AND {condition} LIMIT %(most)s) AS few"
        for state, condition in _LOADED
    ]
    + [f"{_FEW.format(state)} WHERE module = %(module)s" for state in ("running", "committed")]
)


async def load(database: Postgres, module: str, most: int, now: float) -> Load:
    """A module's jobs by state; see `Ledger.load`. Those that run or are committed, few at any time, are found among
    those of all modules.
    """
    jobs: dict[State, int] = {}
    admitted = []
    for state, count, at in await database.run(_LOAD, {"module": module, "most": most}):
        jobs[State(state)] = jobs.get(State(state), 0) + count
        admitted.append(at if state == State.WAITING else None)
    return load_of(jobs, admitted, now)


async def open_jobs(database: Postgres, flow: str) -> Open:
    """A flow's open jobs, from its tallies."""
    ((waiting, running, committed, held),) = await database.run(
        "SELECT coalesce(sum(waiting), 0)::bigint, coalesce(sum(running), 0)::bigint,"
        " coalesce(sum(committed), 0)::bigint, coalesce(sum(held), 0)::bigint FROM tallies WHERE flow = %s",
        (flow,),
    )
    return Open(waiting=waiting, running=running, committed=committed, held=held)


async def tally(database: Postgres, flow: str) -> Mapping[tuple[str, State], int]:
    """How many jobs of a flow stand in each state, by module; without zeros."""
    rows = await database.run(
        f"SELECT module, {_STATES} FROM tallies WHERE flow = %s GROUP BY module",  # noqa: S608  our own states
        (flow,),
    )
    return {
        (module, state): int(count)
        for module, *counts in rows
        for state, count in zip(State, counts, strict=True)
        if count
    }


async def flow(database: Postgres, key: str) -> Flow:
    """See `Ledger.flow`."""
    rows = await database.run(f"SELECT {_FLOW} FROM flows WHERE id = %s", (key,))  # noqa: S608  a constant
    if not rows:
        raise NotFoundError(f"there is no flow {key}; `ion flow list` shows those there are")
    return _flow_from(rows[0])


async def flows(database: Postgres) -> AsyncIterator[Flow]:
    """All flows, newest first, in pages that go on behind the last flow of the one before."""
    before = 2**63 - 1
    while rows := await database.run(
        f"SELECT {_FLOW} FROM flows WHERE seq < %s ORDER BY seq DESC LIMIT %s",  # noqa: S608  a constant
        (before, _FLOW_PAGE),
    ):
        for row in rows:
            yield _flow_from(row)
        before = rows[-1][0]


def _flow_from(row: Row) -> Flow:
    _, key, control, priority, jobs, started_at = row
    return Flow(
        correlation_id=key,
        control=Control(control),
        priority=priority,
        jobs=jobs,
        started_at=datetime.fromtimestamp(started_at, UTC),
    )
