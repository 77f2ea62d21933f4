"""Reading jobs: single ones, pages of a listing, what waits and what is late.

A listing walks the index that narrows most, in steps of a few hundred rows of which only the leading columns are read;
between two steps others get their turn. So a rare match in a million jobs holds nobody up.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from heapq import merge
from typing import Any, NamedTuple, Protocol, TypeVar

from ion.adapters.ledger.rows import SELECT, job_from
from ion.adapters.ledger.sqlite_jobs import jobs_of
from ion.adapters.ledger.verbs import load_of
from ion.errors import InvalidError, NotFoundError
from ion.model.job import Job, State
from ion.ports.ledger import JobFilter, JobPage, Load

_STEP = 500
_PREFIX_LEAST = 4
T = TypeVar("T")


class Reader(Protocol):
    """Runs a short read; `Database.read`."""

    def __call__(self, work: Callable[[sqlite3.Connection], T]) -> T: ...


def get(connection: sqlite3.Connection, job: str) -> Job:
    """See `Ledger.get`."""
    row = connection.execute(f"{SELECT} WHERE id = ?", (job,)).fetchone()
    if row is None:
        raise NotFoundError(f"there is no job {job}; `ion job list` shows those there are")
    return job_from(row)


async def query(read: Reader, which: JobFilter, most: int, after: str | None) -> JobPage:
    """A page of jobs in the order of admission; see `Ledger.query`."""
    position = _position(after)
    found: list[int] = []
    more = True
    while more and len(found) <= most:
        matching, position, more = read(partial(_step, which=which, position=position))
        found += matching
        await asyncio.sleep(0)
    page = found[:most]
    jobs = read(lambda connection: jobs_of(connection, page))
    return JobPage(jobs=tuple(jobs), after=str(page[-1]) if page and len(found) > most else None)


def _position(after: str | None) -> int:
    try:
        return int(after or 0)
    except ValueError:
        raise InvalidError(f"{after!r} is not where a page of jobs ended; give the last page's `after`") from None


def _step(connection: sqlite3.Connection, which: JobFilter, position: int) -> tuple[list[int], int, bool]:
    """The matches among the next candidates, how far this looked, and whether there may be more."""
    scans = [_scan(connection, drive, position) for drive in _driving(which)]
    # Each scan may stop at another place: only up to the nearest of them is everything known.
    full = [scan[-1][0] for scan in scans if len(scan) == _STEP]
    horizon = min(full, default=None)
    candidates = list(merge(*scans))
    if horizon is not None:
        candidates = [row for row in candidates if row[0] <= horizon]
    matching = [row[0] for row in candidates if _matches(which, row)]
    return matching, candidates[-1][0] if candidates else position, horizon is not None


class _Drive(NamedTuple):
    """What a query walks along: a condition with its value, and the index where SQLite would not choose it."""

    where: str
    value: str = ""
    by: str = ""


def _scan(connection: sqlite3.Connection, drive: _Drive, position: int) -> list[tuple[Any, ...]]:
    return connection.execute(
        f"SELECT seq, id, module, flow, event_id, state, owner FROM jobs {drive.by}"  # noqa: S608  our own constants
        f" WHERE {drive.where} AND seq > :position ORDER BY seq LIMIT :most",
        {"value": drive.value, "position": position, "most": _STEP},
    ).fetchall()


def _driving(which: JobFilter) -> list[_Drive]:
    """The index to walk; one for each state where states narrow most."""
    if len(which.id_prefix) >= _PREFIX_LEAST:
        return [_Drive("id >= :value AND id < :value || char(1114111)", which.id_prefix)]
    if which.event_id:
        return [_Drive("event_id = :value", which.event_id)]
    if which.correlation_id:
        return [_Drive("flow = :value", which.correlation_id)]
    if which.states:
        return [_in_state(state) for state in dict.fromkeys(which.states)]
    return [_Drive("1")]


def _in_state(state: State) -> _Drive:
    """Every state but `released`, which most jobs are in, has an index; those that run or are committed are few."""
    by = "" if state is State.RELEASED else f"INDEXED BY jobs_{state.value}"
    return _Drive(f"state = '{state.value}'", by=by)


def _matches(which: JobFilter, row: Sequence[Any]) -> bool:
    _, key, module, flow, event, state, owner = row
    return (
        key.startswith(which.id_prefix)
        and which.module in ("", module)
        and which.correlation_id in ("", flow)
        and which.event_id in ("", event)
        and which.owner in ("", owner)
        and (not which.states or state in which.states)
    )


def waiting(connection: sqlite3.Connection, now: float) -> dict[str, float | None]:
    """Modules with waiting jobs and when the next is due; one index step a module, however many jobs wait."""
    due: dict[str, float | None] = dict.fromkeys(_modules_in(connection, "jobs_due", "ready = 1"), 0.0)
    for module in _modules_in(connection, "jobs_later", "ready = 0 AND hold = ''"):
        if module not in due:
            (at,) = connection.execute(
                "SELECT min(not_before) FROM jobs INDEXED BY jobs_later"
                " WHERE state = 'waiting' AND ready = 0 AND hold = '' AND module = ?",
                (module,),
            ).fetchone()
            due[module] = 0.0 if at is None else max(0.0, at - now)  # None: it was taken or came due just now
    for module in _modules_in(connection, "jobs_held", "hold <> ''"):
        due.setdefault(module, None)
    return due


def _modules_in(connection: sqlite3.Connection, index: str, condition: str) -> list[str]:
    """The modules of an index that begins with them, by leaping from one to the next."""
    rows = connection.execute(
        f"WITH RECURSIVE leap(module) AS (SELECT min(module) FROM jobs INDEXED BY {index}"  # noqa: S608  our own constants
        f" WHERE state = 'waiting' AND {condition} UNION ALL SELECT (SELECT min(module) FROM jobs INDEXED BY {index}"
        f" WHERE state = 'waiting' AND {condition} AND module > leap.module) FROM leap WHERE leap.module IS NOT NULL)"
        " SELECT module FROM leap WHERE module IS NOT NULL"
    )
    return [module for (module,) in rows]


_WAITING = (("jobs_due", "ready = 1"), ("jobs_later", "ready = 0 AND hold = ''"), ("jobs_held", "hold <> ''"))
_LOST = "AND state IN ('dead', 'cancelled')"  # as the index has it
_ELSE = {State.RUNNING: ("jobs_running", ""), State.DEAD: ("jobs_lost", _LOST), State.CANCELLED: ("jobs_lost", _LOST)}


def load(connection: sqlite3.Connection, module: str, most: int, now: float) -> Load:
    """A module's jobs by state; see `Ledger.load`. Committed ones, few at any time, are found among those of all."""

    def counted(index: str, condition: str) -> tuple[int, float | None]:
        counts: tuple[int, float | None] = connection.execute(
            f"SELECT count(*), min(admitted_at) FROM (SELECT admitted_at FROM jobs INDEXED BY {index}"  # noqa: S608  our own constants
            f" WHERE module = ? AND {condition} LIMIT ?)",
            (module, most),
        ).fetchone()
        return counts

    waiting = [counted(index, f"state = 'waiting' AND {condition}") for index, condition in _WAITING]
    jobs = {State.WAITING: sum(count for count, _ in waiting)}
    jobs |= {state: counted(index, f"state = '{state}' {also}")[0] for state, (index, also) in _ELSE.items()}
    (jobs[State.COMMITTED],) = connection.execute(
        "SELECT count(*) FROM (SELECT module FROM jobs INDEXED BY jobs_committed WHERE state = 'committed' LIMIT ?)"
        " WHERE module = ?",
        (most, module),
    ).fetchone()
    return load_of(jobs, [at for _, at in waiting], now)


def overdue(connection: sqlite3.Connection, most: int, now: float) -> Sequence[Job]:
    """Running jobs past their deadline."""
    rows = connection.execute(
        "SELECT seq FROM jobs INDEXED BY jobs_running WHERE state = 'running' AND deadline <= ?"
        " ORDER BY deadline LIMIT ?",
        (now, most),
    )
    return jobs_of(connection, [seq for (seq,) in rows])


def running(connection: sqlite3.Connection, owner: str) -> Sequence[Job]:
    """The running jobs of an owner."""
    rows = connection.execute(
        "SELECT seq FROM jobs INDEXED BY jobs_running WHERE state = 'running' AND owner = ?", (owner,)
    )
    return jobs_of(connection, [seq for (seq,) in rows])
