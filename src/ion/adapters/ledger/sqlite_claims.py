"""How waiting jobs become running ones: what is due, in whose turn, with which devices."""

import sqlite3
from collections.abc import Sequence
from typing import Any

import msgspec

from ion.adapters.ledger.rows import COLUMNS, RETURNING, SELECT, Row, change, job_from, text
from ion.model.job import Job
from ion.ports.ledger import Claim, Move

_PROMOTE_MOST = 1000
_TAG, _PRIORITY = COLUMNS.split(", ").index("tag"), COLUMNS.split(", ").index("priority")


_LATER = (
    "SELECT seq FROM jobs INDEXED BY jobs_later WHERE state = 'waiting' AND ready = 0 AND hold = ''"
    " AND module = :module AND not_before"
)
_COME = f"{_LATER} <= :now UNION ALL {_LATER} > :far"
"""Delayed jobs whose time has come, or cannot be true. Two ranges: with OR it would look at all that are delayed."""
_ANYTHING_DUE = (
    "SELECT EXISTS (SELECT 1 FROM jobs INDEXED BY jobs_due"  # noqa: S608  our own constants
    f" WHERE state = 'waiting' AND ready = 1 AND module = :module) OR EXISTS ({_COME})"
)
_ROUTES = (
    "WITH RECURSIVE leap(route) AS (SELECT min(route) FROM jobs INDEXED BY jobs_due"  # noqa: S608  our own constants
    " WHERE state = 'waiting' AND ready = 1 AND module = :module UNION ALL"
    " SELECT (SELECT min(route) FROM jobs INDEXED BY jobs_due WHERE state = 'waiting' AND ready = 1"
    " AND module = :module AND route > leap.route) FROM leap WHERE leap.route IS NOT NULL)"
    " SELECT route FROM leap WHERE route IS NOT NULL UNION"
    f" SELECT route FROM jobs WHERE seq IN (SELECT seq FROM ({_COME} LIMIT {_PROMOTE_MOST}))"
)
_PROMOTE = f"UPDATE jobs SET ready = 1 WHERE seq IN (SELECT seq FROM ({_COME} LIMIT {_PROMOTE_MOST}))"  # noqa: S608

_CROWD = f"SELECT count(*) = {_PROMOTE_MOST} FROM ({_COME} LIMIT {_PROMOTE_MOST})"  # noqa: S608  our own constants


def anything_due(connection: sqlite3.Connection, asked: Claim, now: float) -> bool:
    """Whether a claim could get something: spares processes that were all woken the write lock."""
    return bool(connection.execute(_ANYTHING_DUE, _when(asked.module, asked.delay_most_s, now)).fetchone()[0])


def routes(connection: sqlite3.Connection, module: str, delay_most_s: float | None, now: float) -> frozenset[str]:
    """The routes of a module's due jobs, by leaping from one to the next; see `Ledger.routes`."""
    return frozenset(row[0] for row in connection.execute(_ROUTES, _when(module, delay_most_s, now)))


def is_crowd(connection: sqlite3.Connection, module: str, delay_most_s: float | None, now: float) -> bool:
    """Whether the time of more jobs has come than are put in line, or looked at, in one go."""
    return bool(connection.execute(_CROWD, _when(module, delay_most_s, now)).fetchone()[0])


def promote(connection: sqlite3.Connection, module: str, delay_most_s: float | None, now: float) -> None:
    """Puts those in line whose time has come, or cannot be true."""
    connection.execute(_PROMOTE, _when(module, delay_most_s, now))


def on_route(
    connection: sqlite3.Connection, module: str, route: str, most: int, *, delay_most_s: float | None, now: float
) -> Sequence[Job]:
    """The first jobs of a route; see `Ledger.on_route`."""
    values = {**_when(module, delay_most_s, now), "route": route, "most": most}
    connection.execute(_PROMOTE, values)
    which = f"WHERE seq IN (SELECT seq FROM ({_line('route')})) ORDER BY priority DESC, tag, seq"  # noqa: S608  our own
    rows = connection.execute(f"{SELECT} {which}", values)
    return [job_from(row) for row in rows]


def reroute(connection: sqlite3.Connection, moves: Sequence[Move], actor: str, now: float) -> int:
    """Puts waiting jobs onto other routes; see `Ledger.reroute`."""
    done = 0
    for move in moves:
        values = {"job": move.job, "old": move.old, "new": move.new, "actor": actor, "note": move.note, "now": now}
        moved = change(connection, "route = :new", "id = :job AND state = 'waiting' AND route = :old", values)
        done += moved.rowcount
    return done


