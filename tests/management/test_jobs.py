"""What a person does with single jobs, on a real ledger in memory and a real blob store."""

import asyncio
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ion.adapters.blobs.filesystem import FilesystemBlobs
from ion.adapters.ledger.sqlite import SqliteLedger
from ion.adapters.sqlite.database import Database
from ion.errors import ConflictError, InvalidError, NotFoundError
from ion.management.jobs import (
    cancel_jobs,
    find_job,
    follow_log,
    latest_jobs,
    raised_nothing,
    read_log,
    results_of,
    retry_jobs,
    spooled_log,
)
from ion.model import ids
from ion.model.event import Event
from ion.model.job import Failure, FailureClass, Job, State
from ion.model.manifest import ManifestRef
from ion.model.module import Module, Subscription, revise
from ion.ports.ledger import Bury, Claim, JobFilter, Retry

MODULE = Module(name="detect", on=(Subscription(type="photo"),), command=("true",))
FAILURE = Failure(kind=FailureClass.MODULE, message="exit code 3", exit_code=3)
OWNER = "test"


@pytest.fixture
async def ledger() -> AsyncIterator[SqliteLedger]:
    async with Database(None) as database, SqliteLedger(database) as ledger:
        await ledger.apply([revise(MODULE)], OWNER)
        yield ledger


@pytest.fixture
async def blobs(tmp_path: Path) -> AsyncIterator[FilesystemBlobs]:
    async with FilesystemBlobs(tmp_path / "blobs") as blobs:
        yield blobs


async def admit(ledger: SqliteLedger, job_id: str = "", module: str = "detect") -> Job:
    event = Event(
        id=ids.new_id(),
        type="photo",
        source="ion:gateway/test",
        correlation_id="flow",
        parent_id="test",
        time=datetime(2026, 1, 1, tzinfo=UTC),
    )
    job = Job(id=job_id or ids.new_id(), module=module, event=event)
    await ledger.admit([job])
    return job


async def claim(ledger: SqliteLedger) -> Job:
    revision = revise(MODULE).id
    asked = Claim(module="detect", most=1, owner=OWNER, scope="s", revision=revision, deadline_s=60.0)
    (job,) = await ledger.claim(asked)
    return job


def spool(work: Path, job: Job, name: str = "maker-0") -> Path:
    """The file that the local executor logs an attempt into."""
    folder = work / f"{job.id}-{job.attempt}-{name}"
    folder.mkdir(parents=True)
    (folder / "log").touch()
    return folder / "log"


async def text(chunks: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in chunks])


# ---- finding ----------------------------------------------------------------------------------------------------


async def test_a_job_is_found_by_its_id_and_by_the_beginning_of_it(ledger: SqliteLedger) -> None:
    """Upper case and blanks, as they come from a clipboard, do no harm."""
    job = await admit(ledger)
    for text in (job.id, job.id[:8], job.id[:1], job.id[:8].upper(), f" {job.id} "):
        assert (await find_job(ledger, text)).id == job.id


async def test_a_beginning_that_fits_several_jobs_names_them(ledger: SqliteLedger) -> None:
    """The sentence names up to five candidates and that there are more."""
    for number in range(7):
        await admit(ledger, f"aaaaaaaa-{number}")
    with pytest.raises(InvalidError) as refused:
        await find_job(ledger, "aaaa")
    assert str(refused.value).startswith("several jobs begin with 'aaaa': aaaaaaaa-0 (detect), aaaaaaaa-1 (detect), ")
    assert str(refused.value).endswith("aaaaaaaa-4 (detect) and more; give more of the id")


async def test_an_id_that_fits_nothing_is_refused(ledger: SqliteLedger) -> None:
    """So is one without a character, which would fit everything."""
    await admit(ledger)
    with pytest.raises(NotFoundError, match="there is no job 'zzz'"):
        await find_job(ledger, "zzz")
    with pytest.raises(InvalidError, match="is empty"):
        await find_job(ledger, " ")


async def test_the_latest_jobs_come_last(ledger: SqliteLedger) -> None:
    """Of many jobs those admitted last are kept, in their order, and all are counted."""
    for number in range(1200):
        await admit(ledger, f"job-{number:04}")
    jobs, total = await latest_jobs(ledger, JobFilter(), 3)
    assert ([job.id for job in jobs], total) == (["job-1197", "job-1198", "job-1199"], 1200)


async def test_a_job_without_results_has_none(ledger: SqliteLedger, blobs: FilesystemBlobs) -> None:
    """Before the commit there is nothing to show."""
    assert await results_of(await admit(ledger), blobs) is None


# ---- logs -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("emits", "events", "expected"), [((), 0, False), (("face",), 0, True), (("face",), 2, False)])
async def test_a_job_that_raised_nothing_is_told(
    ledger: SqliteLedger, emits: tuple[str, ...], events: int, *, expected: bool
) -> None:
    """Only where its module, as the job ran it, declares events; and not before it has succeeded."""
    revision = revise(Module(name="count", emits=emits, command=("true",)))
    await ledger.apply([revision], OWNER)
    job = await admit(ledger, module="count")
    assert not await raised_nothing(job, ledger)
    await ledger.claim(Claim(module="count", most=1, owner=OWNER, scope="here", revision=revision.id, deadline_s=60))
    at = datetime(2026, 1, 1, tzinfo=UTC)
    ref = ManifestRef(blob="x", sha256="", execution="x", events=events, started_at=at, ended_at=at)
    assert await ledger.commit(job.id, 1, ref)
    assert await raised_nothing(await ledger.get(job.id), ledger) is expected


