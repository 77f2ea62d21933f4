"""The ledger's suite: commits, settling, the relay, and what people do to single jobs."""

import asyncio
from datetime import timedelta

import msgspec
import pytest

from ion.errors import ConflictError
from ion.model.job import HISTORY_LIMIT, FailureClass, Hold, State
from ion.ports.ledger import Bury, Cancel, Changes, Control, GiveBack, Open, Retry
from ion.testing.conformance.ledger_stage import (
    EPOCH,
    PATIENCE_S,
    LedgerStage,
    Stage,
    claim,
    failure,
    manifest,
    revision,
)


class SettlingConformance(LedgerStage):
    async def test_commit_decides(self, stage: Stage) -> None:
        """A committed job has the execution, manifest and log of the winner, and is news for the relay."""
        (job,) = await stage.running()
        won = manifest()
        async with stage.other.listen(Changes.COMMITTED) as news:
            assert await stage.ledger.commit(job.id, 1, won)
            assert await news.wait(PATIENCE_S) == Changes.COMMITTED
        found = await stage.other.get(job.id)
        assert (found.state, found.execution, found.manifest) == (State.COMMITTED, won.execution, won)
        assert (found.log, found.ended_at, found.deadline) == (won.log, EPOCH, None)

    async def test_commit_can_be_repeated(self, stage: Stage) -> None:
        """The winner's commit answers True again, after the release too, and changes nothing."""
        (job,) = await stage.running()
        won = manifest()
        assert await stage.ledger.commit(job.id, 1, won)
        before = await stage.ledger.get(job.id)
        assert await stage.other.commit(job.id, 1, won)
        assert await stage.ledger.get(job.id) == before
        await stage.ledger.released(job.id, "one")
        assert await stage.other.commit(job.id, 1, won)

    async def test_late_execution_loses(self, stage: Stage) -> None:
        """Another execution of the attempt, or an attempt that is over, commits nothing."""
        (job,) = await stage.running()
        won = manifest()
        await stage.ledger.commit(job.id, 1, won)
        assert not await stage.other.commit(job.id, 1, manifest())
        assert not await stage.other.commit(job.id, 2, won)
        (retried,) = await stage.running()
        await stage.ledger.settle(retried.id, 1, "one", Retry(failure=failure(), delay_s=0))
        assert not await stage.other.commit(retried.id, 1, manifest())
        await stage.ledger.claim(claim())
        assert not await stage.other.commit(retried.id, 1, manifest())
        assert not await stage.other.commit("no such job", 1, manifest())

    async def test_racing_commits_have_one_winner(self, stage: Stage) -> None:
        """Of executions that commit at once in two processes, exactly one wins and its results are the job's."""
        for job in await stage.running(20):
            mine, theirs = manifest(), manifest()
            answers = await asyncio.gather(stage.ledger.commit(job.id, 1, mine), stage.other.commit(job.id, 1, theirs))
            assert sorted(answers) == [False, True]
            winner = mine if answers[0] else theirs
            assert (await stage.ledger.get(job.id)).manifest == winner

    async def test_commit_races_settle(self, stage: Stage) -> None:
        """Of a commit and a settling at once exactly one takes effect."""
        for job in await stage.running(20):
            committed, settled = await asyncio.gather(
                stage.other.commit(job.id, 1, manifest()),
                stage.ledger.settle(job.id, 1, "one", Bury(failure=failure())),
            )
            assert committed is not settled
            assert await stage.state(job) is (State.COMMITTED if committed else State.DEAD)

    async def test_settling_is_guarded(self, stage: Stage) -> None:
        """Only the owner settles, only its attempt, and only once."""
        (job,) = await stage.running()
        retry = Retry(failure=failure(), delay_s=0)
        assert not await stage.other.settle(job.id, 1, "two", retry)
        assert not await stage.other.settle(job.id, 2, "one", retry)
        assert await stage.other.settle(job.id, 1, "one", retry)
        assert not await stage.other.settle(job.id, 1, "one", retry)

    async def test_retry_waits_its_delay(self, stage: Stage) -> None:
        """A retried job waits with its failure, counted by class, its log kept, and is due after the delay."""
        (job,) = await stage.running()
        fault = failure(FailureClass.TIMEOUT)
        await stage.ledger.settle(job.id, 1, "one", Retry(failure=fault, delay_s=30), log="x/log.txt")
        found = await stage.ledger.get(job.id)
        assert (found.state, found.failure, found.log) == (State.WAITING, fault, "x/log.txt")
        assert found.failures == {FailureClass.TIMEOUT: 1}
        assert found.not_before == EPOCH + timedelta(seconds=30)
        assert not await stage.ledger.claim(claim())
        stage.clock.advance(31)
        (again,) = await stage.ledger.claim(claim())
        await stage.ledger.settle(job.id, 2, "one", Bury(failure=failure()))
        assert (await stage.ledger.get(again.id)).failures == {FailureClass.TIMEOUT: 1, FailureClass.MODULE: 1}

    async def test_trouble_has_a_beginning(self, stage: Stage) -> None:
        """A streak of infrastructure failures keeps the time it began; another failure ends it."""
        (job,) = await stage.running()
        trouble = Retry(failure=failure(FailureClass.INFRASTRUCTURE), delay_s=0)
        await stage.ledger.settle(job.id, 1, "one", trouble)
        stage.clock.advance(60)
        await stage.ledger.claim(claim())
        await stage.ledger.settle(job.id, 2, "one", trouble)
        assert (await stage.ledger.get(job.id)).troubled_at == EPOCH
        await stage.ledger.claim(claim())
        await stage.ledger.settle(job.id, 3, "one", Retry(failure=failure(), delay_s=0))
        assert (await stage.ledger.get(job.id)).troubled_at is None

    async def test_burial_and_cancelling_end_a_job(self, stage: Stage) -> None:
        """`Bury` makes a dead letter, `Cancel` a cancelled job; both leave the open set and are told."""
        first, second = await stage.running(2, flow="f")
        async with stage.other.listen(Changes.ENDED) as news:
            assert await stage.ledger.settle(first.id, 1, "one", Bury(failure=failure()))
            assert await news.wait(PATIENCE_S) == Changes.ENDED
        assert await stage.ledger.settle(second.id, 1, "one", Cancel(reason="asked for"))
        assert (await stage.state(first), await stage.state(second)) == (State.DEAD, State.CANCELLED)
        assert (await stage.ledger.open("f")).total == 0

    async def test_given_back_burns_nothing(self, stage: Stage) -> None:
        """A job given back is due at once with its attempt kept and no failure."""
        (job,) = await stage.running()
        assert await stage.ledger.settle(job.id, 1, "one", GiveBack(reason="stopping"))
        found = await stage.ledger.get(job.id)
        assert (found.state, found.attempt, found.failure, found.failures) == (State.WAITING, 1, None, {})
        (again,) = await stage.other.claim(claim(owner="two"))
        assert again.attempt == 2

    async def test_relay_takes_the_oldest_of_its_own_and_nobodys(self, stage: Stage) -> None:
        """The relay of an owner gets its own committed jobs and those that adoption freed, oldest first."""
        jobs = [await stage.committed(owner=owner) for owner in ("gone", "one", "two", "gone")]
        await stage.ledger.adopt(["gone"], "one")
        assert [job.id for job in await stage.ledger.unreleased(2, "one")] == [jobs[0].id, jobs[1].id]
        assert [job.id for job in await stage.ledger.unreleased(9, "one")] == [job.id for job in (*jobs[:2], jobs[3])]
        assert [job.id for job in await stage.other.unreleased(9, "two")] == [jobs[2].id]

    async def test_cursor_only_rises(self, stage: Stage) -> None:
        """The owner's cursor is kept and never goes back; nobody else moves it."""
        job = await stage.committed()
        assert await stage.ledger.advance(job.id, "one", 2)
        assert await stage.ledger.advance(job.id, "one", 1)
        assert not await stage.other.advance(job.id, "two", 9)
        assert (await stage.ledger.get(job.id)).cursor == 2

    async def test_release_ends_a_job(self, stage: Stage) -> None:
        """Only the owner releases a committed job; repeated it answers True; a waiting one is not released."""
        job = await stage.committed(flow="f")
        assert not await stage.other.released(job.id, "two")
        assert await stage.ledger.released(job.id, "one")
        assert await stage.ledger.released(job.id, "one")
        assert await stage.ledger.open("f") == Open()
        (waiting,) = await stage.admitted()
        assert not await stage.ledger.released(waiting.id, "one")
        assert not await stage.ledger.unreleased(9, "one")

    async def test_deferred_relay_waits(self, stage: Stage) -> None:
        """A committed job that was put off is due for the relay after the delay, with the note in its history."""
        job = await stage.committed()
        assert not await stage.ledger.defer(job.id, "two", 20, "bus away")
        assert await stage.ledger.defer(job.id, "one", 20, "bus away")
        assert not await stage.ledger.unreleased(9, "one")
        stage.clock.advance(21)
        (found,) = await stage.ledger.unreleased(9, "one")
        assert found.history[-1].note == "bus away"

    async def test_burying_is_for_waiting_jobs(self, stage: Stage) -> None:
        """A waiting job, held or not, can be buried with its failure; a running one cannot."""
        (held,) = await stage.admitted(hold=Hold.HOPS)
        assert await stage.ledger.bury(held.id, failure(), "me")
        found = await stage.ledger.get(held.id)
        assert (found.state, found.failure, found.hold) == (State.DEAD, failure(), None)
        (running,) = await stage.running()
        assert not await stage.ledger.bury(running.id, failure(), "me")

    async def test_burying_is_for_jobs_without_a_module(self, stage: Stage) -> None:
        """Whoever looked before the module was applied again buries nothing."""
        await stage.other.apply([revision()], "me")
        (waiting,) = await stage.admitted()
        assert not await stage.ledger.bury(waiting.id, failure(), "me")
        assert await stage.state(waiting) is State.WAITING
        await stage.other.remove("detect", "me")
        assert await stage.ledger.bury(waiting.id, failure(), "me")

    async def test_cancelling_single_jobs(self, stage: Stage) -> None:
        """A waiting job is cancelled at once, a running one marked and told, and anything else is left."""
        (waiting,) = await stage.admitted(module="count")
        assert await stage.ledger.cancel(waiting.id, "me")
        assert await stage.state(waiting) is State.CANCELLED
        (running,) = await stage.running()
        async with stage.other.listen(Changes.CANCEL) as news:
            assert await stage.ledger.cancel(running.id, "me")
            assert await news.wait(PATIENCE_S) == Changes.CANCEL
        assert (await stage.other.get(running.id)).cancelling
        assert not await stage.ledger.cancel((await stage.committed()).id, "me")
        assert not await stage.ledger.cancel("no such job", "me")

    @pytest.mark.parametrize("outcome", [Retry(failure=failure(), delay_s=0), GiveBack(reason="stopping")])
    async def test_a_job_to_be_cancelled_does_not_wait_again(self, stage: Stage, outcome: Retry | GiveBack) -> None:
        """A marked job that fails or is given back becomes cancelled."""
        (job,) = await stage.running()
        await stage.ledger.cancel(job.id, "me")
        assert await stage.ledger.settle(job.id, 1, "one", outcome)
        assert await stage.state(job) is State.CANCELLED

    async def test_requeued_job_starts_afresh(self, stage: Stage) -> None:
        """A dead job that a person queues again is due at once with counts at 0 and takes the current revision."""
        await stage.ledger.apply([revision()], "me")
        (job,) = await stage.running()
        await stage.ledger.settle(job.id, 1, "one", Bury(failure=failure(FailureClass.INFRASTRUCTURE)))
        assert await stage.ledger.requeue(job.id, "me")
        found = await stage.ledger.get(job.id)
        assert (found.state, found.failures, found.troubled_at) == (State.WAITING, {}, None)
        assert found.history[-1].actor == "me"
        (again,) = await stage.ledger.claim(claim(revision="newer"))
        assert (again.attempt, again.revision) == (2, "newer")
        assert not await stage.ledger.requeue(job.id, "me")

    async def test_a_job_that_a_guard_holds_can_be_freed(self, stage: Stage) -> None:
        """Requeued it is due; one that a pause holds, or nothing, is left as it is."""
        await stage.ledger.apply([revision()], "test")
        (held,) = await stage.admitted(hold=Hold.HOPS)
        (free,) = await stage.admitted()
        assert not await stage.other.requeue(free.id, "me")
        assert await stage.other.requeue(held.id, "me")
        assert (await stage.ledger.get(held.id)).hold is None
        assert {job.id for job in await stage.ledger.claim(claim(5))} == {held.id, free.id}
        assert (await stage.ledger.open(held.correlation_id)).held == 0

    async def test_cancelled_job_can_be_requeued(self, stage: Stage) -> None:
        """A cancelled job may be queued again, and where its flow is paused it is held."""
        await stage.ledger.apply([revision()], "me")
        (job,) = await stage.admitted(flow="f")
        await stage.ledger.cancel(job.id, "me")
        await stage.ledger.control("f", Control.PAUSED, "me")
        assert await stage.ledger.requeue(job.id, "me")
        assert (await stage.ledger.get(job.id)).hold is Hold.FLOW

    async def test_requeueing_is_refused_where_it_cannot_run(self, stage: Stage) -> None:
        """In a cancelled flow, or without its module, a job is not queued again and the error names the obstacle."""
        dead = await stage.dead(flow="f")
        with pytest.raises(ConflictError, match="detect"):
            await stage.ledger.requeue(dead.id, "me")
        await stage.ledger.apply([revision()], "me")
        await stage.ledger.control("f", Control.CANCELLED, "me")
        with pytest.raises(ConflictError, match="cancelled flow f"):
            await stage.ledger.requeue(dead.id, "me")
        assert await stage.state(dead) is State.DEAD

    async def test_history_is_bounded(self, stage: Stage) -> None:
        """The history keeps its first entry and the latest, fifty in all."""
        (job,) = await stage.admitted()
        for attempt in range(1, 41):
            await stage.ledger.claim(claim())
            await stage.ledger.settle(job.id, attempt, "one", Retry(failure=failure(message="x" * 9999), delay_s=0))
        found = await stage.ledger.get(job.id)
        assert len(found.history) == HISTORY_LIMIT
        assert (found.history[0].state, found.history[0].attempt) == (State.WAITING, 0)
        assert [entry.attempt for entry in found.history[-2:]] == [40, 40]
        assert len(msgspec.json.encode(found)) < 64 * 1024
