"""Documents in PostgreSQL: one table of records, beside the ledger's.

A query walks the index that narrows most, in steps that the server looks through, and reads page after page, each by
statements of its own that go on behind the last row. So a listing of any length, or a search for what is rare, holds
nobody up, and a slow reader holds nothing open.
"""

from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Any, Self

import msgspec

from ion.adapters.postgres.database import Postgres, Row
from ion.errors import NotFoundError
from ion.model.record import Context, Kind, Record
from ion.ports.documents import Documents, DocumentsGuarantees, RecordFilter

_STEP_ROWS = 2000
_PAGE_ROWS = 500
_PAGE_BYTES = 4 * 1024 * 1024
_COLUMNS = "seq, kind, id, name, event_id, correlation_id, parent_event_id, body"
_PUT = """
INSERT INTO records (kind, id, name, event_id, correlation_id, parent_event_id, body)
SELECT kind, id, name, event_id, correlation_id, parent_event_id, body
FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[])
  WITH ORDINALITY AS put (kind, id, name, event_id, correlation_id, parent_event_id, body, place)
ORDER BY place
ON CONFLICT (kind, id) DO UPDATE SET name = excluded.name, event_id = excluded.event_id,
  correlation_id = excluded.correlation_id, parent_event_id = excluded.parent_event_id, body = excluded.body
"""
# The matches among the next candidates, as many as make a page, how many candidates there were, and where the last is.
# An insight may be megabytes, so a page is bounded in bytes too; its first row is in it whatever its size.
_STEP = f"""
WITH candidates AS MATERIALIZED (
  SELECT seq, kind, name, correlation_id, event_id, octet_length(body) AS size
  FROM records WHERE {{drive}} AND {{order}} > %(after)s ORDER BY {{order}} LIMIT {_STEP_ROWS}
), matching AS MATERIALIZED (
  SELECT seq, sum(size) OVER (ORDER BY seq) - size AS before FROM candidates WHERE {{matching}}
)
SELECT ARRAY(SELECT seq FROM matching WHERE before < {_PAGE_BYTES} ORDER BY seq LIMIT {_PAGE_ROWS}),
  (SELECT count(*) FROM matching), count(*), coalesce(max(seq), 0) FROM candidates
"""  # noqa: S608  our own constants
_GET = f"SELECT {_COLUMNS} FROM records WHERE seq = ANY (%s::bigint[]) ORDER BY seq"  # noqa: S608  a constant

_body = msgspec.json.Decoder(dict[str, Any])


class PostgresDocuments(Documents):
    """Documents in an open schema, which the caller closes."""

    def __init__(self, database: Postgres) -> None:
        self._database = database

    @property
    def guarantees(self) -> DocumentsGuarantees:
        return DocumentsGuarantees(durable=True, shared=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leaves nothing behind: the database is the caller's."""

    async def put(self, records: Sequence[Record]) -> None:
        if not records:
            return
        # Of one that comes twice the last counts, in the place of the first.
        rows = {(record.context.document_type, record.id): _row(record) for record in records}
        await self._database.run(_PUT, [list(column) for column in zip(*rows.values(), strict=True)])

    async def get(self, kind: Kind, record_id: str) -> Record:
        query = f"SELECT {_COLUMNS} FROM records WHERE kind = %s AND id = %s"  # noqa: S608  a constant
        rows = await self._database.run(query, (kind.value, record_id))
        if not rows:
            raise NotFoundError(f"there is no {kind} record with id {record_id!r}; list the flow's records to find it")
        return _record(rows[0])

    async def delete(self, kind: Kind, record_ids: Sequence[str]) -> int:
        gone = await self._database.run(
            "DELETE FROM records WHERE kind = %s AND id = ANY (%s::text[]) RETURNING 1", (kind.value, list(record_ids))
        )
        return len(gone)

    async def query(self, which: RecordFilter) -> AsyncIterator[Record]:
        statement, values = _statement(which)
        after, more = 0, True
        while more:
            ((page, matching, seen, last),) = await self._database.run(statement, {**values, "after": after})
            for row in await self._database.run(_GET, (page,)) if page else ():
                yield _record(row)
            whole = len(page) == matching
            after = last if whole else page[-1]
            more = seen == _STEP_ROWS or not whole


def _statement(which: RecordFilter) -> tuple[str, dict[str, str]]:
    """What a step of a query asks: the narrowest condition drives it along its index, all together must match."""
    named = {
        "event_id": which.event_id,
        "correlation_id": which.correlation_id,
        "name": which.name,
        "kind": which.kind.value if which.kind else "",
    }
    given = {column: value for column, value in named.items() if value}
    conditions = [f"{column} = %({column})s" for column in given]
    indexed = conditions[0] if next(iter(given), "kind") != "kind" else ""
    drive, order = (indexed, "place") if indexed else ("true", "seq")
    return _STEP.format(drive=drive, order=order, matching=" AND ".join(conditions) or "true"), given


def _row(record: Record) -> tuple[str, ...]:
    context = record.context
    return (
        context.document_type.value,
        record.id,
        context.name,
        context.event_id,
        context.correlation_id,
        context.parent_event_id,
        msgspec.json.encode(record.body).decode(),
    )


def _record(row: Row) -> Record:
    _, kind, record_id, name, event_id, correlation_id, parent, body = row
    context = Context(
        name=name,
        event_id=event_id,
        correlation_id=correlation_id,
        parent_event_id=parent,
        document_type=Kind(kind),
    )
    return Record(id=record_id, context=context, body=_body.decode(body))
