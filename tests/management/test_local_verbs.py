"""The verbs done here, on a real store with a flow that was run step by step."""

import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec
import pytest

from ion.dispatcher.relay import Relay
from ion.dispatcher.stores import Stores
from ion.errors import ConflictError, ExistsError, InvalidError, NotFoundError, UnavailableError, UnsupportedError
from ion.management.dead_letters import LetterFilter
from ion.management.events import RootFile
from ion.management.local import LocalManagement
from ion.management.pull import JobBlobs, pull
from ion.management.verbs.events import NewEvent
from ion.model.event import Event
from ion.model.job import Job, State
from ion.model.manifest import Usage
from ion.model.module import Module, Subscription, revise
from ion.model.retention import Retention
from ion.ports.executor import Assignment
from ion.ports.ledger import Claim, Control, JobFilter
from ion.wiring import open_store

DETECT = Module(name="detect", on=(Subscription(type="photo"),), emits=("face",), command=("true",), folder="/")
LARGE = {"text": "x" * 40_000}
LOG = b"one\ntwo\nthree\n"


class World:
    """The store, the verbs on it, and what a dispatcher would do."""

    def __init__(self, stores: Stores, folder: Path) -> None:
        self.stores, self.folder = stores, folder
        self.ion = LocalManagement(stores, actor="me", work=folder / "work", retention=Retention(), place="here")

    async def photo(self, flow: str, **given: object) -> Event:
        picture = self.folder / "cat.jpg"
        picture.write_bytes(b"a cat")
        event = NewEvent(type="photo", correlation_id=flow, **given)  # type: ignore[arg-type]
        raised = await self.ion.events.create(event=event, files=[RootFile(name="cat.jpg", file=picture)])
        await self._relay()
        return raised.event

    async def claim(self) -> Job:
        revision = revise(DETECT).id
        claim = Claim(module="detect", most=1, owner="o", scope="s", revision=revision, deadline_s=60.0)
        (job,) = await self.stores.ledger.claim(claim)
        return job

    async def succeed(self) -> Job:
        job = await self.claim()
        assignment = Assignment(job=job, revision=await self.stores.ledger.revision("detect", job.revision))
        space = await self.stores.handler.prepare(assignment, self.folder / "work" / f"test-{job.id}")
        (space.directory / "out/data/face.txt").write_text("a face")
        log = self.folder / "log"
        log.write_bytes(LOG)
        ref = await self.stores.handler.commit(assignment, space, log=log, usage=Usage(), started_at_s=time.time())
        assert await self.stores.ledger.commit(job.id, job.attempt, ref)
        await self._relay()
        return await self.stores.ledger.get(job.id)

    async def _relay(self) -> None:
        stores = self.stores
        await Relay(stores.ledger, stores.documents, stores.blobs, stores.bus, owner="o", max_hops=32).drain()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    (tmp_path / "work").mkdir()
    async with open_store(tmp_path / ".ion") as stores:
        await stores.ledger.apply([revise(DETECT)], "test")
        yield World(stores, tmp_path)


def forge(stored: Path) -> None:
    stored.chmod(0o600)
    stored.write_bytes(b"a dog")


async def whole(pieces: AsyncIterator[bytes]) -> bytes:
    return b"".join([piece async for piece in pieces])


# ---- jobs -------------------------------------------------------------------------------------------------------


async def test_a_log_is_read_from_either_end(world: World) -> None:
    """A negative start counts from the end, as far as there is so much; following gives the same."""
    await world.photo("album")
    job = (await world.succeed()).id
    for start, expected in ((0, LOG), (4, LOG[4:]), (-6, LOG[-6:]), (-1000, LOG), (len(LOG), b"")):
        assert await whole(world.ion.jobs.log(job=job, start=start)) == expected
        assert await whole(world.ion.jobs.log(job=job, start=start, follow=True)) == expected


