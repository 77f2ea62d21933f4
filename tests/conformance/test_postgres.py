"""The ledger and the documents on PostgreSQL, against the suites of every adapter, on a real server."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from tests.stores.postgres_server import PostgresServer, postgres_server

from ion.adapters.documents.postgres import PostgresDocuments
from ion.adapters.ledger.postgres import PostgresLedger
from ion.adapters.postgres.database import Postgres
from ion.adapters.postgres.settings import PostgresSettings
from ion.errors import InvalidError
from ion.ports.documents import Documents, DocumentsGuarantees, RecordFilter
from ion.ports.ledger import Ledger
from ion.testing.conformance.documents import DocumentsConformance, record
from ion.testing.conformance.ledger import LedgerConformance
from ion.testing.conformance.ledger_stage import SetClock


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


class TestPostgresLedger(LedgerConformance):
    @pytest.fixture(autouse=True)
    def place(self, server: PostgresServer) -> None:
        self.server = server

    @asynccontextmanager
    async def open_ledgers(self, clock: SetClock, max_jobs: int) -> AsyncIterator[tuple[Ledger, Ledger]]:
        """Each ledger has a pool and a listener of its own, as two processes would."""
        settings = self.server.settings()
        async with Postgres(settings, clock=clock) as one, Postgres(settings, clock=clock) as two:
            yield PostgresLedger(one, max_jobs=max_jobs), PostgresLedger(two, max_jobs=max_jobs)


@asynccontextmanager
async def open_documents(settings: PostgresSettings) -> AsyncIterator[Documents]:
    async with Postgres(settings) as database, PostgresDocuments(database) as documents:
        yield documents


class TestPostgresDocuments(DocumentsConformance):
    @pytest.fixture(autouse=True)
    def store(self, server: PostgresServer) -> None:
        self.settings = server.settings()

    def open_documents(self) -> AbstractAsyncContextManager[Documents]:
        return open_documents(self.settings)

    def elsewhere(self) -> str:
        return f"""
from contextlib import asynccontextmanager
from ion.adapters.documents.postgres import PostgresDocuments
from ion.adapters.postgres.database import Postgres
from ion.adapters.postgres.settings import PostgresSettings

@asynccontextmanager
async def open_documents():
    async with Postgres({self.settings!r}) as database, PostgresDocuments(database) as documents:
        yield documents
"""

    async def test_a_bad_record_takes_its_whole_put_with_it(self) -> None:
        """Records are stored all or none, also where one of them cannot be written as JSON."""
        async with self.open_documents() as documents:
            with pytest.raises(TypeError):
                await documents.put([record("a"), record("b", value=object())])
            assert [one async for one in documents.query(RecordFilter())] == []

    async def test_of_one_record_put_twice_at_once_the_last_counts(self) -> None:
        """It keeps the place of the first."""
        async with self.open_documents() as documents:
            await documents.put([record("a"), record("b"), record("a", new=True)])
            found = [one async for one in documents.query(RecordFilter())]
            assert [(one.id, one.body) for one in found] == [("a", {"new": True}), ("b", {})]

    async def test_a_text_that_the_server_cannot_keep_is_refused(self) -> None:
        """A NUL character in an id, or half of a surrogate pair, is refused with a sentence and stores nothing."""
        async with self.open_documents() as documents:
            for key in ("a\0b", "a\ud800"):
                with pytest.raises(InvalidError, match="cannot"):
                    await documents.put([record("good"), record(key)])
            assert [one async for one in documents.query(RecordFilter())] == []


async def test_guarantees_tell_the_store(server: PostgresServer) -> None:
    """Both are durable and shared; the ledger names its schema, without a password."""
    settings = server.settings(password="not to be seen")
    async with Postgres(settings) as database:
        guarantees = PostgresLedger(database).guarantees
        assert (guarantees.store, guarantees.durable, guarantees.shared) == (settings.place, True, True)
        assert PostgresDocuments(database).guarantees == DocumentsGuarantees(durable=True, shared=True)
    assert settings.schema in settings.place
    assert "not to be seen" not in f"{settings!r} {settings.place}"
