"""The documents in memory and in a file, against the suite of every adapter."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from ion.adapters.documents.sqlite import SqliteDocuments
from ion.adapters.sqlite.database import Database
from ion.model.record import Kind
from ion.ports.documents import Documents, RecordFilter
from ion.testing.conformance.documents import DocumentsConformance, record


@asynccontextmanager
async def open_file(path: Path) -> AsyncIterator[Documents]:
    async with Database(path) as database, SqliteDocuments(database) as documents:
        yield documents


class TestMemoryDocuments(DocumentsConformance):
    def open_documents(self) -> AbstractAsyncContextManager[Documents]:
        return open_memory()


@asynccontextmanager
async def open_memory() -> AsyncIterator[Documents]:
    async with Database(None) as database, SqliteDocuments(database) as documents:
        yield documents


class TestFileDocuments(DocumentsConformance):
    @pytest.fixture(autouse=True)
    def store(self, tmp_path: Path) -> None:
        self.path = tmp_path / "ion.db"

    def open_documents(self) -> AbstractAsyncContextManager[Documents]:
        return open_file(self.path)

    def elsewhere(self) -> str:
        return f"""
from contextlib import asynccontextmanager
from pathlib import Path
from ion.adapters.documents.sqlite import SqliteDocuments
from ion.adapters.sqlite.database import Database

@asynccontextmanager
async def open_documents():
    async with Database(Path({str(self.path)!r})) as database, SqliteDocuments(database) as documents:
        yield documents
"""

    async def test_a_bad_record_takes_its_whole_put_with_it(self) -> None:
        """Records are stored all or none, also where one of them cannot be written as JSON."""
        async with self.open_documents() as documents:
            with pytest.raises(TypeError):
                await documents.put([record("a"), record("b", value=object())])
            assert [one async for one in documents.query(RecordFilter())] == []


@pytest.mark.parametrize(
    "which",
    [
        RecordFilter(),
        RecordFilter(kind=Kind.INSIGHT),
        RecordFilter(name="n", kind=Kind.INSIGHT),
        RecordFilter(event_id="e", correlation_id="c"),
    ],
)
async def test_no_query_sorts(which: RecordFilter, tmp_path: Path) -> None:
    """A page costs what it gives: SQLite's own plan has no sorting step, so the first record comes at once."""
    async with Database(tmp_path / "ion.db") as database:
        statements: list[str] = []
        database.read(lambda connection: connection.set_trace_callback(statements.append))
        documents = SqliteDocuments(database)
        assert [one async for one in documents.query(which)] == []
        database.read(lambda connection: connection.set_trace_callback(None))
        plan = database.read(lambda connection: connection.execute(f"EXPLAIN QUERY PLAN {statements[-1]}").fetchall())
        assert [step for *_, step in plan if "TEMP B-TREE" in step] == []
