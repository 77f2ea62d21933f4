"""The ledger's suite: claims, their order and fairness, devices, and owners."""

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from ion.model.job import State
from ion.ports.ledger import Changes, GiveBack, JobFilter, Owner, Retry
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


class ClaimConformance(LedgerStage):
    async def test_claim_makes_a_job_running(self, stage: Stage) -> None:
        """A claimed job has its owner, scope, revision, attempt 1, and a deadline by the ledger's clock."""
        await stage.admitted()
        (job,) = await stage.ledger.claim(claim())
        assert (job.state, job.owner, job.scope, job.attempt) == (State.RUNNING, "one", "here", 1)
        assert (job.revision, job.deadline) == ("current", EPOCH + timedelta(seconds=100))
        assert job == await stage.other.get(job.id)
        assert job.history[-1].actor == "one"

    async def test_claim_takes_its_module_only(self, stage: Stage) -> None:
        """Jobs of other modules stay, and nothing due gives nothing."""
        await stage.admitted(module="count")
        assert not await stage.ledger.claim(claim(10))

    async def test_what_is_asked_for_in_order_takes_effect_in_order(self, stage: Stage) -> None:
        """A claim finds what an admission admits that was asked for before, and is not answered yet."""
        if not stage.ledger.guarantees.in_order:
            pytest.skip("this ledger does not promise an order")
        (_, (job,)) = await asyncio.gather(stage.admitted(), stage.ledger.claim(claim()))
        assert (job.state, job.owner) == (State.RUNNING, "one")

    async def test_racing_claims_are_disjoint(self, stage: Stage) -> None:
        """Two processes that claim at once never get the same job, and together get all."""
        jobs = await stage.admitted(300)
        owners = ((stage.ledger, "one"), (stage.other, "two"))
        batches = await asyncio.gather(
            *(ledger.claim(claim(7, owner=owner)) for _ in range(25) for ledger, owner in owners)
        )
        claimed = Counter(job.id for batch in batches for job in batch)
        assert claimed == Counter(job.id for job in jobs)

    async def test_revision_is_fixed_at_the_first_claim(self, stage: Stage) -> None:
        """A retried job keeps the revision of its first claim."""
        (job,) = await stage.running()
        await stage.ledger.settle(job.id, 1, "one", Retry(failure=failure(), delay_s=0))
        (again,) = await stage.ledger.claim(claim(revision="newer"))
        assert (again.revision, again.attempt) == ("current", 2)

    async def test_flows_take_turns(self, stage: Stage) -> None:
        """Ten jobs of a flow that comes later are claimed among the first of a flow of a thousand."""
        await stage.admitted(1000, flow="crowd")
        await stage.ledger.claim(claim(5))
        await stage.admitted(10, flow="guest")
        claimed = await stage.ledger.claim(claim(20))
        assert Counter(job.correlation_id for job in claimed) == {"crowd": 10, "guest": 10}

    async def test_flows_take_turns_in_single_claims(self, stage: Stage) -> None:
        """Two flows that wait from the start alternate, whichever came first."""
        await stage.admitted(50, flow="first")
        await stage.admitted(50, flow="second")
        order = [(await stage.ledger.claim(claim()))[0].correlation_id for _ in range(20)]
        assert Counter(order) == {"first": 10, "second": 10}
        assert max(Counter(order[:4]).values()) == 2

    async def test_higher_priority_goes_first(self, stage: Stage) -> None:
        """Jobs of a flow with priority, present and to come, are claimed before all others."""
        await stage.admitted(3, flow="plain")
        (early,) = await stage.admitted(flow="urgent")
        await stage.ledger.prioritise("urgent", 5)
        (late,) = await stage.admitted(flow="urgent")
        claimed = await stage.ledger.claim(claim(2))
        assert {job.id for job in claimed} == {early.id, late.id}
        assert (await stage.ledger.flow("urgent")).priority == 5

    async def test_priority_reaches_running_jobs(self, stage: Stage) -> None:
        """A job that ran when its flow got priority has it when it waits again."""
        (job,) = await stage.running(flow="f")
        await stage.ledger.prioritise("f", 3)
        await stage.ledger.settle(job.id, 1, "one", GiveBack(reason="stopping"))
        assert (await stage.ledger.get(job.id)).priority == 3

    async def test_delay_is_by_the_ledgers_clock(self, stage: Stage) -> None:
        """A job is not claimed before its time has come, and is then."""
        await stage.admitted(not_before=EPOCH + timedelta(seconds=10))
        stage.clock.advance(9.9)
        assert not await stage.ledger.claim(claim())
        stage.clock.advance(0.2)
        (job,) = await stage.ledger.claim(claim())
        assert job.not_before is None

    async def test_module_most_bounds_all_owners(self, stage: Stage) -> None:
        """With `module_most` no more run at once, whoever runs them."""
        await stage.admitted(5)
        assert len(await stage.ledger.claim(claim(5, module_most=2))) == 2
        assert not await stage.other.claim(claim(5, owner="two", module_most=2))
        assert len(await stage.other.claim(claim(5, owner="two", module_most=3))) == 1

    async def test_paused_module_is_not_claimed(self, stage: Stage) -> None:
        """Nothing of a paused module is claimed until it is started, which is news of due jobs."""
        await stage.ledger.apply([revision()], "me")
        await stage.admitted()
        await stage.ledger.pause_module("detect", paused=True, actor="me")
        assert not await stage.other.claim(claim())
        async with stage.other.listen(Changes.DUE) as news:
            await stage.ledger.pause_module("detect", paused=False, actor="me")
            assert await news.wait(PATIENCE_S) == Changes.DUE
        assert await stage.other.claim(claim())

    async def test_devices_are_never_given_twice(self, stage: Stage) -> None:
        """Running jobs of a scope hold different devices, over modules and owners; without enough there is no claim."""
        await stage.admitted(5)
        await stage.admitted(5, module="train")
        gpus: dict[str, Any] = {"devices": ("0", "1", "2"), "gpus_each": 1}
        first = await stage.ledger.claim(claim(2, **gpus))
        second = await stage.other.claim(claim(5, owner="two", module="train", **gpus))
        assert sorted(device for job in (*first, *second) for device in job.devices) == ["0", "1", "2"]
        assert (await stage.ledger.get(first[0].id)).devices == first[0].devices
        assert not await stage.ledger.claim(claim(1, **gpus))
        assert await stage.ledger.claim(claim(1, **{**gpus, "scope": "elsewhere"}))

    async def test_devices_come_free(self, stage: Stage) -> None:
        """Devices of a committed or settled attempt can be given again, and several go to one job where it asks."""
        await stage.admitted(3)
        gpus: dict[str, Any] = {"devices": ("0", "1"), "gpus_each": 1}
        one, two = await stage.ledger.claim(claim(2, **gpus))
        await stage.ledger.commit(one.id, 1, manifest())
        assert not await stage.ledger.claim(claim(1, **{**gpus, "gpus_each": 2}))
        await stage.ledger.settle(two.id, 1, "one", GiveBack(reason="stopping"))
        (both,) = await stage.ledger.claim(claim(5, **{**gpus, "gpus_each": 2}))
        assert sorted(both.devices) == ["0", "1"]
        assert (await stage.ledger.get(one.id)).devices == ()

    async def test_overdue_jobs_are_found(self, stage: Stage) -> None:
        """A running job is overdue from its deadline on, by the ledger's clock."""
        (job,) = await stage.running()
        stage.clock.advance(99)
        assert not await stage.ledger.overdue(10)
        stage.clock.advance(2)
        assert [late.id for late in await stage.other.overdue(10)] == [job.id]

    async def test_running_jobs_of_an_owner(self, stage: Stage) -> None:
        """An owner finds what it runs, and nothing of others."""
        mine = await stage.running(2)
        await stage.running(owner="two")
        assert {job.id for job in await stage.ledger.running("one")} == {job.id for job in mine}

    async def test_beats_rise_and_show_everybody(self, stage: Stage) -> None:
        """Each beat raises the owner's own, keeps what it tells of itself, and gives all owners."""
        (first,) = await stage.ledger.beat(_owner("one"))
        await stage.other.beat(_owner("two", modules=("detect",)))
        owners = {owner.id: owner for owner in await stage.ledger.beat(_owner("one"))}
        assert owners["one"].beat > first.beat
        assert list(await stage.other.owners()) == list(await stage.ledger.owners()) == list(owners.values())
        assert owners["two"].modules == ("detect",)

    async def test_retired_owner_is_gone(self, stage: Stage) -> None:
        """An owner that retires with nothing running is no longer listed; its committed jobs go to the next relay."""
        await stage.ledger.beat(_owner("one"))
        job = await stage.committed()
        await stage.ledger.retire("one")
        assert [owner.id for owner in await stage.other.beat(_owner("two"))] == ["two"]
        assert [found.id for found in await stage.other.unreleased(5, "two")] == [job.id]

    async def test_jobs_of_a_retired_owner_can_be_adopted(self, stage: Stage) -> None:
        """What an owner still ran when it retired is taken over by its name."""
        await stage.ledger.beat(_owner("one"))
        (job,) = await stage.running()
        await stage.ledger.retire("one")
        assert [found.id for found in await stage.other.adopt(["one"], "two")] == [job.id]

    async def test_adoption_takes_everything_open(self, stage: Stage) -> None:
        """Running jobs of the dead become the adopter's, once; committed ones anybody's; the dead are not listed."""
        await stage.ledger.beat(_owner("one"))
        committed = await stage.committed(module="count")
        (running,) = await stage.running()
        (adopted,) = await stage.other.adopt(["one"], "two")
        assert (adopted.id, adopted.owner, adopted.attempt) == (running.id, "two", 1)
        assert not await stage.other.adopt(["one"], "three")
        assert [job.id for job in await stage.other.unreleased(5, "three")] == [committed.id]
        assert [owner.id for owner in await stage.other.beat(_owner("two"))] == ["two"]

    async def test_the_adopted_is_lost_to_its_old_owner(self, stage: Stage) -> None:
        """After an adoption the old owner settles nothing, yet its execution may still commit."""
        first, second = await stage.running(2)
        await stage.other.adopt(["one"], "two")
        assert not await stage.ledger.settle(first.id, 1, "one", GiveBack(reason="late"))
        assert await stage.ledger.commit(first.id, 1, manifest())
        assert await stage.other.settle(second.id, 1, "two", GiveBack(reason="adopted"))

    async def test_removed_owner_may_beat_again(self, stage: Stage) -> None:
        """An owner that was taken for dead is added anew and owns nothing."""
        await stage.ledger.beat(_owner("one"))
        await stage.running()
        await stage.other.adopt(["one"], "two")
        assert "one" in [owner.id for owner in await stage.ledger.beat(_owner("one"))]
        assert not await stage.ledger.running("one")
        assert (await stage.ledger.query(JobFilter(owner="two"))).jobs

    async def test_an_owner_that_claims_once_it_is_removed_is_told(self, stage: Stage) -> None:
        """Its claim may take effect after it died and was adopted; what that got is adopted too."""
        await stage.ledger.beat(_owner("one"))
        await stage.other.adopt(["one"], "two")
        (late,) = await stage.running()
        owners = {owner.id: owner for owner in await stage.other.beat(_owner("two"))}
        assert (owners["one"].beat, owners["one"].scope) == (0, late.scope)
        assert [job.id for job in await stage.other.adopt(["one"], "two")] == [late.id]
        assert [owner.id for owner in await stage.other.beat(_owner("two"))] == ["two"]


def _owner(name: str, *, modules: tuple[str, ...] = ()) -> Owner:
    return Owner(id=name, scope="here", host="host", pid=1, modules=modules)
