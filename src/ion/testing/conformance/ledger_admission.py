"""The ledger's suite: admission, and reading what was admitted."""

from collections import Counter
from datetime import timedelta

import msgspec
import pytest

from ion.errors import InvalidError, NotFoundError
from ion.model import ids
from ion.model.job import FailureClass, Hold, Job, State
from ion.ports.ledger import Changes, Control, JobFilter, Open
from ion.testing.conformance.ledger_stage import (
    EPOCH,
    PATIENCE_S,
    LedgerStage,
    Stage,
    claim,
    event,
    failure,
    manifest,
    waiting_job,
)


class AdmissionConformance(LedgerStage):
    async def test_admitted_job_is_read_back_whole(self, stage: Stage) -> None:
        """A job is found by its id, from another process too, with its event unchanged and the ledger's time."""
        (job,) = await stage.admitted()
        found = await stage.other.get(job.id)
        assert (found.event, found.module, found.state, found.attempt) == (job.event, "detect", State.WAITING, 0)
        assert found.admitted_at == EPOCH
        assert [entry.state for entry in found.history] == [State.WAITING]

    async def test_admission_is_idempotent(self, stage: Stage) -> None:
        """A second admission of an id adds nothing, changes nothing and names nothing as new."""
        job = waiting_job(flow="f")
        assert await stage.ledger.admit([job, job]) == {job.id}
        await stage.ledger.claim(claim())
        assert await stage.other.admit([job]) == frozenset()
        assert await stage.state(job) is State.RUNNING
        assert (await stage.ledger.flow("f")).jobs == 1

    async def test_admission_names_the_new_ones(self, stage: Stage) -> None:
        """Of jobs partly known, only the new ids are returned."""
        old, new = waiting_job(flow="f"), waiting_job(flow="f")
        await stage.ledger.admit([old])
        assert await stage.ledger.admit([old, new]) == {new.id}

    async def test_admission_is_all_or_none(self, stage: Stage) -> None:
        """Where one job of several is refused, none is there."""
        good = waiting_job(flow="f")
        bad = msgspec.structs.replace(waiting_job(flow="f"), state=State.RUNNING)
        with pytest.raises(InvalidError):
            await stage.ledger.admit([good, bad])
        with pytest.raises(NotFoundError):
            await stage.ledger.get(good.id)

    async def test_committed_root_is_due_for_any_relay(self, stage: Stage) -> None:
        """A job admitted committed is nobody's and goes to the first relay that asks, with its manifest."""
        root = _root("f")
        async with stage.other.listen(Changes.COMMITTED) as news:
            await stage.ledger.admit([root])
            assert await news.wait(PATIENCE_S) == Changes.COMMITTED
        (found,) = await stage.other.unreleased(10, "two")
        assert (found.id, found.manifest, found.owner) == (root.id, root.manifest, "two")
        assert await stage.ledger.open("f") == Open(committed=1)

    async def test_dead_letter_can_be_admitted(self, stage: Stage) -> None:
        """A job admitted dead with a failure is kept with it, is not open and can be found by its state."""
        fault = failure(FailureClass.CONTRACT, "It is not JSON.")
        (job,) = await stage.admitted(flow="f", state=State.DEAD, failure=fault)
        found = await stage.ledger.get(job.id)
        assert (found.state, found.failure, found.ended_at) == (State.DEAD, fault, EPOCH)
        assert (await stage.ledger.open("f")).total == 0

    async def test_job_beyond_the_flows_limit_is_held(self, stage: Stage) -> None:
        """The job after `max_jobs` of a flow waits held; it keeps the flow open and is not claimed."""
        async with self.open_ledgers(stage.clock, 2) as (ledger, _):
            jobs = [waiting_job(flow="f") for _ in range(3)]
            await ledger.admit(jobs)
            assert [(await ledger.get(job.id)).hold for job in jobs] == [None, None, Hold.JOBS]
            assert len(await ledger.claim(claim(10))) == 2
            assert await ledger.open("f") == Open(waiting=1, running=2, held=1)

    async def test_hold_is_kept(self, stage: Stage) -> None:
        """A job that comes held stays held, through a pause of its flow and its end too."""
        (job,) = await stage.admitted(flow="f", hold=Hold.HOPS)
        await stage.ledger.control("f", Control.PAUSED, "me")
        await stage.ledger.control("f", Control.NONE, "me")
        assert (await stage.ledger.get(job.id)).hold is Hold.HOPS
        assert not await stage.ledger.claim(claim())
        assert await stage.ledger.waiting() == {"detect": None}

    async def test_unknown_job_is_not_found(self, stage: Stage) -> None:
        """An id that was never admitted raises NotFoundError."""
        with pytest.raises(NotFoundError):
            await stage.ledger.get("no such job")

    async def test_very_many_jobs(self, stage: Stage) -> None:
        """`many` jobs of one flow are admitted at once, counted, listed without gaps and all claimed once."""
        jobs = await stage.admitted(self.many, flow="big")
        assert await stage.ledger.open("big") == Open(waiting=self.many)
        listed, after = [], None
        while True:
            page = await stage.other.query(JobFilter(correlation_id="big"), most=3000, after=after)
            listed += [job.id for job in page.jobs]
            after = page.after
            if after is None:
                break
        assert listed == [job.id for job in jobs]
        claimed = Counter[str]()
        while batch := await stage.ledger.claim(claim(1000)):
            claimed.update(job.id for job in batch)
        assert claimed == Counter(listed)

    async def test_query_narrows_by_every_field(self, stage: Stage) -> None:
        """Each field of the filter narrows, alone and together, and the order is that of admission."""
        first, second = await stage.admitted(2, flow="f")
        (third,) = await stage.admitted(flow="g", module="count")
        (claimed,) = await stage.ledger.claim(claim(owner="one"))

        async def ids_of(**fields: object) -> list[str]:
            page = await stage.ledger.query(msgspec.convert(fields, JobFilter))
            assert page.after is None
            return [job.id for job in page.jobs]

        assert await ids_of() == [first.id, second.id, third.id]
        assert await ids_of(module="count") == [third.id]
        assert await ids_of(correlation_id="f") == [first.id, second.id]
        assert await ids_of(states=["waiting", "running"]) == [first.id, second.id, third.id]
        assert await ids_of(states=["waiting"], correlation_id="f") == [second.id]
        assert await ids_of(event_id=third.event.id) == [third.id]
        assert await ids_of(id_prefix=second.id[:13]) == [second.id]
        assert await ids_of(owner="one") == [claimed.id]
        assert await ids_of(owner="one", module="count") == []

    async def test_pages_of_several_states_lose_nothing(self, stage: Stage) -> None:
        """Small pages over mixed states give every job once, in the order of admission."""
        jobs = await stage.admitted(40, flow="f")
        for job in jobs[::3]:
            await stage.ledger.bury(job.id, failure(), "me")
        listed, after = [], None
        which = JobFilter(states=(State.DEAD, State.WAITING))
        while True:
            page = await stage.ledger.query(which, most=7, after=after)
            listed += [job.id for job in page.jobs]
            after = page.after
            if after is None:
                break
        assert listed == [job.id for job in jobs]

    async def test_waiting_tells_when_the_next_is_due(self, stage: Stage) -> None:
        """`waiting` names modules with waiting jobs and the seconds until the next is due, None where all are held."""
        await stage.admitted(module="now")
        await stage.admitted(module="held", hold=Hold.HOPS)
        await stage.admitted(module="later", not_before=EPOCH + timedelta(seconds=60))
        await stage.admitted(module="later", not_before=EPOCH + timedelta(seconds=30))
        assert await stage.ledger.waiting() == {"now": 0, "later": 30, "held": None}
        stage.clock.advance(45)
        assert await stage.ledger.waiting() == {"now": 0, "later": 0, "held": None}

    async def test_time_is_the_ledgers(self, stage: Stage) -> None:
        """`now` is the ledger's clock."""
        assert await stage.ledger.now() == EPOCH
        stage.clock.advance(1.5)
        assert await stage.other.now() == EPOCH + timedelta(seconds=1.5)

    async def test_news_of_due_jobs_reaches_the_other_process(self, stage: Stage) -> None:
        """A listener in another process learns that a job was admitted; kinds it did not ask for stay away."""
        async with stage.other.listen(Changes.DUE) as due, stage.other.listen(Changes.CANCEL) as cancel:
            await stage.admitted()
            assert await due.wait(PATIENCE_S) == Changes.DUE
            assert await cancel.wait(0) == Changes(0)
            assert await due.wait(0) == Changes(0)


def _root(flow: str) -> Job:
    cause = event(flow)
    reference = manifest()
    return Job(
        id=ids.root_job_id(cause.id, "frontapi"),
        module="frontapi",
        event=cause,
        state=State.COMMITTED,
        attempt=1,
        execution=reference.execution,
        manifest=reference,
    )