async def test_the_log_of_a_running_job_is_read_from_its_end(world: World) -> None:
    """What its host has of it; an Ion on another host has nothing yet."""
    await world.photo("album")
    job = await world.claim()
    spool = world.folder / "work" / f"{job.id}-{job.attempt}-x"
    spool.mkdir(parents=True)
    (spool / "log").write_bytes(LOG)
    assert await whole(world.ion.jobs.log(job=job.id, start=-6)) == b"three\n"
    elsewhere = LocalManagement(world.stores, actor="me", work=None, retention=Retention(), place="")
    assert await whole(elsewhere.jobs.log(job=job.id, start=-6)) == b""


async def test_files_are_read_by_role_and_path(world: World) -> None:
    """Inputs, outputs, the log, and the event's data where a row could not hold it."""
    event = await world.photo("album", data=LARGE)
    job = (await world.succeed()).id
    assert event.dataref
    read = world.ion.jobs.read
    assert await whole(read(job=job, role="in", path="cat.jpg")) == b"a cat"
    assert await whole(read(job=job, role="out", path="face.txt")) == b"a face"
    assert await whole(read(job=job, role="log", path="log.txt")) == LOG
    assert msgspec.json.decode(await whole(read(job=job, role="data", path=""))) == LARGE
    for role, path in (("in", "face.txt"), ("out", "../secret"), ("manifest", ""), ("", "")):
        with pytest.raises(NotFoundError, match=r"`ion job files` lists those it has"):
            await whole(read(job=job, role=role, path=path))


async def test_pages_and_listings_take_the_beginning_of_a_flow(world: World) -> None:
    """And refuse an unmistakably wrong number, and a flow that is not there."""
    await world.photo("album-1")
    await world.photo("other-2")
    jobs = world.ion.jobs
    which = JobFilter(correlation_id="alb", module="detect")
    assert len((await jobs.page(which=which)).jobs) == 1
    assert (await jobs.latest(which=which)).total == 1
    for most in (0, -1, 1_000_000):
        with pytest.raises(InvalidError, match="must be from 1 to"):
            await jobs.page(which=which, most=most)
        with pytest.raises(InvalidError, match="must be from 1 to"):
            await jobs.latest(which=which, most=most)
    with pytest.raises(NotFoundError):
        await jobs.latest(which=JobFilter(correlation_id="zzz"))


async def test_nothing_is_changed_where_nobody_says_what(world: World) -> None:
    """No id is no job; a state in which nothing can run again is named."""
    jobs = world.ion.jobs
    for change in (jobs.retry, jobs.cancel):
        with pytest.raises(InvalidError, match="say which jobs"):
            await change(jobs=())
    with pytest.raises(InvalidError, match="say what to run again"):
        await anext(jobs.rerun())
    with pytest.raises(InvalidError, match="jobs that are waiting cannot be run again"):
        await anext(jobs.rerun(module="detect", states=(State.WAITING,)))
    with pytest.raises(InvalidError, match="say which dead letters"):
        await anext(world.ion.letters.redrive(which=LetterFilter()))


# ---- pulling ----------------------------------------------------------------------------------------------------


async def test_a_folder_is_laid_out_from_the_verbs_alone(world: World, tmp_path: Path) -> None:
    """Data that was too large for a row is in the documents again; outputs come if asked for."""
    await world.photo("album", data=LARGE)
    job = (await world.succeed()).id
    folder = await pull(world.ion.jobs, job, tmp_path / "look", outputs=True)
    assert (folder / "in/data/cat.jpg").read_bytes() == b"a cat"
    assert (folder / "out/data/face.txt").read_text() == "a face"
    assert msgspec.json.decode((folder / "in/event.json").read_bytes())["data"]["text"] == LARGE["text"]
    with pytest.raises(ExistsError):
        await pull(world.ion.jobs, job, folder)
    assert (folder / "in/data/cat.jpg").exists()


