"""Ten thousand events of one job: how long the relay takes to record them all and to admit what they start."""

import asyncio
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from bench.measure import folder, line, root, served

from ion.dispatcher.relay import CHUNK
from ion.management.events import raise_events
from ion.management.run import until_quiet
from ion.model.job import State
from ion.ports.ledger import JobFilter

MANY = 10_000
PIPELINE = """
ion: 1
modules:
  many: {command: [python3, many.py], on: go, emits: part}
  next: {command: 'true', on: part}
"""
PROGRAM = f"""
import os
for number in range({MANY}):
    with open(os.environ["ION_DIR"] + f"/out/events/{{number}}.json", "w") as event:
        event.write('{{"type": "part", "subject": "%d"}}' % number)
"""
ROWS = "SELECT * FROM jobs", "SELECT * FROM records"


async def ion(place: Path) -> float:
    """Seconds from the commit of the job that raised them to its release."""
    (place / "many.py").write_text(PROGRAM)
    async with served(place, PIPELINE) as (stores, _):
        await stores.ledger.pause_module("next", paused=True, actor="bench")
        raised = await raise_events([root("go")], gateway="bench", ledger=stores.ledger, blobs=stores.blobs)
        await until_quiet(stores.ledger, raised[0].event.correlation_id)
        (job,) = (await stores.ledger.query(JobFilter(module="many"))).jobs
        tally = await stores.ledger.tally(raised[0].event.correlation_id)
    if job.state is not State.RELEASED or tally["next", State.WAITING] != MANY:
        sys.exit(f"bench: the events were not relayed as they should: {job.state}, {tally}")
    at = {change.state: change.at for change in job.history}
    return (at[State.RELEASED] - at[State.COMMITTED]).total_seconds()


def floor(place: Path) -> float:
    """Seconds for the same rows in tables without an index, as many a transaction and as durable."""
    with closing(sqlite3.connect(place / ".ion/ion.db")) as full:
        tables = [full.execute(rows).fetchall() for rows in ROWS]
    with closing(sqlite3.connect(place / "bare.db", isolation_level=None)) as bare:
        bare.execute("PRAGMA journal_mode = WAL")
        bare.execute("PRAGMA synchronous = NORMAL")
        for number, rows in enumerate(tables):
            bare.execute(f"CREATE TABLE t{number} ({', '.join(f'c{n}' for n in range(len(rows[0])))})")
        began = time.perf_counter()
        for start in range(0, MANY, CHUNK):
            bare.execute("BEGIN IMMEDIATE")
            for number, rows in enumerate(tables):
                insert(bare, f"t{number}", rows[start : start + CHUNK])
            bare.execute("COMMIT")
        return time.perf_counter() - began


def insert(connection: sqlite3.Connection, table: str, rows: list[Any]) -> None:
    connection.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(rows[0]))})", rows)


def main() -> None:
    with folder() as place:
        took = asyncio.run(ion(place))
        line(
            f"{MANY:,} events of one job relayed", f"{took:.2f} s", f"{floor(place):.2f} s", "goal 5; floor: bare rows"
        )
