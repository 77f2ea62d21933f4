"""Whole flows: from a root event until nothing is open any more."""

from typing import TYPE_CHECKING

from ion.dispatcher.finish import Step
from ion.model.job import FailureClass, State
from ion.model.record import Kind

if TYPE_CHECKING:
    from tests.dispatcher.service.conftest import Site

DETECTS = """
tr a-z A-Z < "$ION_DIR/in/data/photo.txt" > "$ION_DIR/out/data/face.txt"
echo '{"type": "face", "files": ["face.txt"], "data": {"n": 1}}' > "$ION_DIR/out/events/1.json"
echo "looked at $ION_EVENT_ID"
"""
RAISES_A_FACE = 'echo "{\\"type\\": \\"face\\"}" > "$ION_DIR/out/events/1.json"'
COUNTS = 'echo "{\\"letters\\": $(wc -c < "$ION_DIR/in/data/face.txt")}" > "$ION_DIR/out/insights.json"'


async def test_a_small_flow_runs_to_its_end(site: "Site") -> None:
    """Files and events go from module to module; everything is released, and every record is there."""
    await site.module("detect", DETECTS, emits=["face"])
    await site.module("count", COUNTS, on="face")
    async with site.dispatching():
        event = await site.photo(file="a cat")
        assert await site.quiet(event) == {("detect", State.RELEASED): 1, ("count", State.RELEASED): 1}
    records = [record async for record in site.stores.documents.flow(event.correlation_id)]
    named = sorted((record.context.name, record.context.document_type) for record in records)
    assert named == [
        ("count", Kind.INSIGHT),
        ("count", Kind.MODULE_LOGS),
        ("detect", Kind.EVENT_META),
        ("detect", Kind.MODULE_LOGS),
        ("test", Kind.EVENT_META),
    ]
    (insight,) = (record for record in records if record.context.document_type is Kind.INSIGHT)
    assert insight.body["data"] == [{"key": "letters", "value": "5", "typed": 5}]
    job = await site.job(event)
    assert f"looked at {event.id}".encode() in await site.stores.blobs.get_bytes(job.log)


async def test_the_observer_hears_every_step_in_order(site: "Site") -> None:
    """Started and committed, module by module, with the job as it was claimed."""
    await site.module("detect", DETECTS, emits=["face"])
    await site.module("count", COUNTS, on="face")
    async with site.dispatching():
        await site.quiet(await site.photo(file="a cat"))
    assert [(one.job.module, one.step) for one in site.steps] == [
        ("detect", Step.STARTED),
        ("detect", Step.COMMITTED),
        ("count", Step.STARTED),
        ("count", Step.COMMITTED),
    ]


async def test_what_was_raised_while_nobody_dispatched_is_done_by_the_next(site: "Site") -> None:
    """The ledger is the buffer: a dispatcher that opens finds its work there."""
    await site.module("detect", "true")
    events = await site.raise_photos(3)
    async with site.dispatching():
        assert await site.quiet(events[0]) == {("detect", State.RELEASED): 3}


async def test_a_fan_out_comes_to_its_end(site: "Site") -> None:
    """Thirty children of one job each run once."""
    fan = 'for n in $(seq 30); do echo "{\\"type\\": \\"face\\"}" > "$ION_DIR/out/events/$n.json"; done'
    await site.module("detect", fan, emits=["face"])
    await site.module("count", 'echo "$ION_EVENT_ID" >> ran', on="face")
    async with site.dispatching():
        assert await site.quiet(await site.photo()) == {("detect", State.RELEASED): 1, ("count", State.RELEASED): 30}
    assert len(site.lines("ran")) == len(set(site.lines("ran"))) == 30


async def test_output_that_breaks_the_contract_is_a_dead_letter_at_once(site: "Site") -> None:
    """It is not tried again, and nothing of it becomes visible; the log and the sentence are kept."""
    await site.module("detect", 'echo said; echo x >> ran; echo nonsense > "$ION_DIR/out/events/e.json"')
    async with site.dispatching():
        event = await site.photo()
        assert await site.quiet(event) == {("detect", State.DEAD): 1}
    job = await site.job(event)
    assert job.failure is not None
    assert job.failure.kind is FailureClass.CONTRACT
    assert "e.json" in job.failure.message
    assert site.lines("ran") == ["x"]
    assert [info.path async for info in site.stores.blobs.list(f"{job.id}/")] == [job.log]


async def test_a_module_that_is_applied_while_it_dispatches_is_served(site: "Site") -> None:
    """The registry's news reaches it, and a new revision is used by the next job that has none yet."""
    await site.module("detect", "echo first >> ran")
    async with site.dispatching(reconcile_s=3600.0):
        await site.quiet(await site.photo())
        await site.module("detect", "echo second >> ran")
        await site.module("scan", "echo scanned >> ran", on="scan")
        await site.quiet(await site.photo())
        await site.quiet(await site.photo(kind="scan"))
    assert site.lines("ran") == ["first", "second", "scanned"]


async def test_a_module_that_is_applied_just_as_it_opens_is_served(site: "Site") -> None:
    """A listener is open before the state that it guards is read, so that no news is lost in between."""
    async with site.dispatching(reconcile_s=3600.0):
        await site.module("detect", "true")
        await site.quiet(await site.photo())


async def test_waiting_jobs_of_a_module_that_is_removed_become_dead_letters(site: "Site") -> None:
    """Their flow comes to its end, and they are kept for the module's return."""
    await site.module("detect", "true")
    await site.stores.ledger.pause_module("detect", paused=True, actor="test")
    async with site.dispatching():
        event = await site.photo()
        await site.reached(event, State.WAITING)
        await site.stores.ledger.remove("detect", "test")
        assert await site.quiet(event) == {("detect", State.DEAD): 1}


async def test_each_attempt_has_the_events_trace_and_names(site: "Site") -> None:
    """One flow is one trace: what the module raises carries on what its event carried."""
    script = (
        'echo "$TRACEPARENT $ION_CORRELATION_ID" >> ran; echo "{\\"type\\": \\"face\\"}" > "$ION_DIR/out/events/1.json"'
    )
    await site.module("detect", script, emits=["face"])
    await site.module("count", 'echo "$TRACEPARENT $ION_CORRELATION_ID" >> ran', on="face")
    async with site.dispatching():
        event = await site.photo()
        await site.quiet(event)
    first, second = (line.split() for line in site.lines("ran"))
    trace = event.traceparent.split("-")[1]
    assert [first[0].split("-")[1], second[0].split("-")[1]] == [trace, trace]
    assert first[1] == second[1] == event.correlation_id
