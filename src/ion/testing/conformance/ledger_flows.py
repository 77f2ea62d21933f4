"""The ledger's suite: whole flows, and the registry."""

import pytest

from ion.errors import ConflictError, NotFoundError
from ion.model.job import FailureClass, Hold, State
from ion.ports.ledger import Bury, Changes, Control, Health, Load, Open, Retry
from ion.testing.conformance.ledger_stage import (
    PATIENCE_S,
    LedgerStage,
    Stage,
    claim,
    failure,
    manifest,
    revision,
    waiting_job,
)


class FlowConformance(LedgerStage):
    async def test_open_counts_by_state(self, stage: Stage) -> None:
        """A flow's open jobs are counted exactly through every change, and a flow nobody heard of is quiet."""
        assert await stage.ledger.open("f") == Open()
        await stage.admitted(4, flow="f")
        await stage.admitted(1, flow="f", module="count", hold=Hold.HOPS)
        first, second, third = await stage.ledger.claim(claim(3))
        assert await stage.other.open("f") == Open(waiting=2, running=3, held=1)
        await stage.ledger.commit(first.id, 1, manifest())
        await stage.ledger.settle(second.id, 1, "one", Bury(failure=failure()))
        await stage.ledger.settle(third.id, 1, "one", Retry(failure=failure(), delay_s=60))
        assert await stage.other.open("f") == Open(waiting=3, committed=1, held=1)
        await stage.ledger.released(first.id, "one")
        assert await stage.other.open("f") == Open(waiting=3, held=1)

    async def test_tally_shows_the_whole_flow(self, stage: Stage) -> None:
        """Every job of a flow is counted under its module and state, those that ended too."""
        await stage.dead(flow="f", module="count")
        job = await stage.committed(flow="f")
        await stage.ledger.released(job.id, "one")
        await stage.admitted(2, flow="f")
        tally = {key: count for key, count in (await stage.other.tally("f")).items() if count}
        assert tally == {
            ("count", State.DEAD): 1,
            ("detect", State.RELEASED): 1,
            ("detect", State.WAITING): 2,
        }
        assert (await stage.ledger.flow("f")).jobs == 4

    async def test_load_counts_what_has_not_gone_well(self, stage: Stage) -> None:
        """A module's jobs are counted by state, over all flows, and the oldest that waits tells since when."""
        assert await stage.ledger.load("detect", 100) == Load()
        await stage.admitted(module="count")
        await stage.dead()
        released = await stage.committed()
        await stage.ledger.released(released.id, "one")
        await stage.committed(flow="f")
        await stage.running(flow="g")
        await stage.admitted(hold=Hold.HOPS)
        stage.clock.advance(10)
        (cancelled, *_) = await stage.admitted(3)
        await stage.ledger.cancel(cancelled.id, "me")
        stage.clock.advance(5)
        expected = {
            State.WAITING: 3,
            State.RUNNING: 1,
            State.COMMITTED: 1,
            State.DEAD: 1,
            State.CANCELLED: 1,
        }
        assert await stage.other.load("detect", 100) == Load(jobs=expected, oldest_s=15)
        assert await stage.other.load("count", 100) == Load(jobs={State.WAITING: 1}, oldest_s=15)

    async def test_load_counts_no_further_than_asked(self, stage: Stage) -> None:
        """Of more jobs in a state than asked for at least so many are counted."""
        await stage.admitted(20)
        load = await stage.other.load("detect", 5)
        assert 5 <= load.jobs[State.WAITING] <= 20
        assert load.oldest_s == 0

    async def test_paused_flow_is_held(self, stage: Stage) -> None:
        """Pausing holds present jobs and those to come; freeing makes them due again, which is news."""
        await stage.admitted(2, flow="f")
        await stage.ledger.control("f", Control.PAUSED, "me")
        (late,) = await stage.admitted(flow="f")
        assert (await stage.other.get(late.id)).hold is Hold.FLOW
        assert not await stage.other.claim(claim(10))
        assert await stage.other.open("f") == Open(waiting=3, held=3)
        assert await stage.other.waiting() == {"detect": None}
        async with stage.other.listen(Changes.DUE) as news:
            await stage.ledger.control("f", Control.NONE, "me")
            assert await news.wait(PATIENCE_S) == Changes.DUE
        assert len(await stage.other.claim(claim(10))) == 3

    async def test_flow_can_be_paused_before_its_birth(self, stage: Stage) -> None:
        """A control is kept for a flow that has no job yet."""
        await stage.ledger.control("f", Control.PAUSED, "me")
        await stage.admitted(flow="f")
        assert not await stage.ledger.claim(claim())
        assert (await stage.ledger.flow("f")).control is Control.PAUSED

    async def test_retry_in_a_paused_flow_is_held(self, stage: Stage) -> None:
        """A job that fails while its flow is paused waits held, and keeps its delay when the flow goes on."""
        (job,) = await stage.running(flow="f")
        await stage.ledger.control("f", Control.PAUSED, "me")
        await stage.ledger.settle(job.id, 1, "one", Retry(failure=failure(), delay_s=30))
        assert (await stage.ledger.get(job.id)).hold is Hold.FLOW
        await stage.ledger.control("f", Control.NONE, "me")
        assert not await stage.ledger.claim(claim())
        stage.clock.advance(31)
        assert await stage.ledger.claim(claim())

    async def test_running_jobs_of_a_paused_flow_commit(self, stage: Stage) -> None:
        """A pause leaves running jobs alone: they commit and are released."""
        (job,) = await stage.running(flow="f")
        await stage.ledger.control("f", Control.PAUSED, "me")
        assert await stage.ledger.commit(job.id, 1, manifest())
        assert await stage.ledger.released(job.id, "one")

    async def test_cancelled_flow_ends(self, stage: Stage) -> None:
        """Cancelling ends waiting jobs, held ones too, marks running ones with news, and reaches those not yet born."""
        (running,) = await stage.running(flow="f")
        (waiting,) = await stage.admitted(flow="f")
        (held,) = await stage.admitted(flow="f", hold=Hold.HOPS)
        async with stage.other.listen(Changes.CANCEL) as news:
            await stage.ledger.control("f", Control.CANCELLED, "me")
            assert await news.wait(PATIENCE_S) == Changes.CANCEL
        (late,) = await stage.admitted(flow="f")
        for job in (waiting, held, late):
            assert await stage.state(job) is State.CANCELLED
        assert (await stage.other.get(running.id)).cancelling
        await stage.ledger.settle(running.id, 1, "one", Retry(failure=failure(), delay_s=0))
        assert (await stage.other.open("f")).total == 0

    async def test_cancelling_leaves_committed_jobs(self, stage: Stage) -> None:
        """What was decided before a flow was cancelled stays decided, and a running job may still commit."""
        committed = await stage.committed(flow="f")
        (running,) = await stage.running(flow="f")
        await stage.ledger.control("f", Control.CANCELLED, "me")
        assert await stage.state(committed) is State.COMMITTED
        assert await stage.ledger.commit(running.id, 1, manifest())

    async def test_cancelling_cannot_be_taken_back(self, stage: Stage) -> None:
        """A cancelled flow stays so; cancelling it again is harmless."""
        await stage.ledger.control("f", Control.CANCELLED, "me")
        await stage.ledger.control("f", Control.CANCELLED, "me")
        with pytest.raises(ConflictError):
            await stage.ledger.control("f", Control.NONE, "me")
        assert (await stage.ledger.flow("f")).control is Control.CANCELLED

    async def test_other_flows_are_untouched(self, stage: Stage) -> None:
        """A control of one flow leaves another's jobs alone."""
        await stage.admitted(flow="f")
        (other,) = await stage.admitted(flow="g")
        await stage.ledger.control("f", Control.CANCELLED, "me")
        assert [job.id for job in await stage.ledger.claim(claim(5))] == [other.id]

    async def test_flows_are_listed_newest_first(self, stage: Stage) -> None:
        """All flows come, newest first, over page borders; an unknown one is not found."""
        names = [f"flow-{number}" for number in range(450)]
        await stage.ledger.admit([waiting_job(flow=name) for name in names])
        assert [flow.correlation_id async for flow in stage.other.flows()] == names[::-1]
        with pytest.raises(NotFoundError):
            await stage.ledger.flow("no such flow")

    # ---- registry ---------------------------------------------------------------------------------------------

    async def test_applied_modules_are_registered(self, stage: Stage) -> None:
        """Applied modules are listed by name with their revision; applying the same again changes nothing."""
        both = [revision("detect", "photo"), revision("count", "photo", "face")]
        async with stage.other.listen(Changes.REGISTRY) as news:
            assert set(await stage.ledger.apply(both, "me")) == {"detect", "count"}
            assert await news.wait(PATIENCE_S) == Changes.REGISTRY
        assert not await stage.other.apply(both, "me")
        assert [found.revision for found in await stage.other.modules()] == both[::-1]

    async def test_new_revision_replaces_and_the_old_stays_known(self, stage: Stage) -> None:
        """A changed module gets a new revision; the old one can still be read; one never applied is not found."""
        old, new = revision(timeout_s=1), revision(timeout_s=2)
        await stage.ledger.apply([old], "me")
        assert list(await stage.ledger.apply([new], "me")) == ["detect"]
        assert [found.revision for found in await stage.other.modules()] == [new]
        assert await stage.other.revision("detect", old.id) == old
        with pytest.raises(NotFoundError):
            await stage.ledger.revision("detect", "never")

    async def test_name_of_another_pipeline_is_refused(self, stage: Stage) -> None:
        """Applying a module whose name belongs to another pipeline changes nothing at all."""
        await stage.ledger.apply([revision()], "me")
        theirs = [revision("count", pipeline="theirs"), revision(pipeline="theirs")]
        with pytest.raises(ConflictError, match="media"):
            await stage.ledger.apply(theirs, "them")
        assert [found.module.name for found in await stage.ledger.modules()] == ["detect"]

    async def test_subscribers_follow_the_registry(self, stage: Stage) -> None:
        """Subscribers of a type are those now registered, also where another process changed them."""
        assert not await stage.other.subscribers("photo")
        await stage.ledger.apply([revision("detect", "photo"), revision("count", "photo", "face")], "me")
        assert {found.module for found in await stage.other.subscribers("photo")} == {"detect", "count"}
        await stage.ledger.apply([revision("detect", "face")], "me")
        assert [found.module for found in await stage.other.subscribers("photo")] == ["count"]
        await stage.ledger.remove("count", "me")
        assert not await stage.other.subscribers("photo")

    async def test_removed_module_leaves_its_history(self, stage: Stage) -> None:
        """A removed module is not listed; its jobs and revisions stay; removing it again answers False."""
        applied = revision()
        await stage.ledger.apply([applied], "me")
        (job,) = await stage.admitted()
        assert await stage.ledger.remove("detect", "me")
        assert not await stage.ledger.remove("detect", "me")
        assert not await stage.other.modules()
        assert await stage.state(job) is State.WAITING
        assert await stage.other.revision("detect", applied.id) == applied

    async def test_health_counts_failures_in_a_row(self, stage: Stage) -> None:
        """Deaths and infrastructure failures are counted until a commit, with the time since the last."""
        await stage.ledger.apply([revision()], "me")
        for _ in range(2):
            (job,) = await stage.running()
            await stage.ledger.settle(job.id, 1, "one", Bury(failure=failure()))
        (job,) = await stage.running()
        await stage.ledger.settle(job.id, 1, "one", Retry(failure=failure(FailureClass.INFRASTRUCTURE), delay_s=0))
        stage.clock.advance(5)
        assert await _health(stage) == Health(dead_in_row=2, trouble_in_row=1, quiet_s=5)
        await stage.ledger.claim(claim())
        await stage.ledger.commit(job.id, 2, manifest())
        health = await _health(stage)
        assert (health.dead_in_row, health.trouble_in_row) == (0, 0)

    async def test_plain_failures_do_not_touch_health(self, stage: Stage) -> None:
        """A failed attempt that is retried is no trouble of the module's health."""
        await stage.ledger.apply([revision()], "me")
        (job,) = await stage.running()
        await stage.ledger.settle(job.id, 1, "one", Retry(failure=failure(), delay_s=0))
        assert await _health(stage) == Health()

    async def test_starting_a_module_resets_its_health(self, stage: Stage) -> None:
        """A module that a person starts has a clean record; an unknown one is not found."""
        await stage.ledger.apply([revision()], "me")
        (job,) = await stage.running()
        await stage.ledger.settle(job.id, 1, "one", Bury(failure=failure()))
        await stage.ledger.pause_module("detect", paused=True, actor="me")
        (found,) = await stage.other.modules()
        assert found.paused
        await stage.ledger.pause_module("detect", paused=False, actor="me")
        assert await _health(stage) == Health()
        with pytest.raises(NotFoundError):
            await stage.ledger.pause_module("no such module", paused=True, actor="me")


async def _health(stage: Stage) -> Health:
    (found,) = await stage.other.modules()
    return found.health
