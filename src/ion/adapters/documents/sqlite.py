"""Documents in SQLite: one table of records, beside the ledger's.

The memory adapter is this one on a database in memory. A query reads page after page, each a short read of its own that
goes on behind the last row it gave, so a listing of any length holds nobody up and a slow reader holds nothing open.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Any, Self

import msgspec

from ion.adapters.sqlite.database import Database
from ion.errors import NotFoundError
from ion.model.record import Context, Kind, Record
from ion.ports.documents import Documents, DocumentsGuarantees, RecordFilter

_PAGE_ROWS = 500
_PAGE_BYTES = 4 * 1024 * 1024
_COLUMNS = "seq, kind, id, name, event_id, correlation_id, parent_event_id, body"
_PUT = """
INSERT INTO records (kind, id, name, event_id, correlation_id, parent_event_id, body) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (kind, id) DO UPDATE SET name = excluded.name, event_id = excluded.event_id,
    correlation_id = excluded.correlation_id, parent_event_id = excluded.parent_event_id, body = excluded.body
"""

_body = msgspec.json.Decoder(dict[str, Any])


class SqliteDocuments(Documents):
    """Documents on an open database, which the caller closes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def guarantees(self) -> DocumentsGuarantees:
        on_disk = self._database.path is not None
        return DocumentsGuarantees(durable=on_disk, shared=on_disk)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leaves nothing behind: the database is the caller's."""

    async def put(self, records: Sequence[Record]) -> None:
        if not records:
            return
        rows = [_row(record) for record in records]
        await self._database.write(lambda connection: connection.executemany(_PUT, rows) and None)

    async def get(self, kind: Kind, record_id: str) -> Record:
        query = f"SELECT {_COLUMNS} FROM records WHERE kind = ? AND id = ?"  # noqa: S608  a constant
        row = self._database.read(lambda connection: connection.execute(query, (kind, record_id)).fetchone())
        if row is None:
            raise NotFoundError(f"there is no {kind} record with id {record_id!r}; list the flow's records to find it")
        return _record(row)

    async def delete(self, kind: Kind, record_ids: Sequence[str]) -> int:
        ids = msgspec.json.encode(list(record_ids)).decode()
        delete = "DELETE FROM records WHERE kind = ? AND id IN (SELECT value FROM json_each(?))"
        return await self._database.write(lambda connection: connection.execute(delete, (kind, ids)).rowcount)

    async def query(self, which: RecordFilter) -> AsyncIterator[Record]:
        conditions, values = _conditions(which)
        query = f"SELECT {_COLUMNS} FROM records WHERE {conditions} AND seq > ? ORDER BY seq LIMIT ?"  # noqa: S608  bound
        after = 0
        while rows := self._page(query, (*values, after, _PAGE_ROWS)):
            for row in rows:
                yield _record(row)
            after = rows[-1][0]
            await asyncio.sleep(0)

    def _page(self, query: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        return self._database.read(lambda connection: _bounded(connection.execute(query, values)))


def _bounded(cursor: sqlite3.Cursor) -> list[tuple[Any, ...]]:
    """The rows of one page; an insight may be megabytes, so a page is bounded in bytes too."""
    rows, size = [], 0
    for row in cursor:
        rows.append(row)
        size += len(row[-1])
        if size > _PAGE_BYTES:
            break
    cursor.close()  # left half-way it would keep its snapshot, and the log from being cut
    return rows


def _conditions(which: RecordFilter) -> tuple[str, tuple[str, ...]]:
    """The narrowest condition uses its index, which gives rows in order; a plus keeps SQLite from using the others',
    after which it would sort.
    """
    named = {
        "event_id": which.event_id,
        "correlation_id": which.correlation_id,
        "name": which.name,
        "+kind": which.kind or "",
    }
    given = [(column, value) for column, value in named.items() if value]
    conditions = [
        f"{column if place == 0 else '+' + column.lstrip('+')} = ?" for place, (column, _) in enumerate(given)
    ]
    return " AND ".join(conditions) or "1", tuple(str(value) for _, value in given)


def _row(record: Record) -> tuple[str, ...]:
    context = record.context
    return (
        context.document_type,
        record.id,
        context.name,
        context.event_id,
        context.correlation_id,
        context.parent_event_id,
        msgspec.json.encode(record.body).decode(),
    )


def _record(row: tuple[Any, ...]) -> Record:
    _, kind, record_id, name, event_id, correlation_id, parent, body = row
    context = Context(
        name=name,
        event_id=event_id,
        correlation_id=correlation_id,
        parent_event_id=parent,
        document_type=Kind(kind),
    )
    return Record(id=record_id, context=context, body=_body.decode(body))