def claim(connection: sqlite3.Connection, asked: Claim, now: float) -> Sequence[Job]:
    """Gives due jobs to an owner; see `Ledger.claim`."""
    if connection.execute("SELECT 1 FROM modules WHERE name = ? AND paused", (asked.module,)).fetchone():
        return ()
    free = _free_devices(connection, asked)
    most = _most(connection, asked, free)
    if most <= 0:
        return ()
    connection.execute(_PROMOTE, _when(asked.module, asked.delay_most_s, now))
    rows = _take(connection, asked, most, now)
    rows.sort(key=lambda row: (-row[_PRIORITY], row[_TAG], row[0]))
    _remember_turn(connection, asked.module, max((row[_TAG] for row in rows), default=0))
    jobs = [job_from(row) for row in rows]
    if not asked.gpus_each:
        return jobs
    return [_equip(connection, job, free[n * asked.gpus_each :][: asked.gpus_each]) for n, job in enumerate(jobs)]


def _free_devices(connection: sqlite3.Connection, asked: Claim) -> list[str]:
    if not asked.gpus_each:
        return []
    taken = {device for (device,) in connection.execute("SELECT device FROM devices WHERE scope = ?", (asked.scope,))}
    return [device for device in dict.fromkeys(asked.devices) if device not in taken]


def _most(connection: sqlite3.Connection, asked: Claim, free: list[str]) -> int:
    most = asked.most
    if asked.gpus_each:
        most = min(most, len(free) // asked.gpus_each)
    if asked.module_most is not None:
        (running,) = connection.execute(
            "SELECT count(*) FROM jobs INDEXED BY jobs_running WHERE state = 'running' AND module = ?", (asked.module,)
        ).fetchone()
        most = min(most, asked.module_most - running)
    return most


def _when(module: str, delay_most_s: float | None, now: float) -> dict[str, Any]:
    return {"module": module, "now": now, "far": None if delay_most_s is None else now + delay_most_s}


def _line(route: str) -> str:
    """The first due jobs on the route that this parameter holds."""
    return (
        "SELECT * FROM (SELECT seq, priority, tag FROM jobs INDEXED BY jobs_due WHERE state = 'waiting'"  # noqa: S608  our own constants
        f" AND ready = 1 AND module = :module AND route = :{route} ORDER BY priority DESC, tag, seq LIMIT :most)"
    )


def _take(connection: sqlite3.Connection, asked: Claim, most: int, now: float) -> list[Row]:
    routes = {f"route{n}": route for n, route in enumerate(asked.routes)}
    line = _line("route0")
    if len(routes) > 1:
        line = f"{' UNION ALL '.join(map(_line, routes))} ORDER BY priority DESC, tag, seq LIMIT :most"
    return change(
        connection,
        "state = 'running', attempt = attempt + 1, owner = :actor, scope = :scope, started_at = :now, ended_at = NULL,"
        " deadline = :deadline, not_before = NULL, cancelling = 0, devices = '[]',"
        " revision = CASE revision WHEN '' THEN :revision ELSE revision END,"
        " route = CASE :fixed WHEN '' THEN route ELSE :fixed END",
        f"seq IN (SELECT seq FROM ({line}))",  # noqa: S608  our own constants
        {
            **routes,
            "fixed": asked.route,
            "module": asked.module,
            "most": most,
            "actor": asked.owner,
            "scope": asked.scope,
            "now": now,
            "revision": asked.revision,
            "deadline": now + asked.deadline_s,
        },
        state="'running'",
        rise=1,
        returning=RETURNING,
    ).fetchall()


def _remember_turn(connection: sqlite3.Connection, module: str, tag: int) -> None:
    if tag:
        connection.execute(
            "INSERT INTO turns (module, tag) VALUES (?, ?) ON CONFLICT DO UPDATE SET tag = max(tag, excluded.tag)",
            (module, tag),
        )


def _equip(connection: sqlite3.Connection, job: Job, devices: list[str]) -> Job:
    connection.executemany(
        "INSERT INTO devices (scope, device, job) VALUES (?, ?, ?)", [(job.scope, device, job.id) for device in devices]
    )
    connection.execute("UPDATE jobs SET devices = ? WHERE id = ?", (text(devices), job.id))
    return msgspec.structs.replace(job, devices=tuple(devices))
