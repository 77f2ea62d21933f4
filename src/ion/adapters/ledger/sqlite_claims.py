"""How waiting jobs become running ones: what is due, in whose turn, with which devices."""

import sqlite3
from collections.abc import Sequence
from typing import Any

import msgspec

from ion.adapters.ledger.rows import COLUMNS, RETURNING, Row, change, job_from, text
from ion.model.job import Job
from ion.ports.ledger import Claim

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
_PROMOTE = f"UPDATE jobs SET ready = 1 WHERE seq IN (SELECT seq FROM ({_COME} LIMIT {_PROMOTE_MOST}))"  # noqa: S608


def anything_due(connection: sqlite3.Connection, asked: Claim, now: float) -> bool:
    """Whether a claim could get something: spares processes that were all woken the write lock."""
    return bool(connection.execute(_ANYTHING_DUE, _when(asked, now)).fetchone()[0])


def claim(connection: sqlite3.Connection, asked: Claim, now: float) -> Sequence[Job]:
    """Gives due jobs to an owner; see `Ledger.claim`."""
    if connection.execute("SELECT 1 FROM modules WHERE name = ? AND paused", (asked.module,)).fetchone():
        return ()
    free = _free_devices(connection, asked)
    most = _most(connection, asked, free)
    if most <= 0:
        return ()
    connection.execute(_PROMOTE, _when(asked, now))
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


def _when(asked: Claim, now: float) -> dict[str, Any]:
    far = None if asked.delay_most_s is None else now + asked.delay_most_s
    return {"module": asked.module, "now": now, "far": far}


def _take(connection: sqlite3.Connection, asked: Claim, most: int, now: float) -> list[Row]:
    return change(
        connection,
        "state = 'running', attempt = attempt + 1, owner = :actor, scope = :scope, started_at = :now, ended_at = NULL,"
        " deadline = :deadline, not_before = NULL, cancelling = 0, devices = '[]',"
        " revision = CASE revision WHEN '' THEN :revision ELSE revision END",
        "seq IN (SELECT seq FROM jobs INDEXED BY jobs_due WHERE state = 'waiting' AND ready = 1 AND module = :module"
        " ORDER BY priority DESC, tag, seq LIMIT :most)",
        {
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
