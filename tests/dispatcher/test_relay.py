"""The relay: a committed job's results become known in an order that can be repeated from any point."""

from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from ion.dispatcher.relay import BATCH, CHUNK, DEFER_FIRST_S
from ion.handler.results import SPILL_FROM
from ion.model.job import Job, State
from ion.model.record import Kind
from ion.ports.ledger import JobFilter

if TYPE_CHECKING:
    from tests.dispatcher.conftest import Bench

TWO_FACES = {
    "data/face.txt": "a face",
    "events/1.json": '{"type": "face", "files": ["face.txt"], "data": {"n": 1}}',
    "events/2.json": '{"type": "face", "data": {"n": 2}}',
    "insights.json": '{"faces": 2}',
}
DISTURBED = [("put", 1), ("admit", 1), ("publish", 1), ("released", 1)]


class Killed(BaseException):
    """The relaying process ends here."""


def many(count: int) -> dict[str, str]:
    """So many event files, numbered."""
    return {f"events/{n:05}.json": f'{{"type": "face", "data": {{"n": {n}}}}}' for n in range(count)}


async def known(bench: "Bench", job: Job) -> dict[str, Any]:
    """All that a relay makes known, in every place."""
    page = await bench.ledger.query(JobFilter(correlation_id=job.correlation_id), most=5000)
    return {
        "states": Counter((one.module, one.state) for one in page.jobs),
        "children": [one.event for one in page.jobs if one.module == "count"],
        "records": await bench.records(job.correlation_id),
        "published": await bench.bus.peek("outside", 5000),
    }


async def test_results_become_documents_children_and_a_publication(bench: "Bench") -> None:
    """Each event has its record, its child and its place on the bus; log and insights have their records."""
    job = await bench.committed(TWO_FACES)
    await bench.relay().drain()
    found = await known(bench, job)
    assert found["states"] == {("detect", State.RELEASED): 1, ("count", State.WAITING): 2}
    assert [event.data for event in found["published"]] == [{"n": 1}, {"n": 2}]
    assert found["children"] == found["published"]
    kinds = [record.context.document_type for record in found["records"]]
    assert kinds == [Kind.MODULE_LOGS, Kind.INSIGHT, Kind.EVENT_META, Kind.EVENT_META]
    log, insight, first, _ = found["records"]
    assert log.body == {"desc": log.id, "logs": bench.blobs.uri(job.log), "succeeded": True}
    assert insight.body == {"data": [{"key": "faces", "value": "2", "typed": 2}]}
    assert first.body["files"] == ["face.txt"]


async def test_documents_and_children_come_first_then_the_publication_then_the_release(bench: "Bench") -> None:
    """At every step all earlier ones are done, and the job stays committed until all of them are."""
    job = await bench.committed(TWO_FACES)
    seen: list[tuple[str, int, int, int, State]] = []

    async def witness(verb: str) -> None:
        records = [
            one for one in await bench.records(job.correlation_id) if one.context.document_type == Kind.EVENT_META
        ]
        children = (await bench.ledger.query(JobFilter(module="count"))).jobs
        published = await bench.bus.peek("outside", 9)
        state = (await bench.ledger.get(job.id)).state
        seen.append((verb, len(records), len(children), len(published), state))

    bench.line.watch(witness)
    await bench.relay().drain()
    assert seen == [
        ("put", 0, 0, 0, State.COMMITTED),
        ("admit", 0, 0, 0, State.COMMITTED),
        ("publish", 2, 2, 0, State.COMMITTED),
        ("released", 2, 2, 2, State.COMMITTED),
    ]


async def test_a_flow_is_never_quiet_before_its_children_are_in(bench: "Bench") -> None:
    """Whoever looks between two steps sees an open flow; it ends only with the last child."""
    job = await bench.committed(TWO_FACES)
    open_jobs: list[int] = []

    async def witness(verb: str) -> None:
        open_jobs.append((await bench.ledger.open(job.correlation_id)).total)

    bench.line.watch(witness)
    await bench.relay().drain()
    assert open_jobs == [1, 1, 3, 3]
    assert (await bench.ledger.open(job.correlation_id)).total == 2


