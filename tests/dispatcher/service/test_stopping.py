"""The end of a dispatcher: it claims no more, lets running jobs end, then gives them up, and burns nothing."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
import pytest

from ion.adapters.bus.sqlite import SqliteBus
from ion.adapters.ledger.sqlite import SqliteLedger
from ion.adapters.sqlite.database import Database
from ion.dispatcher import service, tasks
from ion.dispatcher.finish import Step
from ion.model.event import Event
from ion.model.job import Job, State
from ion.ports.ledger import Owner
from ion.testing.local import left_of

if TYPE_CHECKING:
    from tests.dispatcher.service.conftest import Site


A_FACE = 'echo "{\\"type\\": \\"face\\"}" > "$ION_DIR/out/events/1.json"'
UNTIL_GO = f"echo begun >> ran; while [ ! -e go ]; do sleep 0.02; done; {A_FACE}"
UNTIL_TOLD = (
    'trap "echo told >> ran; exit 0" TERM; echo "begun $ION_ATTEMPT" >> ran; '
    '[ "$ION_ATTEMPT" = 1 ] || exit 0; while :; do sleep 0.02; done'
)
DEAF = 'trap "" TERM; echo begun >> ran; while :; do sleep 0.02; done'


async def go(site: "Site") -> None:
    (site.outside / "go").touch()


async def owners(site: "Site") -> list[str]:
    """Who beats on the store, beside whoever asks."""
    observer = Owner(id="observer", scope="", host="", pid=0)
    found = [owner.id for owner in await site.stores.ledger.beat(observer)]
    await site.stores.ledger.retire("observer")
    return [owner for owner in found if owner != "observer"]


async def dispatched_until_it_breaks(site: "Site") -> None:
    async with site.dispatching(stop_grace_s=3600.0):
        await site.until_lines("ran", 1)
        raise RuntimeError("it broke")


def check_given_back(job: Job) -> None:
    """It waits as if nothing had been, but for the attempt that is spent and its log."""
    assert (job.state, job.attempt, job.failures, job.failure) == (State.WAITING, 1, {}, None)
    assert job.not_before is None
    assert job.log


async def test_stopping_lets_running_jobs_end_and_claims_no_more(site: "Site") -> None:
    """When it is done, the job that ran is released and its child is in the ledger, for the next dispatcher."""
    await site.module("detect", UNTIL_GO, emits=["face"], concurrency=1)
    await site.module("count", "true", on="face")
    async with site.dispatching() as dispatcher:
        events = await site.raise_photos(2)
        await site.until_lines("ran", 1)
        await asyncio.gather(dispatcher.stop(), go(site))
        tally = await site.stores.ledger.tally(events[0].correlation_id)
    assert site.lines("ran") == ["begun"]
    assert {key: count for key, count in tally.items() if key[0] != "test"} == {
        ("detect", State.RELEASED): 1,
        ("detect", State.WAITING): 1,
        ("count", State.WAITING): 1,
    }


async def test_after_the_grace_running_jobs_are_ended_and_given_back(site: "Site") -> None:
    """The module is asked politely, nothing of it is left, and nothing is burnt; the next dispatcher does it."""
    await site.module("detect", UNTIL_TOLD)
    async with site.dispatching() as dispatcher:
        event = await site.photo()
        await site.until_lines("ran", 1)
        await dispatcher.stop(grace_s=0.0)
    check_given_back(await site.job(event))
    assert site.lines("ran") == ["begun 1", "told"]
    assert left_of(site.store) == set()
    assert site.steps[-1].step is Step.GIVEN_BACK
    async with site.dispatching():
        assert await site.quiet(event) == {("detect", State.RELEASED): 1}
    assert site.lines("ran") == ["begun 1", "told", "begun 2"]


async def test_a_module_that_does_not_listen_is_killed_and_given_back(site: "Site") -> None:
    """After the module's own grace."""
    await site.module("detect", DEAF, grace_s=0.2)
    async with site.dispatching() as dispatcher:
        event = await site.photo()
        await site.until_lines("ran", 1)
        await dispatcher.stop(grace_s=0.0)
    check_given_back(await site.job(event))
    assert left_of(site.store) == set()


async def test_a_module_has_its_own_grace_also_when_its_dispatcher_stops(site: "Site") -> None:
    """What is given up is waited for as long as its module may take to end, and then given back."""
    await site.module("detect", DEAF, grace_s=3.0)
    async with site.dispatching(stop_grace_s=-9.0) as dispatcher:  # as the code is, one second: less than the module's
        event = await site.photo()
        await site.until_lines("ran", 1)
        await dispatcher.stop(grace_s=0.0)
    check_given_back(await site.job(event))


