"""Ledger and documents on a real server that speaks MongoDB's protocol, against the suites of every adapter.

A listener refuses what Azure Cosmos DB would.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from tests.stores.mongo_rules import CosmosRules, cosmos_rules
from tests.stores.mongo_server import MongoServer, mongo_server

from ion.adapters.documents.mongo import MongoDocuments
from ion.adapters.ledger.mongo import MongoLedger
from ion.adapters.mongo.database import MongoDatabase
from ion.ports.documents import Documents
from ion.ports.ledger import Ledger
from ion.testing.conformance.documents import DocumentsConformance, found, record
from ion.testing.conformance.ledger import LedgerConformance
from ion.testing.conformance.ledger_stage import SetClock

__all__ = ["cosmos_rules", "mongo_server"]


class TestMongoLedger(LedgerConformance):
    cosmos = False
    many = 1500  # the server took a minute for ten thousand

    @pytest.fixture(autouse=True)
    def server_of(self, mongo_server: MongoServer, cosmos_rules: CosmosRules) -> None:
        self.server, self.rules = mongo_server, cosmos_rules

    @asynccontextmanager
    async def open_ledgers(self, clock: SetClock, max_jobs: int) -> AsyncIterator[tuple[Ledger, Ledger]]:
        """Each ledger has a client of its own, as two processes would."""
        settings = self.server.settings(cosmos=self.cosmos, poll_s=0.05)
        async with (
            MongoDatabase(settings, clock=clock, listeners=[self.rules]) as one,
            MongoDatabase(settings, clock=clock, listeners=[self.rules]) as two,
        ):
            yield MongoLedger(one, max_jobs=max_jobs), MongoLedger(two, max_jobs=max_jobs)


class TestCosmosLedger(TestMongoLedger):
    """As it is opened for Azure Cosmos DB."""

    cosmos = True


class TestMongoDocuments(DocumentsConformance):
    one_order = False  # places are by the server's clock, as each process knows it

    @pytest.fixture(autouse=True)
    def server_of(self, mongo_server: MongoServer, cosmos_rules: CosmosRules) -> None:
        self.settings, self.rules = mongo_server.settings(), cosmos_rules

    def open_documents(self) -> AbstractAsyncContextManager[Documents]:
        return self.opened()

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Documents]:
        async with MongoDatabase(self.settings, listeners=[self.rules]) as database:
            yield MongoDocuments(database)

    def elsewhere(self) -> str:
        return f"""
from contextlib import asynccontextmanager
from ion.adapters.documents.mongo import MongoDocuments
from ion.adapters.mongo.database import MongoDatabase
from ion.adapters.mongo.settings import MongoSettings

@asynccontextmanager
async def open_documents():
    settings = MongoSettings(hosts={self.settings.hosts!r}, database={self.settings.database!r}, timeout_s=60.0)
    async with MongoDatabase(settings) as database:
        yield MongoDocuments(database)
"""

    async def test_a_record_of_megabytes_is_kept_in_parts(self) -> None:
        """No document on the server is too large for Azure Cosmos DB, and its parts go with the record."""
        long = "ü€𝄞" * 1_500_000
        async with self.opened() as documents, MongoDatabase(self.settings) as database:
            await documents.put([record("a", text=long), record("b")])
            assert (await documents.get(record("a").context.document_type, "a")).body == {"text": long}
            assert await found(documents) == ["a", "b"]
            first = await database.collection("parts").count_documents({})
            await documents.put([record("a", correlation_id="another", text=long)])
            assert await database.collection("parts").count_documents({}) == first > 1
            assert [one.body async for one in documents.flow("another")] == [{"text": long}]
            await documents.delete(record("a").context.document_type, ["a"])
            assert await database.collection("parts").count_documents({}) == 0
            assert await found(documents) == ["b"]
