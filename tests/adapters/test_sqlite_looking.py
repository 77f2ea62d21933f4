"""What a look at the ledger in a file sees while another process changes it between two of its statements."""

import sqlite3
from contextlib import closing
from pathlib import Path

from ion.adapters.ledger.sqlite import SqliteLedger
from ion.adapters.ledger.sqlite_queries import waiting
from ion.adapters.sqlite.database import Database
from ion.testing.conformance.ledger_stage import SetClock, revision, waiting_job


async def test_a_job_that_is_taken_during_a_look_counts_as_due(tmp_path: Path) -> None:
    """The module was seen to have one that waits; when it is asked for how long, somebody else has it."""
    path = tmp_path / "ion.db"
    async with Database(path, clock=SetClock()) as database:
        ledger = SqliteLedger(database)
        await ledger.apply([revision()], "me")
        await ledger.admit([waiting_job(flow="one")])
        await database.write(lambda db: db.execute("UPDATE jobs SET ready = 0, not_before = 2e9"))
        with closing(sqlite3.connect(path)) as looking, closing(sqlite3.connect(path)) as other:

            def taken(statement: str) -> None:
                if statement.startswith("SELECT min(not_before)"):
                    other.execute("UPDATE jobs SET state = 'running'")
                    other.commit()

            looking.set_trace_callback(taken)
            assert waiting(looking, 0.0) == {"detect": 0.0}