async def test_who_hurried_before_it_stops_waits_for_nothing(site: "Site") -> None:
    """However long the grace would be: running jobs are given up."""
    await site.module("detect", UNTIL_TOLD)
    async with site.dispatching() as dispatcher:
        event = await site.photo()
        await site.until_lines("ran", 1)
        dispatcher.hurry()
        await dispatcher.stop(grace_s=3600.0)
    check_given_back(await site.job(event))


async def test_hurry_ends_the_grace_while_it_stops(site: "Site") -> None:
    """What has ended by then is kept, the rest is given up now."""
    await site.module("detect", UNTIL_TOLD)
    await site.module("count", UNTIL_GO, on="scan")
    async with site.dispatching() as dispatcher:
        event, scan = await site.photo(), await site.photo(kind="scan")
        await site.until_lines("ran", 2)

        async def hurry() -> None:
            (site.outside / "go").touch()
            await site.reached(scan, State.DEAD, "count")
            dispatcher.hurry()

        await asyncio.gather(dispatcher.stop(grace_s=3600.0), hurry())
    check_given_back(await site.job(event))


async def test_leaving_by_an_error_gives_running_jobs_back_at_once(site: "Site") -> None:
    """Whatever broke is not made to wait for modules."""
    await site.module("detect", UNTIL_TOLD)
    event = await site.photo()
    with pytest.raises(RuntimeError, match="broke"):
        await dispatched_until_it_breaks(site)
    check_given_back(await site.job(event))


async def test_what_fails_by_itself_while_it_stops_is_settled_as_ever(site: "Site") -> None:
    """Within the grace an attempt ends as it would at any time."""
    await site.module("detect", f"{UNTIL_GO}; exit 3")
    async with site.dispatching() as dispatcher:
        event = await site.photo()
        await site.until_lines("ran", 1)
        await asyncio.gather(dispatcher.stop(), go(site))
    job = await site.job(event)
    assert (job.state, list(job.failures.values())) == (State.WAITING, [1])


async def test_one_that_stopped_is_nobodys_peer_any_more(site: "Site") -> None:
    """Its row and its lock are gone: others have the whole concurrency at once. Stopping again is harmless."""
    async with site.dispatching() as dispatcher:
        assert await owners(site) == [dispatcher.id]
        await dispatcher.stop()
        assert await owners(site) == []
        await dispatcher.stop()
    assert list((site.store / "run").iterdir()) == []


class Swallowing(SqliteLedger):
    """A ledger whose client answers once as if it had not been cancelled."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.asked = asyncio.Event()
        self.swallowed = 0

    async def running(self, owner: str) -> Sequence[Job]:
        self.asked.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.swallowed += 1
            if self.swallowed > 1:
                raise
        return await super().running(owner)


async def test_it_ends_though_a_client_swallows_a_cancellation(site: "Site", monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop that went on for it is cancelled again, and nothing is left of it."""
    monkeypatch.setattr(tasks, "AGAIN_S", 0.2)
    async with Database(site.store / "ion.db") as database:
        ledger = Swallowing(database)
        stores = msgspec.structs.replace(site.stores, ledger=ledger)
        async with site.dispatching(stores=stores, reconcile_s=0.01) as dispatcher:
            await ledger.asked.wait()
            await dispatcher.stop()
            assert ledger.swallowed >= 1
            assert [task for task in asyncio.all_tasks() if task.get_name() in ("reconcile", "dispatcher")] == []
            assert await owners(site) == []


class Mute(SqliteBus):
    """A bus that does not answer."""

    async def publish(self, events: Sequence[Event]) -> None:
        await asyncio.Event().wait()


async def test_what_cannot_be_relayed_in_time_is_left_to_the_next(
    site: "Site", monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though its bus never answers it ends, and the job stays committed until another releases it."""
    monkeypatch.setattr(service, "ENDING_S", 0.2)
    await site.module("detect", A_FACE, emits=["face"])
    async with Database(site.store / "ion.db") as database:
        stores = msgspec.structs.replace(site.stores, bus=Mute(database))
        async with site.dispatching(stores=stores) as dispatcher:
            event = await site.photo()
            await site.reached(event, State.COMMITTED)
            await dispatcher.stop()
    assert (await site.job(event)).state is State.COMMITTED
    async with site.dispatching():
        assert await site.quiet(event) == {("detect", State.RELEASED): 1}
