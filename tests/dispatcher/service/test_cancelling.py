"""Jobs and flows that a person cancels or pauses while a dispatcher is at work."""

from typing import TYPE_CHECKING

from ion.dispatcher.finish import Step
from ion.model.job import State
from ion.ports.ledger import Control
from ion.testing.local import left_of

if TYPE_CHECKING:
    from tests.dispatcher.service.conftest import Site

A_FACE = 'echo "{\\"type\\": \\"face\\"}" > "$ION_DIR/out/events/1.json"'
UNTIL_GO = f"echo begun >> ran; while [ ! -e go ]; do sleep 0.02; done; {A_FACE}"
RUNS_ON = "echo said; setsid -f sleep 1000; sleep 1000 & echo begun >> ran; wait"
LATE = 3600.0
"""No comparison comes to the help of the news within a test."""


async def test_a_running_job_that_is_cancelled_is_ended(site: "Site") -> None:
    """With all its processes; the job is cancelled, not dead, and its log is kept."""
    await site.module("detect", RUNS_ON)
    async with site.dispatching(reconcile_s=LATE):
        event = await site.photo()
        await site.until_lines("ran", 1)
        assert left_of(site.store)
        assert await site.stores.ledger.cancel((await site.job(event)).id, "test")
        assert await site.quiet(event) == {("detect", State.CANCELLED): 1}
        job = await site.job(event)
    assert left_of(site.store) == set()
    assert job.failures == {}
    assert b"said" in await site.stores.blobs.get_bytes(job.log)
    assert [one.step for one in site.steps] == [Step.STARTED, Step.CANCELLED]


async def test_the_one_beside_it_goes_on(site: "Site") -> None:
    """A cancellation is one job's."""
    await site.module("detect", UNTIL_GO, emits=["face"])
    async with site.dispatching(reconcile_s=LATE):
        first, second = await site.raise_photos(2)
        await site.until_lines("ran", 2)
        await site.stores.ledger.cancel((await site.job(first)).id, "test")
        await site.reached(first, State.CANCELLED)
        (site.outside / "go").touch()
        await site.reached(second, State.RELEASED)


async def test_a_cancelled_job_that_is_retried_by_a_person_runs_again(site: "Site") -> None:
    """As a new attempt of the same job."""
    await site.module("detect", UNTIL_GO, emits=["face"])
    async with site.dispatching(reconcile_s=LATE):
        event = await site.photo()
        await site.until_lines("ran", 1)
        job = await site.job(event)
        await site.stores.ledger.cancel(job.id, "test")
        await site.reached(event, State.CANCELLED)
        (site.outside / "go").touch()
        assert await site.stores.ledger.requeue(job.id, "test")
        assert (await site.reached(event, State.RELEASED)).attempt == 2


async def test_a_cancelled_flow_ends_and_starts_nothing_more(site: "Site") -> None:
    """What runs is ended, what waits is not begun; another flow goes on."""
    await site.module("detect", UNTIL_GO, emits=["face"], concurrency=2)
    async with site.dispatching(reconcile_s=LATE):
        doomed = await site.raise_photos(4)
        await site.until_lines("ran", 2)
        await site.stores.ledger.control(doomed[0].correlation_id, Control.CANCELLED, "test")
        assert await site.quiet(doomed[0]) == {("detect", State.CANCELLED): 4}
        assert site.lines("ran") == ["begun"] * 2
        (site.outside / "go").touch()
        assert await site.quiet(await site.photo()) == {("detect", State.RELEASED): 1}
    assert left_of(site.store) == set()


async def test_events_that_come_into_a_cancelled_flow_start_nothing(site: "Site") -> None:
    """A root that is raised too late is relayed, and its jobs are born cancelled."""
    await site.module("detect", "echo begun >> ran")
    flow = "the-flow"
    await site.stores.ledger.control(flow, Control.CANCELLED, "test")
    async with site.dispatching():
        event = await site.photo(flow=flow)
        await site.reached(event, State.CANCELLED)
        assert await site.quiet(event) == {("detect", State.CANCELLED): 1}
    assert site.lines("ran") == []


async def test_a_paused_flow_lets_running_jobs_end_and_then_rests(site: "Site") -> None:
    """They commit, and their children are held; other flows go on. Freed, it goes on where it was."""
    await site.module("detect", UNTIL_GO, emits=["face"])
    await site.module("count", "echo counted >> counts", on="face")
    async with site.dispatching(reconcile_s=LATE):
        event = await site.photo()
        await site.until_lines("ran", 1)
        await site.stores.ledger.control(event.correlation_id, Control.PAUSED, "test")
        (site.outside / "go").touch()
        await site.reached(event, State.RELEASED)
        beside = await site.photo()
        assert await site.quiet(beside) == {("detect", State.RELEASED): 1, ("count", State.RELEASED): 1}
        resting = await site.stores.ledger.open(event.correlation_id)
        assert (resting.held, resting.total) == (1, 1)
        assert site.lines("counts") == ["counted"]
        await site.stores.ledger.control(event.correlation_id, Control.NONE, "test")
        assert await site.quiet(event) == {("detect", State.RELEASED): 1, ("count", State.RELEASED): 1}
    assert site.lines("counts") == ["counted"] * 2


async def test_a_failure_in_a_paused_flow_is_tried_again_when_it_is_freed(site: "Site") -> None:
    """The retry is held with its flow, not lost with it."""
    await site.module("detect", "echo begun >> ran; while [ ! -e go ]; do sleep 0.02; done; [ -e well ]")
    async with site.dispatching(reconcile_s=LATE):
        event = await site.photo()
        await site.until_lines("ran", 1)
        await site.stores.ledger.control(event.correlation_id, Control.PAUSED, "test")
        (site.outside / "go").touch()
        job = await site.reached(event, State.WAITING, attempt=1)
        assert job.hold is not None
        (site.outside / "well").touch()
        await site.stores.ledger.control(event.correlation_id, Control.NONE, "test")
        assert await site.quiet(event) == {("detect", State.RELEASED): 1}
    assert len(site.lines("ran")) == 2