async def test_the_spool_of_the_right_attempt_is_found(ledger: SqliteLedger, tmp_path: Path) -> None:
    """Attempt 1 is not mistaken for 11; of two folders of one attempt the one written last counts."""
    await admit(ledger)
    job = await claim(ledger)
    assert spooled_log(tmp_path, job.id, 1) is None
    assert spooled_log(tmp_path / "gone", job.id, 1) is None
    older, newer = spool(tmp_path, job, "a-0"), spool(tmp_path, job, "b-0")
    (tmp_path / f"{job.id}-11-a-0").mkdir()
    (tmp_path / f"{job.id}-11-a-0" / "log").touch()
    os.utime(older, ns=(1, 1))
    assert spooled_log(tmp_path, job.id, 1) == newer


async def test_a_log_is_read_from_where_it_is(ledger: SqliteLedger, blobs: FilesystemBlobs, tmp_path: Path) -> None:
    """While the attempt runs it is the spool's, afterwards the blob's; from any byte on."""
    waiting = await admit(ledger)
    assert await text(read_log(waiting, blobs=blobs, work=tmp_path)) == b""
    job = await claim(ledger)
    assert await text(read_log(job, blobs=blobs, work=tmp_path)) == b""
    spool(tmp_path, job).write_bytes(b"running")
    assert await text(read_log(job, blobs=blobs, work=tmp_path, start=3)) == b"ning"
    await blobs.put_bytes("a/log.txt", b"stored")
    await ledger.settle(job.id, 1, OWNER, Bury(failure=FAILURE), log="a/log.txt")
    assert await text(read_log(await ledger.get(job.id), blobs=blobs, work=tmp_path, start=2)) == b"ored"


async def test_a_followed_log_goes_on_over_attempts(
    ledger: SqliteLedger, blobs: FilesystemBlobs, tmp_path: Path
) -> None:
    """What each attempt logs comes once, whether it was read while it ran or after it was stored."""
    await admit(ledger)
    first = await claim(ledger)
    log = spool(tmp_path, first)
    log.write_bytes(b"one ")
    chunks = follow_log(first.id, ledger=ledger, blobs=blobs, work=tmp_path)
    async with asyncio.timeout(120):
        assert await anext(chunks) == b"one "
        await blobs.put_bytes("1/log.txt", b"one two ")
        await ledger.settle(first.id, 1, OWNER, Retry(failure=FAILURE, delay_s=0.0), log="1/log.txt")
        assert await anext(chunks) == b"two "
        second = await claim(ledger)
        spool(tmp_path, second).write_bytes(b"again ")
        assert await anext(chunks) == b"again "
        await blobs.put_bytes("2/log.txt", b"again done")
        await ledger.settle(second.id, 2, OWNER, Bury(failure=FAILURE), log="2/log.txt")
        assert [chunk async for chunk in chunks] == [b"done"]


async def test_following_a_job_that_has_ended_ends_at_once(ledger: SqliteLedger, blobs: FilesystemBlobs) -> None:
    """A cancelled job without a log gives nothing and does not wait."""
    job = await admit(ledger)
    await ledger.cancel(job.id, OWNER)
    async with asyncio.timeout(120):
        assert await text(follow_log(job.id, ledger=ledger, blobs=blobs, work=Path("/nowhere"))) == b""


# ---- by hand ----------------------------------------------------------------------------------------------------


async def test_retry_and_cancel_take_several_jobs(ledger: SqliteLedger) -> None:
    """Each named job changes, and comes back as it was found."""
    jobs = [await admit(ledger), await admit(ledger)]
    named = [job.id[:12] for job in jobs]
    assert [job.state for job in await cancel_jobs(ledger, named, OWNER)] == [State.WAITING, State.WAITING]
    assert [(await ledger.get(job.id)).state for job in jobs] == [State.CANCELLED, State.CANCELLED]
    assert [job.id for job in await retry_jobs(ledger, named, OWNER)] == [job.id for job in jobs]
    assert [(await ledger.get(job.id)).state for job in jobs] == [State.WAITING, State.WAITING]


async def test_a_job_in_the_wrong_state_refuses_all(ledger: SqliteLedger) -> None:
    """Nothing changes unless everything can."""
    waiting, cancelled = await admit(ledger), await admit(ledger)
    await cancel_jobs(ledger, [cancelled.id], OWNER)
    with pytest.raises(ConflictError, match=f"job {waiting.id} is waiting: only dead and cancelled"):
        await retry_jobs(ledger, [cancelled.id, waiting.id], OWNER)
    with pytest.raises(ConflictError, match=f"job {cancelled.id} is cancelled: only waiting and running"):
        await cancel_jobs(ledger, [waiting.id, cancelled.id], OWNER)
    assert (await ledger.get(waiting.id)).state is State.WAITING
    assert (await ledger.get(cancelled.id)).state is State.CANCELLED


async def test_a_job_whose_module_is_gone_is_not_queued(ledger: SqliteLedger) -> None:
    """The ledger's own refusal comes out."""
    job = await admit(ledger, module="gone")
    await ledger.cancel(job.id, OWNER)
    with pytest.raises(ConflictError, match="gone"):
        await retry_jobs(ledger, [job.id], OWNER)


async def test_a_job_named_twice_is_changed_once(ledger: SqliteLedger) -> None:
    """The same job under two beginnings of its id is one job."""
    job = await admit(ledger)
    assert len(await cancel_jobs(ledger, [job.id, job.id[:8]], OWNER)) == 1
    assert len(await retry_jobs(ledger, [job.id, job.id[:8]], OWNER)) == 1
