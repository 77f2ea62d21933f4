"""What every adapter of `ion.ports.documents` must do; subclass it as `Test...` and say how to open one."""

import asyncio
import uuid
from abc import ABC, abstractmethod
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from ion.errors import NotFoundError
from ion.model.record import Context, Kind, Record
from ion.ports.documents import Documents, RecordFilter
from ion.testing.conformance.elsewhere import running

_PUT_ELSEWHERE = """
import asyncio
from ion.testing.conformance.documents import record

async def main():
    async with open_documents() as documents:
        await documents.put([record({record_id!r}, correlation_id={correlation_id!r})])
        print("stored", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


def record(
    record_id: str,
    kind: Kind = Kind.EVENT_META,
    *,
    correlation_id: str = "flow",
    name: str = "detect",
    event_id: str = "",
    **body: Any,
) -> Record:
    context = Context(
        name=name,
        event_id=event_id or record_id,
        correlation_id=correlation_id,
        parent_event_id="frontapi",
        document_type=kind,
    )
    return Record(id=record_id, context=context, body=body)


async def found(documents: Documents, **which: Any) -> list[str]:
    """The ids that a query gives."""
    return [one.id async for one in documents.query(RecordFilter(**which))]


class DocumentsConformance(ABC):
    one_order: bool = True
    """Whether what two processes put within a moment is in the order in which they did; else clocks decide."""

    @abstractmethod
    def open_documents(self) -> AbstractAsyncContextManager[Documents]:
        """Opens this test's store; every call opens the same one, which begins empty."""

    def elsewhere(self) -> str:
        """Python source that defines `open_documents` for the same store in another process; "" if there is none."""
        return ""

    async def test_a_record_is_found_as_it_was_put(self) -> None:
        """Every field comes back, whatever text or JSON value is in it."""
        put = record("ä/\n'\"%", Kind.INSIGHT, name="näme", data=[{"key": "k", "value": "🜁", "typed": [1.5, None, {}]}])
        async with self.open_documents() as documents:
            await documents.put([put])
            assert await documents.get(Kind.INSIGHT, put.id) == put
            assert [one async for one in documents.query(RecordFilter())] == [put]

    async def test_an_unknown_record_is_not_found(self) -> None:
        """An id is known within its kind only."""
        async with self.open_documents() as documents:
            await documents.put([record("a", Kind.INSIGHT)])
            with pytest.raises(NotFoundError, match="'a'"):
                await documents.get(Kind.EVENT_META, "a")

    async def test_a_replaced_record_keeps_its_place(self) -> None:
        """Putting a kind and id again changes the record, not the order, and adds none."""
        async with self.open_documents() as documents:
            await documents.put([record("a"), record("b"), record("c")])
            await documents.put([record("b", new=True), record("b", Kind.INSIGHT)])
            everything = [one async for one in documents.query(RecordFilter())]
            assert [one.id for one in everything] == ["a", "b", "c", "b"]
            assert everything[1].body == {"new": True}

    async def test_a_replaced_record_is_found_by_what_it_says_now(self) -> None:
        """What it said before finds it no more."""
        async with self.open_documents() as documents:
            await documents.put([record("a", correlation_id="old", name="old", event_id="old")])
            await documents.put([record("a", correlation_id="new", name="new", event_id="new")])
            for field in ("correlation_id", "name", "event_id"):
                assert await found(documents, **{field: "old"}) == []
                assert await found(documents, **{field: "new"}) == ["a"]

    async def test_every_field_of_a_filter_narrows(self) -> None:
        """Each finds its own, all together find what passes all, and order is always that of the first put."""
        async with self.open_documents() as documents:
            await documents.put(
                [
                    record("1", Kind.INSIGHT, correlation_id="x", name="m", event_id="e"),
                    record("2", Kind.MODULE_LOGS, correlation_id="x", name="m", event_id="f"),
                    record("3", Kind.INSIGHT, correlation_id="y", name="m", event_id="e"),
                    record("4", Kind.INSIGHT, correlation_id="x", name="n", event_id="e"),
                ]
            )
            assert await found(documents, kind=Kind.INSIGHT) == ["1", "3", "4"]
            assert await found(documents, correlation_id="x") == ["1", "2", "4"]
            assert await found(documents, name="m") == ["1", "2", "3"]
            assert await found(documents, event_id="e") == ["1", "3", "4"]
            assert await found(documents, kind=Kind.INSIGHT, correlation_id="x", event_id="e", name="n") == ["4"]
            assert await found(documents, kind=Kind.MODULE_LOGS, name="n") == []

    async def test_a_flow_is_every_record_of_its_correlation_id(self) -> None:
        """Of all kinds, in order, and of no other flow."""
        async with self.open_documents() as documents:
            await documents.put([record("a"), record("b", correlation_id="other"), record("c", Kind.MODULE_LOGS)])
            assert [one.id async for one in documents.flow("flow")] == ["a", "c"]
            assert [one.id async for one in documents.flow("nobody's")] == []

    async def test_a_long_listing_is_complete_and_in_order(self) -> None:
        """Thousands of records, small and large, come page by page without a gap or a repeat."""
        ids = [str(number) for number in range(2_300)]
        async with self.open_documents() as documents:
            await documents.put([record(one, text="x" * (300_000 if int(one) % 100 == 0 else 10)) for one in ids])
            assert await found(documents) == ids
            assert await found(documents, correlation_id="flow") == ids

    async def test_a_listing_goes_on_while_records_are_put(self) -> None:
        """What was there when it began is given once each; a listing left half-way holds nobody up."""
        ids = [str(number) for number in range(1_200)]
        async with self.open_documents() as documents:
            await documents.put([record(one) for one in ids])
            seen = []
            async for one in documents.query(RecordFilter()):
                seen.append(one.id)
                if len(seen) in (1, 700):
                    await documents.put([record("0", again=True), record(f"new{len(seen)}")])
            assert [one for one in seen if not one.startswith("new")] == ids
            async for _ in documents.query(RecordFilter()):
                break
            await documents.put([record("last")])
            assert (await found(documents))[-1] == "last"

    async def test_records_are_put_by_many_at_once(self) -> None:
        """Concurrent puts all arrive, and a put of many records stays together in its own order."""
        async with self.open_documents() as documents:
            groups = [[f"{group}.{number}" for number in range(5)] for group in range(50)]
            await asyncio.gather(*(documents.put([record(one) for one in ids]) for ids in groups))
            ids = await found(documents)
            assert sorted(ids) == sorted(one for group in groups for one in group)
            for group in groups:
                assert [one for one in ids if one in group] == group

    async def test_putting_nothing_is_harmless(self) -> None:
        """An empty put stores nothing."""
        async with self.open_documents() as documents:
            await documents.put([])
            assert await found(documents) == []

    async def test_deleted_records_are_gone(self) -> None:
        """Of the kind and ids that are named; the others stay, and repeating it is harmless."""
        async with self.open_documents() as documents:
            await documents.put([record("a"), record("b"), record("a", Kind.INSIGHT), record("c")])
            assert await documents.delete(Kind.EVENT_META, ["a", "c", "no such record"]) == 2
            assert await documents.delete(Kind.EVENT_META, ["a", "c"]) == 0
            assert await documents.delete(Kind.EVENT_META, []) == 0
            assert [(one.context.document_type, one.id) async for one in documents.query(RecordFilter())] == [
                (Kind.EVENT_META, "b"),
                (Kind.INSIGHT, "a"),
            ]

    async def test_records_last(self) -> None:
        """Where the adapter is durable, they are there after everything was closed."""
        async with self.open_documents() as documents:
            if not documents.guarantees.durable:
                pytest.skip("these documents do not promise to be durable")
            await documents.put([record("a"), record("b")])
        async with self.open_documents() as documents:
            assert await found(documents) == ["a", "b"]

    async def test_what_one_puts_another_finds(self) -> None:
        """Where the adapter is shared, two open at once see one store."""
        async with self.open_documents() as one, self.open_documents() as two:
            if not one.guarantees.shared:
                pytest.skip("these documents do not promise to be shared")
            await one.put([record("a")])
            await two.put([record("b"), record("a", new=True)])
            seen = await found(one)
            assert (seen if self.one_order else sorted(seen)) == ["a", "b"]
            assert (await one.get(Kind.EVENT_META, "a")).body == {"new": True}

    async def test_a_put_record_survives_the_kill_of_its_process(self) -> None:
        """Once `put` returned, a SIGKILL takes nothing away."""
        async with self.open_documents() as documents:
            if not documents.guarantees.durable or not self.elsewhere():
                pytest.skip("these documents do not promise to outlive a process")
            record_id, flow = str(uuid.uuid4()), str(uuid.uuid4())
            program = self.elsewhere() + _PUT_ELSEWHERE.format(record_id=record_id, correlation_id=flow)
            async with running(program) as output:
                assert await output.readline() == b"stored\n"
            assert [one.id async for one in documents.flow(flow)] == [record_id]
