"""Documents in MongoDB: one collection of records, spread by correlation id.

A record keeps its place in the order (`seq`) when it is replaced. An insight may be megabytes, where Azure Cosmos DB
takes no document of two: what is longer than a few hundred kilobytes lies in parts beside its record, which names the
edition of the parts that count. They are written before the record and removed after it, so a reader finds a whole one;
who is killed in between leaves parts that nobody reads, and repeats the call.

A put of several records is not one transaction: killed half-way, its caller has no answer and puts them again.
"""

import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import msgspec

from ion.adapters.mongo.database import Document, MongoDatabase
from ion.adapters.mongo.schema import PARTS, RECORDS
from ion.errors import NotFoundError
from ion.model.record import Context, Kind, Record
from ion.ports.documents import Documents, DocumentsGuarantees, RecordFilter

_PAGE_ROWS = 500
_PAGE_BYTES = 4 * 1024 * 1024
_PART_CHARACTERS = 256 * 1024
"""At most four bytes each."""
_BULK = 100
_TRIES = 10

_body = msgspec.json.Decoder(dict[str, Any])


class MongoDocuments(Documents):
    """Documents on an open database, which the caller closes."""

    def __init__(self, database: MongoDatabase) -> None:
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
        edition = uuid.uuid4().hex
        bodies = [msgspec.json.encode(record.body).decode() for record in records]
        last = {_key(record): (record, body) for record, body in zip(records, bodies, strict=True)}
        keys = list(last)
        for start in range(0, len(keys), _BULK):
            some = [last[key] for key in keys[start : start + _BULK]]
            await self._put([_document(record, body, edition) for record, body in some])

    async def _put(self, pairs: Sequence[tuple[Document, list[Document]]]) -> None:
        documents = {document["_id"]: document for document, _ in pairs}
        for document in documents.values():
            document["seq"] = self._database.next_place()
        await self._database.insert(PARTS, [part for _, parts in pairs for part in parts])
        old: list[Document] = []
        left = list(documents)
        for _ in range(_TRIES):  # whoever loses a race to add a record replaces it
            present = await self._present(left)
            moved = [one for one in present if one["correlation_id"] != documents[one["_id"]]["correlation_id"]]
            # A shard key cannot be changed: such a record goes and comes again, in its old place.
            await self._delete(moved)
            for one in present:
                documents[one["_id"]]["seq"] = one["seq"]
            left = await self._upsert([documents[key] for key in left])
            old += present
            if not left:
                break
        await self._delete_parts(old)

    async def _present(self, keys: Sequence[str]) -> list[Document]:
        fields = ("correlation_id", "seq", "edition", "parts")
        return await self._database.find(RECORDS, {"_id": {"$in": list(keys)}}, fields=fields)

    async def _upsert(self, documents: Sequence[Document]) -> list[str]:
        """Writes the documents; the ids of those that somebody else added in this moment."""
        from pymongo import UpdateOne
        from pymongo.errors import BulkWriteError

        from ion.adapters.mongo.errors import DUPLICATE, faults_of, is_confirmed

        writes = [
            UpdateOne(
                {"_id": document["_id"], "correlation_id": document["correlation_id"]},
                {
                    "$set": {name: document[name] for name in document if name not in _FIXED},
                    "$setOnInsert": {"seq": document["seq"]},
                },
                upsert=True,
            )
            for document in documents
        ]

        async def statement() -> list[str]:
            try:
                await self._database.collection(RECORDS).bulk_write(writes, ordered=False)
            except BulkWriteError as error:
                faults = faults_of(error)
                if any(fault.get("code") != DUPLICATE for fault in faults) or not is_confirmed(error):
                    raise
                return [documents[fault["index"]]["_id"] for fault in faults]
            return []

        return await self._database.call(statement)

    async def get(self, kind: Kind, record_id: str) -> Record:
        found = await self._database.find(RECORDS, {"_id": f"{kind}:{record_id}"}, most=1)
        for record in await self._records(found):
            return record
        raise NotFoundError(f"there is no {kind} record with id {record_id!r}; list the flow's records to find it")

    async def delete(self, kind: Kind, record_ids: Sequence[str]) -> int:
        keys = [f"{kind}:{record_id}" for record_id in record_ids]
        removed = 0
        for start in range(0, len(keys), _PAGE_ROWS):
            present = await self._present(keys[start : start + _PAGE_ROWS])
            removed += await self._delete(present)
            await self._delete_parts(present)
        return removed

    async def _delete(self, documents: Sequence[Document]) -> int:
        return await self._delete_keys(
            RECORDS, [{"_id": one["_id"], "correlation_id": one["correlation_id"]} for one in documents]
        )

    async def _delete_parts(self, documents: Sequence[Document]) -> None:
        await self._delete_keys(
            PARTS,
            [
                {"_id": _part_key(one["_id"], one["edition"], number), "correlation_id": one["correlation_id"]}
                for one in documents
                for number in range(one["parts"])
            ],
        )

    async def _delete_keys(self, collection: str, keys: Sequence[Document]) -> int:
        from pymongo import DeleteOne

        if not keys:
            return 0
        deletes = [DeleteOne(key) for key in keys]
        result = await self._database.call(
            lambda: self._database.collection(collection).bulk_write(deletes, ordered=False)
        )
        removed: int = result.deleted_count
        return removed

    async def query(self, which: RecordFilter) -> AsyncIterator[Record]:
        conditions, order = _conditions(which)
        after = ""
        while page := await self._page({**conditions, "seq": {"$gt": after}}, order):
            for record in await self._records(page):
                yield record
            after = page[-1]["seq"]

    async def _page(self, which: Mapping[str, Any], order: Sequence[tuple[str, int]]) -> list[Document]:
        """The documents of one page, which is bounded in bytes too."""

        async def statement() -> list[Document]:
            found, size = [], 0
            async with self._database.collection(RECORDS).find(which, limit=_PAGE_ROWS, batch_size=100) as cursor:
                async for document in cursor.sort(list(order)):
                    found.append(document)
                    size += len(document["body"]) + document["parts"] * _PART_CHARACTERS
                    if size > _PAGE_BYTES:
                        break
            return found

        return await self._database.call(statement)

    async def _records(self, documents: Sequence[Document]) -> list[Record]:
        keys = [_part_key(one["_id"], one["edition"], number) for one in documents for number in range(one["parts"])]
        parts: dict[str, Document] = {}
        for start in range(0, len(keys), 8):  # answers of a few megabytes
            parts |= await self._database.find_by_id(PARTS, keys[start : start + 8])
        records = []
        for one in documents:
            its = [_part_key(one["_id"], one["edition"], number) for number in range(one["parts"])]
            if all(key in parts for key in its):
                records.append(_record(one, one["body"] + "".join(parts[key]["text"] for key in its)))
            else:  # it was replaced while this was read
                again = await self._database.find(RECORDS, {"_id": one["_id"]}, most=1)
                records += await self._records([new for new in again if new["edition"] != one["edition"]])
        return records


