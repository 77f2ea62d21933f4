"""Modules that fail: tried again after a back-off, as often as their budget says, and then kept as dead letters."""

from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from ion.adapters.executors.local import LocalExecutor
from ion.dispatcher.breaker import PROBE_S
from ion.dispatcher.finish import Step
from ion.model.job import Failure, FailureClass, State
from ion.model.module import Retries
from ion.model.record import Kind
from ion.ports.documents import RecordFilter
from ion.ports.executor import Assignment, Handle

if TYPE_CHECKING:
    from tests.dispatcher.service.conftest import Site

SUCCEEDS_AT_LAST = 'echo "$ION_ATTEMPT" >> ran; echo "this is attempt $ION_ATTEMPT"; [ "$ION_ATTEMPT" -ge 3 ]'
SOON = 0.02


async def test_a_module_that_fails_is_tried_again_until_it_succeeds(site: "Site") -> None:
    """Each try is an attempt of its own, with a log of its own that outlives the next one."""
    await site.module("detect", SUCCEEDS_AT_LAST, retries=Retries(module=2, backoff_s=SOON))
    async with site.dispatching():
        event = await site.photo()
        assert await site.quiet(event) == {("detect", State.RELEASED): 1}
    job = await site.job(event)
    assert site.lines("ran") == ["1", "2", "3"]
    assert (job.attempt, job.failures, job.failure) == (3, {FailureClass.MODULE: 2}, None)
    which = RecordFilter(kind=Kind.MODULE_LOGS, event_id=event.id)
    records = [record async for record in site.stores.documents.query(which)]
    assert [record.body["succeeded"] for record in records] == [False, False, True]
    paths = sorted([info.path async for info in site.stores.blobs.list(f"{job.id}/") if info.path.endswith("/log.txt")])
    said = [(await site.stores.blobs.get_bytes(path)).split()[-1] for path in paths]
    assert said == [b"1", b"2", b"3"]


async def test_after_its_budget_it_is_a_dead_letter(site: "Site") -> None:
    """One retry is two attempts; the last failure stays with the job, and the flow is quiet."""
    await site.module("detect", "echo x >> ran; exit 7", retries=Retries(module=1, backoff_s=SOON))
    async with site.dispatching():
        event = await site.photo()
        assert await site.quiet(event) == {("detect", State.DEAD): 1}
    job = await site.job(event)
    assert len(site.lines("ran")) == job.attempt == 2
    assert job.failure == Failure(kind=FailureClass.MODULE, message="exit code 7", exit_code=7)
    assert [one.step for one in site.steps] == [Step.STARTED, Step.FAILED, Step.STARTED, Step.DEAD]


async def test_while_it_backs_off_others_of_its_module_run(site: "Site") -> None:
    """It is due by the ledger's clock, and not before; its place is not kept for it."""
    script = '[ -e first ] && { echo "$ION_EVENT_ID" >> ran; exit 0; }; touch first; exit 1'
    await site.module("detect", script, concurrency=1, retries=Retries(module=1, backoff_s=200.0))
    async with site.dispatching():
        first = await site.photo()
        waiting = await site.reached(first, State.WAITING, attempt=1)
        others = await site.raise_photos(3)
        assert await site.quiet(others[0]) == {("detect", State.RELEASED): 3}
        assert await site.job(first) == waiting
    assert set(site.lines("ran")) == {event.id for event in others}
    assert waiting.not_before is not None
    due_in_s = waiting.not_before - waiting.history[-1].at
    assert 100.0 <= due_in_s.total_seconds() <= 200.0


async def test_an_exit_code_that_is_final_is_not_tried_again(site: "Site") -> None:
    """`no_retry_on` spares what cannot help."""
    await site.module("detect", "echo x >> ran; exit 65", retries=Retries(module=9, backoff_s=SOON), no_retry_on=(65,))
    async with site.dispatching():
        assert await site.quiet(await site.photo()) == {("detect", State.DEAD): 1}
    assert site.lines("ran") == ["x"]


async def test_time_outs_have_a_budget_of_their_own(site: "Site", monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that hangs is ended at its time limit, and does not burn the tries of its other failures."""
    submit = LocalExecutor.submit

    async def hurried(self: LocalExecutor, given: Assignment) -> Handle:
        """Only the attempt that hangs has little time: the others may be slow."""
        module = replace(given.revision.module, timeout_s=0.2 if given.job.attempt == 1 else 3600.0)
        return await submit(self, replace(given, revision=replace(given.revision, module=module)))

    monkeypatch.setattr(LocalExecutor, "submit", hurried)
    script = '[ "$ION_ATTEMPT" = 1 ] && sleep 1000; [ "$ION_ATTEMPT" = 2 ] && exit 3; echo done'
    await site.module("detect", script, retries=Retries(module=1, timeout=1, backoff_s=SOON))
    async with site.dispatching():
        event = await site.photo()
        assert await site.quiet(event) == {("detect", State.RELEASED): 1}
    assert (await site.job(event)).failures == {FailureClass.TIMEOUT: 1, FailureClass.MODULE: 1}


async def test_a_module_that_only_dies_is_left_alone_until_a_probe_succeeds(site: "Site") -> None:
    """After two dead jobs the rest waits unburnt; one that succeeds lets them all run."""
    script = 'echo x >> ran; [ "$(wc -l < ran)" -gt 2 ]'
    await site.module("detect", script, concurrency=1, pause_after=2, retries=Retries(module=0))
    async with site.dispatching(reconcile_s=3600.0):
        events = await site.raise_photos(5)
        assert await site.quiet(events[0]) == {("detect", State.DEAD): 2, ("detect", State.RELEASED): 3}
    jobs = [await site.job(event) for event in events]
    died = [job.ended_at for job in jobs if job.state is State.DEAD and job.ended_at is not None]
    began = [job.started_at for job in jobs if job.state is State.RELEASED and job.started_at is not None]
    assert (min(began) - max(died)).total_seconds() >= PROBE_S
    assert [job.attempt for job in jobs] == [1] * 5