async def test_a_pull_that_fails_leaves_no_folder(world: World, tmp_path: Path) -> None:
    """A file that is gone, one that is another than was stored, and outputs that there are none of."""
    await world.photo("album")
    job = await world.succeed()
    (ref,) = job.event.files
    forge(Path(unquote(urlsplit(world.stores.blobs.uri(ref.blob)).path)))
    with pytest.raises(UnavailableError, match="is not what was stored"):
        await pull(world.ion.jobs, job.id, tmp_path / "look")
    await world.stores.blobs.delete(ref.blob.partition("/")[0] + "/")
    with pytest.raises(NotFoundError):
        await pull(world.ion.jobs, job.id, tmp_path / "look")
    await world.photo("other")
    with pytest.raises(ConflictError, match="pull it without its outputs"):
        await pull(world.ion.jobs, (await world.claim()).id, tmp_path / "look", outputs=True)
    assert not (tmp_path / "look").exists()


async def test_the_blobs_of_a_job_are_for_reading(world: World, tmp_path: Path) -> None:
    """Whoever lays out a folder by them can change nothing."""
    await world.photo("album")
    blobs = JobBlobs(world.ion.jobs, job := await world.succeed())
    (ref,) = job.event.files
    assert await whole(blobs.read(ref.blob, start=2)) == b"cat"
    with pytest.raises(InvalidError, match="too large"):
        await blobs.get_bytes(ref.blob, most=2)
    for change in (blobs.put("a", tmp_path), blobs.put_bytes("a", b""), blobs.delete("a/"), blobs.info("a")):
        with pytest.raises(UnsupportedError, match="to be read only"):
            await change


# ---- flows ------------------------------------------------------------------------------------------------------


async def test_a_flow_is_awaited_counted_and_put_first(world: World) -> None:
    """`wait` tells what holds it up; its tally is by module as well; the priority holds for what waits."""
    await world.photo("album")
    flows = world.ion.flows
    assert (await flows.prioritise(flow="alb", priority=3)).priority == 3
    await flows.control(flow="alb", control=Control.PAUSED)
    assert "held by a pause" in (await flows.wait(flow="alb")).stuck
    assert (await flows.control(flow="alb", control=Control.NONE)).control is Control.NONE
    await world.succeed()
    ended = await flows.wait(flow="alb")
    assert (ended.stuck, ended.state.open) == ("", 0)
    assert {one.module: one.states for one in ended.state.modules} == {
        "cli": {State.RELEASED: 1},
        "detect": {State.RELEASED: 1},
    }
    for priority in (-1001, 1001):
        with pytest.raises(InvalidError, match="from -1,000 to 1,000"):
            await flows.prioritise(flow="alb", priority=priority)


async def test_a_tree_names_who_came_of_whom(world: World) -> None:
    """A line's parent is the job that raised its event; a root has none."""
    await world.photo("album")
    await world.succeed()
    root, detect = [line async for line in world.ion.flows.tree(flow="album")]
    assert (root.parent, detect.parent, detect.rails, detect.silent) == ("", root.job.id, "└─ ", True)


async def test_a_report_that_is_left_early_leaves_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page is whole before its first piece is given, and its temporary file goes with the reader."""
    scratch = world.folder / "tmp"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    await world.photo("album")
    pieces = world.ion.flows.report(flow="album")
    assert (await anext(pieces)).startswith(b"<!doctype html>")
    assert list(scratch.iterdir())
    await pieces.aclose()  # type: ignore[attr-defined]  # an iterator by its type
    assert list(scratch.iterdir()) == []


# ---- events -----------------------------------------------------------------------------------------------------


async def test_waiting_for_an_event_has_bounds(world: World) -> None:
    """Neither less than nothing nor for ever, and not without names."""
    events = world.ion.events
    for given in ({"timeout_s": -1.0}, {"timeout_s": float("nan")}, {"timeout_s": float("inf")}, {"group": ""}):
        asked = {"event_type": "photo", "group": "me", "take": True, **given}
        with pytest.raises(InvalidError):
            await anext(events.next(**asked))  # type: ignore[arg-type]
