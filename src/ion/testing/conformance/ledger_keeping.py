"""The ledger's suite: further runs, and what retention does to jobs that have ended."""

import asyncio

import msgspec
import pytest

from ion.errors import ConflictError, NotFoundError
from ion.model import ids
from ion.model.event import FileRef
from ion.model.job import Change, Job, State
from ion.ports.ledger import Changes, Control, Ledger, Open
from ion.testing.conformance.ledger_stage import PATIENCE_S, LedgerStage, Stage, claim, event, manifest, revision


def next_run(job: Job) -> Job:
    """The run after a job's."""
    key = ids.job_id(job.event.id, job.module, job.run + 1)
    return Job(id=key, module=job.module, event=job.event, run=job.run + 1)


class KeepingConformance(LedgerStage):
    # ---- further runs -----------------------------------------------------------------------------------------

    async def test_a_further_run_waits_beside_the_first(self, stage: Stage) -> None:
        """It is a job of its own, due at once, and who asked for it is in its history; the first stays as it is."""
        await stage.ledger.apply([revision()], "test")
        first = await self._released(stage)
        async with stage.other.listen(Changes.DUE) as news:
            assert await stage.ledger.rerun(next_run(first), (first.id,), "me")
            assert await news.wait(PATIENCE_S) == Changes.DUE
        (again,) = await stage.other.claim(claim())
        assert (again.id, again.run, again.event) == (next_run(first).id, 1, first.event)
        assert [change.actor for change in again.history] == ["admission", "me", "one"]
        assert await stage.state(first) is State.RELEASED

    async def test_of_two_who_ask_for_one_run_one_gets_it(self, stage: Stage) -> None:
        """Asked for in two processes at once there is one new job; the other is told, or refused while it is open."""
        await stage.ledger.apply([revision()], "test")
        first = await self._released(stage)

        async def ask(ledger: Ledger) -> bool:
            return await ledger.rerun(next_run(first), (first.id,), "me")

        assert sorted(await asyncio.gather(ask(stage.ledger), ask(stage.other))) == [False, True]
        assert (await stage.ledger.open(first.correlation_id)).waiting == 1
        later = next_run(next_run(first))
        with pytest.raises(ConflictError, match="is waiting, a run of the same"):
            await stage.other.rerun(later, (first.id,), "me")

    async def test_a_run_that_cannot_be_is_refused(self, stage: Stage) -> None:
        """Without its module, without what it reads, or in a cancelled flow nothing is admitted."""
        first = await self._released(stage)
        with pytest.raises(ConflictError, match="the module detect, which is gone"):
            await stage.ledger.rerun(next_run(first), (first.id,), "me")
        await stage.ledger.apply([revision()], "test")
        source = await self._released(stage)
        await stage.other.expire(source.id, "retention")
        with pytest.raises(ConflictError, match=f"{source.id}, which has expired"):
            await stage.ledger.rerun(next_run(first), (first.id, source.id), "me")
        await stage.ledger.control(first.correlation_id, Control.CANCELLED, "me")
        with pytest.raises(ConflictError, match="cancelled flow"):
            await stage.ledger.rerun(next_run(first), (first.id,), "me")
        with pytest.raises(NotFoundError):
            await stage.ledger.get(next_run(first).id)

    async def test_what_is_superseded_has_no_further_run(self, stage: Stage) -> None:
        """Where the latest run was superseded, it came of something that ran again: that has to run, if anything."""
        await stage.ledger.apply([revision()], "test")
        first = await self._released(stage)
        await stage.other.supersede(first.id, "x")
        with pytest.raises(ConflictError, match="superseded with what it came of"):
            await stage.ledger.rerun(next_run(first), (first.id,), "me")

    async def test_only_what_has_ended_is_superseded(self, stage: Stage) -> None:
        """Released, dead and cancelled jobs are, again and again with one line in the history; open ones are not."""
        released, dead = await self._released(stage), await stage.dead()
        (cancelled,) = await stage.admitted()
        await stage.ledger.cancel(cancelled.id, "me")
        for job in (released, dead, cancelled):
            assert await stage.ledger.supersede(job.id, "the new run")
            lines = len((await stage.ledger.get(job.id)).history)
            assert await stage.other.supersede(job.id, "the new run")
            found = await stage.other.get(job.id)
            assert (found.state, len(found.history)) == (State.SUPERSEDED, lines)
            assert found.history[-1].note == "superseded by the new run"
        assert (await stage.other.get(released.id)).manifest == released.manifest
        committed = await stage.committed()
        (running,) = await stage.running()
        (waiting,) = await stage.admitted()
        for job in (committed, running, waiting):
            assert not await stage.ledger.supersede(job.id, "the new run")
        assert not await stage.ledger.supersede("no such job", "the new run")

    async def test_what_is_superseded_is_not_queued_again(self, stage: Stage) -> None:
        """A person cannot redrive a job whose place is taken, and its late commit still answers True."""
        await stage.ledger.apply([revision()], "test")
        dead, released = await stage.dead(), await self._released(stage)
        await stage.ledger.supersede(dead.id, "x")
        await stage.ledger.supersede(released.id, "x")
        assert not await stage.ledger.requeue(dead.id, "me")
        assert released.manifest is not None
        assert await stage.other.commit(released.id, 1, released.manifest)

    # ---- retention --------------------------------------------------------------------------------------------

    async def test_only_what_has_ended_expires(self, stage: Stage) -> None:
        """Every ended job may expire, and keeps what it needs to be cleared away; open ones may not."""
        released, dead, superseded = await self._released(stage), await stage.dead(), await stage.dead()
        await stage.ledger.supersede(superseded.id, "x")
        for job in (released, dead, superseded):
            assert await stage.ledger.expire(job.id, "retention")
            assert await stage.other.expire(job.id, "retention")
            found = await stage.other.get(job.id)
            assert (found.state, found.manifest, found.log) == (State.EXPIRED, job.manifest, job.log)
            assert isinstance(found.history[-1], Change)
            assert (found.history[-1].state, found.history[-1].actor) == (State.EXPIRED, "retention")
        committed = await stage.committed()
        (running,) = await stage.running()
        (waiting,) = await stage.admitted()
        for job in (committed, running, waiting):
            assert not await stage.ledger.expire(job.id, "retention")
        assert not await stage.ledger.expire("no such job", "retention")

    async def test_nothing_of_an_open_flow_expires(self, stage: Stage) -> None:
        """As long as one job of its flow is open an ended job stays; in a flow beside it may go."""
        released, beside = await self._released(stage, flow="f"), await self._released(stage, flow="g")
        (waiting,) = await stage.admitted(flow="f")
        assert not await stage.other.expire(released.id, "retention")
        assert await stage.other.expire(beside.id, "retention")
        await stage.ledger.cancel(waiting.id, "me")
        assert await stage.other.expire(released.id, "retention")

    async def test_what_expired_is_over(self, stage: Stage) -> None:
        """It cannot be queued, superseded or cancelled, a late delivery admits nothing, and a late commit is known."""
        await stage.ledger.apply([revision()], "test")
        job = await self._released(stage)
        await stage.ledger.expire(job.id, "retention")
        assert not await stage.ledger.requeue(job.id, "me")
        assert not await stage.ledger.supersede(job.id, "x")
        assert not await stage.ledger.cancel(job.id, "me")
        assert not await stage.other.admit([Job(id=job.id, module=job.module, event=job.event)])
        assert job.manifest is not None
        assert await stage.ledger.commit(job.id, 1, job.manifest)
        assert await stage.state(job) is State.EXPIRED

    async def test_expiring_races_requeueing(self, stage: Stage) -> None:
        """Of an expiry and a redrive at once exactly one takes effect."""
        await stage.ledger.apply([revision()], "test")
        for _ in range(20):
            job = await stage.dead()
            expired, queued = await asyncio.gather(
                stage.ledger.expire(job.id, "retention"), stage.other.requeue(job.id, "me")
            )
            assert expired is not queued
            assert await stage.state(job) is (State.EXPIRED if expired else State.WAITING)

    async def test_a_log_can_be_dropped_by_itself(self, stage: Stage) -> None:
        """The row of an ended job names its log no longer, nor does its manifest's reference; an open job keeps it."""
        job = await self._released(stage)
        assert job.log
        for _ in range(2):
            assert await stage.ledger.drop_log(job.id, "retention")
        found = await stage.other.get(job.id)
        assert job.manifest is not None
        assert (found.log, found.manifest) == ("", msgspec.structs.replace(job.manifest, log=""))
        assert found.state is State.RELEASED
        committed = await stage.committed()
        assert not await stage.ledger.drop_log(committed.id, "retention")
        assert (await stage.ledger.get(committed.id)).log

    async def test_a_tombstone_tells_who_it_was(self, stage: Stage) -> None:
        """Stripped, an expired job has its ids, times and history; manifest, failure, files and data go."""
        cause = msgspec.structs.replace(event("f"), files=(FileRef(path="a", blob="x/1/y/data/a", size=1),))
        job = Job(id=ids.job_id(cause.id, "detect"), module="detect", event=cause)
        await stage.ledger.admit([job])
        await stage.ledger.claim(claim())
        assert not await stage.ledger.strip(job.id)
        await stage.ledger.commit(job.id, 1, manifest())
        await stage.ledger.released(job.id, "one")
        await stage.ledger.expire(job.id, "retention")
        assert not await stage.ledger.strip(job.id)  # it still names its log
        await stage.ledger.drop_log(job.id, "retention")
        before = await stage.ledger.get(job.id)
        assert await stage.ledger.strip(job.id)
        assert await stage.other.strip(job.id)
        found = await stage.other.get(job.id)
        assert found == msgspec.structs.replace(
            before,
            manifest=None,
            event=msgspec.structs.replace(cause, files=(), data={}),
        )
        dead = await stage.dead()
        await stage.ledger.expire(dead.id, "retention")
        assert await stage.ledger.strip(dead.id)
        assert (await stage.ledger.get(dead.id)).failure is None

    async def test_tombstones_are_forgotten_with_their_flow(self, stage: Stage) -> None:
        """They go in portions, with exact counts at every step; the flow goes with the last; others are untouched."""
        dead = [await stage.dead(flow="f") for _ in range(3)]
        other = await stage.dead(flow="g")
        for job in dead:
            await stage.ledger.expire(job.id, "retention")
            await stage.ledger.strip(job.id)
        assert await stage.ledger.forget("f", 2) == 2
        assert dict(await stage.other.tally("f")) == {("detect", State.EXPIRED): 1}
        assert (await stage.other.flow("f")).jobs == 1
        assert await stage.ledger.forget("f", 2) == 1
        assert await stage.ledger.forget("f", 2) == 0
        with pytest.raises(NotFoundError):
            await stage.other.flow("f")
        with pytest.raises(NotFoundError):
            await stage.other.get(dead[0].id)
        assert await stage.other.tally("f") == {}
        assert await stage.state(other) is State.DEAD
        assert await stage.ledger.admit(dead) == frozenset(job.id for job in dead)  # a stranger again

    async def test_only_tombstones_are_forgotten(self, stage: Stage) -> None:
        """A job that still names something stays, and its flow with its controls; so does a flow without jobs."""
        released, dead = await self._released(stage, flow="f"), await stage.dead(flow="f")
        await stage.ledger.expire(released.id, "retention")
        await stage.admitted(flow="f")
        assert await stage.ledger.forget("f", 10) == 0
        assert await stage.state(dead) is State.DEAD
        assert await stage.ledger.open("f") == Open(waiting=1)
        await stage.ledger.control("unborn", Control.PAUSED, "me")
        assert await stage.ledger.forget("unborn", 10) == 0
        assert (await stage.ledger.flow("unborn")).control is Control.PAUSED

    async def _released(self, stage: Stage, **fields: str) -> Job:
        job = await stage.committed(**fields)
        assert await stage.ledger.released(job.id, "one")
        return await stage.ledger.get(job.id)
