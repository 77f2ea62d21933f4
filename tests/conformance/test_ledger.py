"""The SQLite ledger in memory and on a file, against the ledger's suite."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from ion.adapters.ledger.sqlite import SqliteLedger
from ion.adapters.sqlite.database import Database
from ion.ports.ledger import Ledger
from ion.testing.conformance.ledger import LedgerConformance
from ion.testing.conformance.ledger_stage import SetClock


class TestLedgerInMemory(LedgerConformance):
    @asynccontextmanager
    async def open_ledgers(self, clock: SetClock, max_jobs: int) -> AsyncIterator[tuple[Ledger, Ledger]]:
        """Memory cannot be shared between databases, so both ledgers share one."""
        async with Database(None, clock=clock) as database:
            yield SqliteLedger(database, max_jobs=max_jobs), SqliteLedger(database, max_jobs=max_jobs)


class TestLedgerInFile(LedgerConformance):
    synchronous = "normal"

    @asynccontextmanager
    async def open_ledgers(self, clock: SetClock, max_jobs: int) -> AsyncIterator[tuple[Ledger, Ledger]]:
        """Each ledger has a database of its own on one file, as two processes would."""
        with TemporaryDirectory(prefix="ion-ledger-") as folder:
            file = Path(folder) / "ion.db"
            async with (
                Database(file, synchronous=self.synchronous, clock=clock) as one,
                Database(file, synchronous=self.synchronous, clock=clock) as two,
            ):
                yield SqliteLedger(one, max_jobs=max_jobs), SqliteLedger(two, max_jobs=max_jobs)


class TestLedgerInFileWithPowerCuts(TestLedgerInFile):
    synchronous = "full"


async def test_guarantees_tell_the_store(tmp_path: Path) -> None:
    """A ledger on a file is durable and shared, in memory neither; both name their store as the database does."""
    async with Database(tmp_path / "ion.db") as file, Database(None) as memory:
        durable, volatile = SqliteLedger(file).guarantees, SqliteLedger(memory).guarantees
        assert (durable.store, durable.durable, durable.shared) == (file.store, True, True)
        assert (volatile.store, volatile.durable, volatile.shared) == (memory.store, False, False)
