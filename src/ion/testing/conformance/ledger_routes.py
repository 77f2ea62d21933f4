"""The ledger's suite: routes, on which jobs of one module wait for different places."""

import asyncio
from datetime import timedelta

from ion.model.job import Job, State
from ion.ports.ledger import Changes, Claim, Control, Ledger, Move, Retry
from ion.testing.conformance.ledger_stage import EPOCH, PATIENCE_S, LedgerStage, Stage, claim, failure, revision

NEAR, FAR = "local!0@1234", "kubernetes!0@1234"


async def put(stage: Stage, *jobs: Job, old: str = "", new: str = FAR) -> int:
    return await stage.ledger.reroute([Move(job=job.id, old=old, new=new, note="rule 1") for job in jobs], "one")


def on(*routes: str, most: int = 10, route: str = "") -> Claim:
    return claim(most, routes=routes, route=route)


class RouteConformance(LedgerStage):
    async def test_a_claim_takes_jobs_of_its_routes_only(self, stage: Stage) -> None:
        """What was put onto a route is claimed for that route, by whoever asks for it, and what was not is not."""
        near, far, none = await stage.admitted(3)
        assert await put(stage, near, new=NEAR) == await put(stage, far) == 1
        for routes, job in (((FAR,), far), ((NEAR,), near), (("",), none)):
            assert [one.id for one in await stage.other.claim(on(*routes))] == [job.id]
            assert not await stage.ledger.claim(on(*routes))

    async def test_several_routes_are_one_line(self, stage: Stage) -> None:
        """Of several routes jobs come by priority, as if they stood on one."""
        low, also = await stage.admitted(2, flow="low")
        (high,) = await stage.admitted(flow="high")
        await stage.ledger.prioritise("high", 5)
        await put(stage, low, high)
        await put(stage, also, new=NEAR)
        claimed = await stage.ledger.claim(on(NEAR, FAR, most=2))
        assert claimed[0].id == high.id
        assert len(claimed) == 2
        assert len(await stage.ledger.claim(on(NEAR, FAR))) == 1

    async def test_flows_take_turns_on_a_route(self, stage: Stage) -> None:
        """A flow that comes later is not behind all of a crowd that waits on the same route."""
        crowd = await stage.admitted(50, flow="crowd")
        guests = await stage.admitted(5, flow="guest")
        await put(stage, *crowd, *guests)
        claimed = await stage.ledger.claim(on(FAR, most=10))
        assert sum(job.correlation_id == "guest" for job in claimed) == 5

    async def test_a_claim_fixes_the_route(self, stage: Stage) -> None:
        """A job that was claimed is on the claim's route from then on, also when it waits again."""
        (job,) = await stage.admitted()
        await put(stage, job)
        (running,) = await stage.ledger.claim(on(FAR, route="kubernetes!0"))
        assert running.route == (await stage.other.get(job.id)).route == "kubernetes!0"
        await stage.ledger.settle(job.id, 1, "one", Retry(failure=failure(), delay_s=0))
        assert not await stage.ledger.claim(on("", NEAR, FAR))
        assert [one.attempt for one in await stage.ledger.claim(on("kubernetes!0"))] == [2]

    async def test_moving_is_guarded_by_the_route(self, stage: Stage) -> None:
        """Of two that move a job at once one wins, and what does not wait is not moved."""
        (job,), (running,) = await stage.admitted(), await stage.admitted()
        assert await put(stage, job) == 1
        assert await put(stage, job, new=NEAR) == 0
        assert (await stage.ledger.get(job.id)).route == FAR
        (running,) = await stage.ledger.claim(on(""))
        assert await put(stage, running) == 0

    async def test_racing_moves_take_each_job_once(self, stage: Stage) -> None:
        """Two processes that look at the same jobs put each of them onto its route once, and nothing is left over."""
        jobs = await stage.admitted(100)
        moves = [Move(job=job.id, old="", new=FAR) for job in jobs]
        done = await asyncio.gather(
            *(ledger.reroute(moves[n:] + moves[:n], "one") for n in (0, 50) for ledger in (stage.ledger, stage.other))
        )
        assert sum(done) == 100
        assert len(await stage.ledger.claim(on(FAR, most=200))) == 100

    async def test_a_job_is_claimed_only_where_its_last_move_put_it(self, stage: Stage) -> None:
        """However moves to and fro and claims for both places race, nothing is claimed for a place that it has left."""
        jobs = [job.id for job in await stage.admitted(60)]
        places = {NEAR: "local!0", FAR: "kubernetes!0"}

        async def move(ledger: Ledger, old: str, new: str) -> None:
            await ledger.reroute([Move(job=job, old=old, new=new, note=new) for job in jobs], "one")

        await move(stage.ledger, "", NEAR)
        for _ in range(4):
            await asyncio.gather(
                move(stage.other, NEAR, FAR),
                stage.ledger.claim(on(NEAR, most=8, route=places[NEAR])),
                stage.other.claim(on(FAR, most=8, route=places[FAR])),
                move(stage.ledger, FAR, NEAR),
            )
        claimed = [job for job in [await stage.ledger.get(job) for job in jobs] if job.state is State.RUNNING]
        assert claimed
        for job in claimed:
            moves = [change.note for change in job.history if change.note in places]
            assert (job.attempt, job.route) == (1, places[moves[-1]])

    async def test_moving_is_told_in_the_history(self, stage: Stage) -> None:
        """Who moved it, and why; it waits on, as often tried as before."""
        (job,) = await stage.admitted()
        await put(stage, job)
        moved = await stage.ledger.get(job.id)
        assert (moved.state, moved.attempt) == (State.WAITING, 0)
        assert (moved.history[-1].actor, moved.history[-1].note) == ("one", "rule 1")

    async def test_moving_is_news_of_due_jobs(self, stage: Stage) -> None:
        """Whoever serves the other route hears of it."""
        (job,) = await stage.admitted()
        async with stage.other.listen(Changes.DUE) as news:
            await put(stage, job)
            assert await news.wait(PATIENCE_S) == Changes.DUE

    async def test_routes_are_those_on_which_jobs_are_due(self, stage: Stage) -> None:
        """Not those of jobs that wait for their time, are held or run, nor another module's."""
        jobs = await stage.admitted(3)
        await put(stage, *jobs[1:])
        (late,) = await stage.admitted(not_before=EPOCH + timedelta(seconds=10))
        (held,) = await stage.admitted(flow="paused")
        await put(stage, late, held, new=NEAR)
        await stage.ledger.control("paused", Control.PAUSED, "me")
        await stage.admitted(module="count")
        assert await stage.other.routes("detect") == {"", FAR}
        stage.clock.advance(10)
        assert await stage.other.routes("detect") == {"", FAR, NEAR}
        await stage.ledger.claim(on(FAR))
        assert await stage.other.routes("detect") == {"", NEAR}

    async def test_a_clock_that_was_set_back_keeps_no_route_empty(self, stage: Stage) -> None:
        """A delay that nobody can have asked for is over, as for a claim."""
        (job,) = await stage.admitted(not_before=EPOCH + timedelta(seconds=1000))
        await put(stage, job)
        assert await stage.ledger.routes("detect", 2000.0) == frozenset()
        assert not await stage.ledger.on_route("detect", FAR, 5, 2000.0)
        assert await stage.ledger.routes("detect", 300.0) == {FAR}
        assert [one.id for one in await stage.ledger.on_route("detect", FAR, 5, 300.0)] == [job.id]

    async def test_jobs_on_a_route_come_in_the_order_of_claims(self, stage: Stage) -> None:
        """So those that are looked at are those that would be claimed next."""
        jobs = await stage.admitted(4, flow="low")
        (high,) = await stage.admitted(flow="high")
        await stage.ledger.prioritise("high", 5)
        (late,) = await stage.admitted(not_before=EPOCH + timedelta(seconds=10))
        await put(stage, *jobs[1:], high, late)
        found = [job.id for job in await stage.other.on_route("detect", FAR, 3)]
        assert found == [job.id for job in await stage.ledger.claim(on(FAR, most=3))]
        assert [job.id for job in await stage.ledger.on_route("detect", "", 3)] == [jobs[0].id]
        stage.clock.advance(10)
        assert late.id in [job.id for job in await stage.other.on_route("detect", FAR, 3)]

    async def test_a_crowd_that_nobody_claims_hides_nobody(self, stage: Stage) -> None:
        """Thousands whose time has come for a place that nobody serves do not keep one of another from its turn."""
        crowd = await stage.admitted(1_000, flow="crowd", not_before=EPOCH + timedelta(seconds=5))
        (late,) = await stage.admitted(flow="late", not_before=EPOCH + timedelta(seconds=10))
        assert await put(stage, *crowd) == 1_000
        await put(stage, late, new=NEAR)
        stage.clock.advance(10)
        assert await stage.other.routes("detect") == {FAR, NEAR}
        assert [job.id for job in await stage.other.claim(on(NEAR, most=1))] == [late.id]

    async def test_a_paused_and_freed_job_is_on_its_route(self, stage: Stage) -> None:
        """What happens to its flow does not change where it is to run."""
        (job,) = await stage.admitted(flow="f")
        await put(stage, job)
        await stage.ledger.control("f", Control.PAUSED, "me")
        assert not await stage.ledger.claim(on(FAR))
        await stage.ledger.control("f", Control.NONE, "me")
        assert len(await stage.ledger.claim(on(FAR))) == 1

    async def test_queued_by_hand_it_is_on_no_route(self, stage: Stage) -> None:
        """A person's retry takes the module as it is now: its rules are asked again."""
        await stage.ledger.apply([revision()], "me")
        (job,) = await stage.admitted()
        await put(stage, job)
        await stage.ledger.cancel(job.id, "me")
        assert await stage.ledger.requeue(job.id, "me")
        assert (await stage.ledger.get(job.id)).route == ""

    async def test_waiting_tells_of_every_route(self, stage: Stage) -> None:
        """A module with jobs on routes alone has due jobs."""
        (job,) = await stage.admitted()
        await put(stage, job)
        assert await stage.other.waiting() == {"detect": 0.0}
        assert (await stage.other.load("detect", 10)).jobs == {State.WAITING: 1}
