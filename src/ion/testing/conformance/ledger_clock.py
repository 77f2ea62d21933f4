"""The ledger's suite: its clock is set, ahead or back, and nothing becomes stuck or is thought to have had its time."""

from datetime import timedelta

from ion.model.job import FailureClass, Job
from ion.ports.ledger import DEFER_MOST_S, Bury, Retry
from ion.testing.conformance.ledger_stage import EPOCH, LedgerStage, Stage, claim, failure, revision

DAY_S = 24 * 3600.0
LONGEST_S = 300.0
"""The longest back-off."""


class ClockConformance(LedgerStage):
    async def test_a_job_does_not_wait_longer_than_any_back_off(self, stage: Stage) -> None:
        """The clock was set back by a day since its back-off began: it is due, to claims that know the bound."""
        job = await _retried(stage, delay_s=LONGEST_S)
        stage.clock.advance(-DAY_S)
        assert (await stage.ledger.waiting())["detect"] == DAY_S + LONGEST_S
        assert not await stage.ledger.claim(claim())
        (again,) = await stage.other.claim(claim(delay_most_s=LONGEST_S))
        assert (again.id, again.attempt, again.not_before) == (job.id, 2, None)

    async def test_a_back_off_is_kept_while_it_can_be_true(self, stage: Stage) -> None:
        """What lies as far ahead as the longest back-off is waited for, and then comes."""
        await _retried(stage, delay_s=LONGEST_S)
        assert not await stage.ledger.claim(claim(delay_most_s=LONGEST_S))
        stage.clock.advance(LONGEST_S - 0.1)
        assert not await stage.ledger.claim(claim(delay_most_s=LONGEST_S))
        stage.clock.advance(0.2)
        assert await stage.ledger.claim(claim(delay_most_s=LONGEST_S))

    async def test_a_relay_is_not_put_off_longer_than_it_may(self, stage: Stage) -> None:
        """The clock was set back since: the committed job is due, while one that was just put off is not."""
        old, new = await stage.committed(), await stage.committed()
        await stage.ledger.defer(old.id, "one", DEFER_MOST_S, "bus away")
        stage.clock.advance(-DAY_S)
        await stage.ledger.defer(new.id, "one", DEFER_MOST_S, "bus away")
        assert [job.id for job in await stage.ledger.unreleased(9, "one")] == [old.id]

    async def test_a_module_was_quiet_though_its_failure_lies_ahead(self, stage: Stage) -> None:
        """Its breaker does not wait for the old time to come again."""
        await stage.ledger.apply([revision()], "me")
        (job,) = await stage.running()
        await stage.ledger.settle(job.id, 1, "one", Bury(failure=failure()))
        stage.clock.advance(-DAY_S)
        (registered,) = await stage.other.modules()
        assert (registered.health.dead_in_row, registered.health.quiet_s) == (1, DAY_S)

    async def test_an_owner_keeps_its_deadlines_true(self, stage: Stage) -> None:
        """Told how long an attempt has really gone on, the ledger moves its beginning and its deadline alike."""
        (job,) = await stage.running()
        stage.clock.advance(DAY_S)
        assert await stage.ledger.overdue(9)
        assert await stage.ledger.retime(job.id, 1, "one", 30.0)
        assert not await stage.other.overdue(9)
        found = await stage.other.get(job.id)
        now = EPOCH + timedelta(seconds=DAY_S)
        assert (found.started_at, found.deadline) == (now - timedelta(seconds=30), now + timedelta(seconds=70))

    async def test_moving_a_deadline_is_guarded(self, stage: Stage) -> None:
        """Only the owner moves it, only of its attempt, and only while that runs."""
        (job,) = await stage.running()
        assert not await stage.other.retime(job.id, 1, "two", 0.0)
        assert not await stage.ledger.retime(job.id, 2, "one", 0.0)
        await stage.ledger.settle(job.id, 1, "one", Bury(failure=failure()))
        assert not await stage.ledger.retime(job.id, 1, "one", 0.0)
        assert (await stage.ledger.get(job.id)).deadline is None


async def _retried(stage: Stage, *, delay_s: float) -> Job:
    """A job that waits for its second attempt."""
    (job,) = await stage.running()
    trouble = failure(FailureClass.INFRASTRUCTURE)
    assert await stage.ledger.settle(job.id, 1, "one", Retry(failure=trouble, delay_s=delay_s))
    return job