@pytest.mark.parametrize("late", [False, True], ids=["unheard", "answer lost"])
@pytest.mark.parametrize(("verb", "call"), DISTURBED)
async def test_a_relay_that_was_disturbed_is_repeated_and_changes_nothing(
    bench: "Bench", verb: str, call: int, late: bool
) -> None:
    """A port that is away once, before or after it obeyed, at whatever step: in the end all is known, and once."""
    job = await bench.committed(TWO_FACES)
    bench.line.fail(verb, call=call, late=late)
    relay = bench.relay()
    await relay.drain()
    assert bench.line.spent
    bench.clock.advance(DEFER_FIRST_S)
    await relay.drain()
    await check_known_once(bench, job)


@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(("verb", "call"), DISTURBED)
async def test_another_dispatcher_completes_what_a_killed_one_began(
    bench: "Bench", verb: str, call: int, late: bool
) -> None:
    """A relay dies at whatever step; who adopts from it replays the same events, and nothing comes twice."""
    job = await bench.committed(TWO_FACES)
    bench.line.fail(verb, call=call, late=late, error=Killed())
    with pytest.raises(Killed):
        await bench.relay().drain()
    await bench.ledger.adopt(["one"], "two")
    await bench.relay("two").drain()
    await check_known_once(bench, job)


async def check_known_once(bench: "Bench", job: Job) -> None:
    found = await known(bench, job)
    assert found["states"] == {("detect", State.RELEASED): 1, ("count", State.WAITING): 2}
    assert [event.data for event in found["published"]] == [{"n": 1}, {"n": 2}]
    assert found["children"] == found["published"]
    assert len(found["records"]) == 4


async def test_thousands_of_events_go_in_chunks_and_resume_at_the_cursor(bench: "Bench") -> None:
    """A publication that fails costs its own chunk again, not those before it; the row keeps no long list."""
    job = await bench.committed(many(2 * CHUNK + 1))
    assert job.manifest is not None
    assert job.manifest.inline == ""
    bench.line.fail("publish", call=2)
    relay = bench.relay()
    await relay.drain()
    assert (await bench.ledger.get(job.id)).cursor == CHUNK
    bench.clock.advance(DEFER_FIRST_S)
    await relay.drain()
    assert [len(events) for events in bench.bus.published] == [CHUNK, CHUNK, CHUNK, 1]
    assert bench.bus.published[1] == bench.bus.published[2]
    found = await known(bench, job)
    assert found["states"] == {("detect", State.RELEASED): 1, ("count", State.WAITING): 2 * CHUNK + 1}
    assert [event.data["n"] for event in found["published"]] == list(range(2 * CHUNK + 1))


async def test_a_cursor_that_was_not_kept_only_costs_a_repetition(bench: "Bench") -> None:
    """The chunk is handed on again: the same ids, so nothing new comes of it."""
    job = await bench.committed(many(CHUNK + 1))
    bench.line.fail("advance")
    relay = bench.relay()
    await relay.drain()
    assert (await bench.ledger.get(job.id)).cursor == 0
    bench.clock.advance(DEFER_FIRST_S)
    await relay.drain()
    assert [len(events) for events in bench.bus.published] == [CHUNK, CHUNK, 1]
    found = await known(bench, job)
    assert found["states"] == {("detect", State.RELEASED): 1, ("count", State.WAITING): CHUNK + 1}
    assert len(found["published"]) == CHUNK + 1


async def test_data_that_lies_in_a_blob_is_seen_by_filters_and_documents_and_not_copied(bench: "Bench") -> None:
    """The child's row names the blob; the record has the whole, and a filter may ask for any of it."""
    only = {"exact": {"data.kind": "cat"}}
    await bench.module("cats", on="face", filters=(only,))
    await bench.module("dogs", on="face", filters=({"not": only},))
    data = {"kind": "cat", "long": "x" * SPILL_FROM}
    event = msgspec.json.encode({"type": "face", "data": data}).decode()
    job = await bench.committed({"events/1.json": event})
    await bench.relay().drain()
    found = await known(bench, job)
    assert found["states"] == {
        ("detect", State.RELEASED): 1,
        ("count", State.WAITING): 1,
        ("cats", State.WAITING): 1,
    }
    (child,) = found["children"]
    assert (child.data, bool(child.dataref)) == ({}, True)
    (record,) = (one for one in found["records"] if one.context.document_type is Kind.EVENT_META)
    assert {pair["key"]: pair["value"] for pair in record.body["data"]} == data


async def test_more_committed_jobs_than_a_batch_are_all_released(bench: "Bench") -> None:
    """One drain relays until none is due."""
    jobs = [await bench.committed(flow="flow") for _ in range(BATCH + 1)]
    await bench.relay().drain()
    assert await bench.ledger.tally("flow") == {("detect", State.RELEASED): len(jobs)}