_FIXED = frozenset({"_id", "correlation_id", "seq"})


def _key(record: Record) -> str:
    return f"{record.context.document_type}:{record.id}"


def _part_key(key: str, edition: str, number: int) -> str:
    return f"{key}:{edition}:{number}"


def _document(record: Record, body: str, edition: str) -> tuple[Document, list[Document]]:
    """The document of a record, and its parts where it is long."""
    context = record.context
    texts = [body[start : start + _PART_CHARACTERS] for start in range(0, len(body), _PART_CHARACTERS)]
    parts = texts if len(texts) > 1 else []
    document = {
        "_id": _key(record),
        "correlation_id": context.correlation_id,
        "kind": context.document_type.value,
        "id": record.id,
        "name": context.name,
        "event_id": context.event_id,
        "parent_event_id": context.parent_event_id,
        "body": "" if parts else body,
        "parts": len(parts),
        "edition": edition,
    }
    return document, [
        {
            "_id": _part_key(_key(record), edition, number),
            "correlation_id": context.correlation_id,
            "text": part,
        }
        for number, part in enumerate(parts)
    ]


def _conditions(which: RecordFilter) -> tuple[dict[str, str], Sequence[tuple[str, int]]]:
    """What to find, and the index of the narrowest field, which has it in order."""
    named = {
        "event_id": which.event_id,
        "correlation_id": which.correlation_id,
        "name": which.name,
        "kind": which.kind.value if which.kind else "",
    }
    given = {field: value for field, value in named.items() if value}
    first = [(field, 1) for field in given][:1]
    return given, (*first, ("seq", 1))


def _record(document: Document, body: str) -> Record:
    context = Context(
        name=document["name"],
        event_id=document["event_id"],
        correlation_id=document["correlation_id"],
        parent_event_id=document["parent_event_id"],
        document_type=Kind(document["kind"]),
    )
    return Record(id=document["id"], context=context, body=_body.decode(body))
