"""Root events: one admission makes them visible, and their id decides whether they are new."""

import asyncio
import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ion.adapters.blobs.filesystem import FilesystemBlobs
from ion.adapters.bus.sqlite import SqliteBus
from ion.adapters.documents.sqlite import SqliteDocuments
from ion.adapters.ledger.sqlite import SqliteLedger
from ion.adapters.sqlite.database import Database
from ion.dispatcher.relay import Relay
from ion.errors import InvalidError
from ion.management.events import Raised, RootEvent, RootFile, raise_event, raise_events, require_hearer
from ion.messaging import codec, trace
from ion.model import ids
from ion.model.job import Job, State
from ion.model.manifest import INLINE_LIMIT, Manifest
from ion.model.module import Module, Subscription, revise
from ion.ports.ledger import JobFilter

CORRELATION = "holiday 2024"


class Store:
    """A real ledger in memory and a real blob store on disk."""

    def __init__(self, database: Database, ledger: SqliteLedger, blobs: FilesystemBlobs) -> None:
        self.database, self.ledger, self.blobs = database, ledger, blobs

    async def raise_(self, **fields: Any) -> Raised:
        root = RootEvent(**{"type": "photo", **fields})
        return await raise_event(root, gateway="frontapi", ledger=self.ledger, blobs=self.blobs)

    async def jobs(self) -> tuple[Job, ...]:
        return (await self.ledger.query(JobFilter(), most=1000)).jobs

    async def stored(self, job: str) -> set[str]:
        return {blob.path async for blob in self.blobs.list(f"{job}/")}

    async def manifest(self, raised: Raised) -> Manifest:
        ref = (await self.ledger.get(raised.job)).manifest
        assert ref is not None
        return msgspec.json.decode(await self.blobs.get_bytes(ref.blob), type=Manifest)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with (
        Database(None) as database,
        SqliteLedger(database) as ledger,
        FilesystemBlobs(tmp_path / "blobs") as blobs,
    ):
        yield Store(database, ledger, blobs)


def file(folder: Path, name: str, content: bytes = b"content") -> RootFile:
    path = folder / name.replace("/", "_")
    path.write_bytes(content)
    return RootFile(name=name, file=path)


def blobs_of(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()]


async def test_a_root_event_is_the_output_of_a_committed_job(store: Store, tmp_path: Path) -> None:
    """One job of the gateway is admitted as committed, and its manifest holds the event with its stored files."""
    raised = await store.raise_(files=(file(tmp_path, "clips/a b.mp4", b"film"),), data={"kind": "holiday"})
    (job,) = await store.jobs()
    assert (job.id, job.state, job.attempt, job.module) == (raised.job, State.COMMITTED, 1, "frontapi")
    manifest = await store.manifest(raised)
    assert manifest.events == (raised.event,) == (job.event,)
    (ref,) = raised.event.files
    assert (ref.path, ref.size, ref.sha256) == ("clips/a b.mp4", 4, hashlib.sha256(b"film").hexdigest())
    assert await store.blobs.get_bytes(ref.blob) == b"film"
    assert ref.blob.startswith(f"{raised.job}/1/{job.execution}/data/")


async def test_what_the_row_says_of_the_manifest_is_true(store: Store, tmp_path: Path) -> None:
    """The reference in the row holds the manifest's text, hash and counts."""
    raised = await store.raise_(files=(file(tmp_path, "a.jpg"), file(tmp_path, "b.jpg")))
    ref = (await store.ledger.get(raised.job)).manifest
    assert ref is not None
    content = await store.blobs.get_bytes(ref.blob)
    assert (ref.inline.encode(), ref.sha256) == (content, hashlib.sha256(content).hexdigest())
    assert (ref.files, ref.events, ref.insights) == (2, 1, 0)


async def test_what_is_left_empty_gets_a_sensible_value(store: Store, tmp_path: Path) -> None:
    """A root event has the gateway for parent and source, a new flow and trace, and its first file for subject."""
    event = (await store.raise_(files=(file(tmp_path, "photo.jpg"),))).event
    assert (event.parent_id, event.source, event.subject) == ("frontapi", "ion:gateway/frontapi", "photo.jpg")
    assert (ids.is_uuid(event.id), ids.is_uuid(event.correlation_id), event.hops) == (True, True, 0)
    assert trace.parse(event.traceparent)
    assert (await store.raise_(data={"url": "http://x/y.mp4"})).event.subject == "http://x/y.mp4"


async def test_every_root_event_can_go_onto_a_bus(store: Store) -> None:
    """Whatever source and id it is given, the event comes back from the wire as it is."""
    for fields in ({}, {"source": "http://camera"}, {"source": "/c", "id": ids.new_id()}, {"id": "7"}):
        event = (await store.raise_(**fields)).event
        assert codec.decode(codec.encode(event)) == event


async def test_a_repeated_id_changes_nothing(store: Store, tmp_path: Path) -> None:
    """The second event of an id is told as a duplicate of the first, and leaves no blob."""
    event_id = ids.new_id()
    first = await store.raise_(id=event_id, files=(file(tmp_path, "a.jpg"),))
    before = await store.stored(first.job)
    second = await store.raise_(id=event_id, files=(file(tmp_path, "b.jpg"),), data={"other": "1"})
    assert (second.duplicate, second.event, second.job) == (True, first.event, first.job)
    assert await store.stored(first.job) == before
    assert len(await store.jobs()) == 1


async def test_of_two_at_once_one_is_raised(store: Store, tmp_path: Path) -> None:
    """Two calls with one id at the same time admit one job, and only the winner's blobs stay."""
    event_id = ids.new_id()
    calls = [store.raise_(id=event_id, files=(file(tmp_path, f"{n}.jpg"),)) for n in range(8)]
    raised = await asyncio.gather(*calls)
    assert sorted(one.duplicate for one in raised) == [False, *[True] * 7]
    (job,) = await store.jobs()
    assert all(one.event == job.event for one in raised)
    assert all(f"/1/{job.execution}/" in path for path in await store.stored(job.id))


async def test_a_foreign_id_is_unique_within_its_source_only(store: Store) -> None:
    """The same id of another source is another event; each keeps its own id beside the derived one."""
    one = await store.raise_(id="17", source="/camera/1")
    two = await store.raise_(id="17", source="/camera/2")
    again = await store.raise_(id="17", source="/camera/1")
    assert (one.event.id, one.event.origid) == (ids.foreign_event_id("/camera/1", "17"), "17")
    assert (two.duplicate, again.duplicate) == (False, True)


async def test_an_id_of_our_own_is_kept(store: Store) -> None:
    """A UUID given without a foreign source is the event's id; marked as foreign it is derived from."""
    event_id = ids.new_id()
    assert (await store.raise_(id=event_id)).event.id == event_id
    assert (await store.raise_(id=event_id, foreign=True)).event.origid == event_id


async def test_large_data_goes_into_a_blob(store: Store) -> None:
    """Data of more than 16 KB is stored as a JSON blob that the event refers to."""
    data = {"text": "x" * 20_000}
    event = (await store.raise_(data=data)).event
    assert event.data == {}
    assert msgspec.json.decode(await store.blobs.get_bytes(event.dataref)) == data


async def test_a_row_stays_small_whatever_an_event_carries(store: Store, tmp_path: Path) -> None:
    """With two thousand files the row names the manifest, which names the files."""
    one = file(tmp_path, "0.jpg").file
    files = tuple(RootFile(name=f"{number}.jpg", file=one) for number in range(2000))
    raised = await store.raise_(files=files, data={"text": "x" * 16_000})
    job = await store.ledger.get(raised.job)
    assert len(msgspec.json.encode(job)) < 64 * 1024
    assert job.manifest is not None
    assert (job.manifest.inline, job.manifest.files) == ("", 2000)
    assert (await store.manifest(raised)).events[0].files == raised.event.files
    assert len(raised.event.files) == 2000


async def test_the_row_of_an_event_at_both_limits_is_small(store: Store, tmp_path: Path) -> None:
    """An event whose manifest is just small enough to be kept in the row leaves it below 64 KB."""
    one = file(tmp_path, "0.jpg").file
    for count in (10, 30, 60, 90):
        files = tuple(RootFile(name=f"{number}.jpg", file=one) for number in range(count))
        raised = await store.raise_(files=files, data={"text": "x" * 2000})
        job = await store.ledger.get(raised.job)
        assert job.manifest is not None
        assert len(job.manifest.inline) <= INLINE_LIMIT
        assert len(msgspec.json.encode(job)) < 64 * 1024


async def test_a_temporary_file_is_taken(store: Store, tmp_path: Path) -> None:
    """A file that was given up becomes the blob itself; any other is copied and may be written on."""
    given = msgspec.structs.replace(file(tmp_path, "a.jpg"), temporary=True)
    kept = file(tmp_path, "b.jpg")
    inode = given.file.stat().st_ino
    raised = await store.raise_(files=(given, kept))
    kept.file.write_bytes(b"changed")
    inodes = {path.stat().st_ino for path in blobs_of(tmp_path)}
    assert inode in inodes
    assert await store.blobs.get_bytes(raised.event.files[1].blob) == b"content"


async def test_a_symlink_to_a_file_is_as_good_as_the_file(store: Store, tmp_path: Path) -> None:
    """Who names a link means what it leads to."""
    target = file(tmp_path, "a.jpg")
    link = tmp_path / "link.jpg"
    link.symlink_to(target.file)
    raised = await store.raise_(files=(RootFile(name="link.jpg", file=link),))
    assert await store.blobs.get_bytes(raised.event.files[0].blob) == b"content"


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"type": "ion.job"}, "Ion's own"),
        ({"type": ""}, "event type"),
        ({"type": "two words"}, "event type"),
        ({"correlation_id": "a\nb"}, "correlation id"),
        ({"correlation_id": "x" * 129}, "correlation id"),
        ({"subject": "a\x00b"}, "subject"),
        ({"subject": " a"}, "subject"),
        ({"source": "a\tb"}, "source"),
        ({"id": "a\rb"}, "id"),
        ({"data": {"x": float("nan")}}, "not finite"),
        ({"data": {"x": object()}}, "JSON"),
        ({"data": {"x": "\udcff"}}, "JSON"),
    ],
)
async def test_what_cannot_be_used_is_refused(store: Store, tmp_path: Path, fields: dict[str, Any], says: str) -> None:
    """A bad event is refused in one sentence before anything is stored."""
    with pytest.raises(InvalidError, match=says):
        await store.raise_(**{"files": (file(tmp_path, "a.jpg"),), **fields})
    assert (blobs_of(tmp_path), await store.jobs()) == ([], ())


@pytest.mark.parametrize(
    "names",
    [
        ("../a",),
        ("/a",),
        ("a/../b",),
        ("a//b",),
        ("",),
        (".",),
        ("a/",),
        ("a\\b",),
        ("a\nb",),
        ("a\x00",),
        ("x" * 256,),
        ("\udcff",),
        ("a", "a"),
        ("a", "a/b"),
        ("a/b", "a"),
    ],
)
async def test_an_unsafe_file_name_is_refused(store: Store, tmp_path: Path, names: tuple[str, ...]) -> None:
    """A name that leaves the directory, hides another or cannot be shown is refused before anything is stored."""
    source = file(tmp_path, "source").file
    with pytest.raises(InvalidError, match="file name"):
        await store.raise_(files=tuple(RootFile(name=name, file=source) for name in names))
    assert (blobs_of(tmp_path), await store.jobs()) == ([], ())


async def test_unusual_names_are_kept(store: Store, tmp_path: Path) -> None:
    """Blanks, commas, accents, emoji and deep folders are names like others."""
    names = ("a b,c.jpg", "Zoë/ü.png", "x/y/z/👩‍🚀.txt", "at 3.00\u202fPM.png", "...")
    source = file(tmp_path, "source").file
    raised = await store.raise_(files=tuple(RootFile(name=name, file=source) for name in names))
    assert tuple(ref.path for ref in raised.event.files) == names
    assert [await store.blobs.get_bytes(ref.blob) for ref in raised.event.files] == [b"content"] * len(names)


@pytest.mark.parametrize("missing", ["gone.jpg", "."])
async def test_a_file_that_is_none_leaves_nothing(store: Store, tmp_path: Path, missing: str) -> None:
    """If one of the files is missing or a folder, nothing of the event is stored."""
    good = file(tmp_path, "a.jpg")
    with pytest.raises(InvalidError, match=r"cannot be read|not a regular file"):
        await store.raise_(files=(good, RootFile(name="b.jpg", file=tmp_path / missing)))
    assert (blobs_of(tmp_path), await store.jobs()) == ([], ())


async def test_several_events_are_one_flow(store: Store, tmp_path: Path) -> None:
    """Events raised together share a new flow, unless they name one; one bad among them and none is raised."""
    roots = [RootEvent(type="photo", files=(file(tmp_path, f"{n}.jpg"),)) for n in range(20)]
    raised = await raise_events(roots, gateway="cli", ledger=store.ledger, blobs=store.blobs)
    assert len({one.event.correlation_id for one in raised}) == 1
    assert [one.event.subject for one in raised] == [f"{n}.jpg" for n in range(20)]
    assert (await store.ledger.open(raised[0].event.correlation_id)).committed == 20
    bad = [RootEvent(type="photo", correlation_id=CORRELATION), RootEvent(type="")]
    with pytest.raises(InvalidError):
        await raise_events(bad, gateway="cli", ledger=store.ledger, blobs=store.blobs)
    assert len(await store.jobs()) == 20


async def test_an_event_named_twice_in_one_call_is_raised_once(store: Store) -> None:
    """The second of one id in a call is a duplicate of the first."""
    roots = [RootEvent(type="photo", id="17", data={"n": n}) for n in range(2)]
    first, second = await raise_events(roots, gateway="cli", ledger=store.ledger, blobs=store.blobs)
    assert (first.duplicate, second.duplicate, second.event) == (False, True, first.event)
    assert first.event.data == {"n": 0}


async def test_a_type_that_nobody_hears_is_told_with_the_nearest(store: Store) -> None:
    """The error offers the type that was probably meant, and lists those that are heard."""
    with pytest.raises(InvalidError, match="no module is registered"):
        await require_hearer("photo", store.ledger)
    heard = (Subscription(type="photo"), Subscription(type="video"))
    await store.ledger.apply([revise(Module(name="detect", on=heard, command=("true",)))], "test")
    with pytest.raises(InvalidError, match=r"did you mean 'photo'\? Types that are heard: photo, video"):
        await require_hearer("foto", store.ledger)
    await require_hearer("photo", store.ledger)


async def test_the_relay_hands_a_root_event_on(store: Store, tmp_path: Path) -> None:
    """Its record is written, whoever subscribes gets a job for it, and the gateway's job is released."""
    on = (Subscription(type="photo"),)
    await store.ledger.apply([revise(Module(name="detect", on=on, command=("true",)))], "test")
    raised = await store.raise_(files=(file(tmp_path, "a.jpg"),), correlation_id=CORRELATION)
    async with SqliteDocuments(store.database) as documents, SqliteBus(store.database) as bus:
        await Relay(store.ledger, documents, store.blobs, bus, owner="one", max_hops=32).drain()
        (record,) = [record async for record in documents.flow(CORRELATION)]
    gateway, child = await store.jobs()
    assert (gateway.state, child.state) == (State.RELEASED, State.WAITING)
    assert (child.module, child.event) == ("detect", raised.event)
    assert (record.id, record.context.name, record.context.parent_event_id) == (raised.event.id, "frontapi", "frontapi")


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from ion.adapters.blobs.filesystem import FilesystemBlobs
from ion.adapters.ledger.sqlite import SqliteLedger
from ion.adapters.sqlite.database import Database
from ion.management.events import RootEvent, RootFile, raise_event

class Dying(SqliteLedger):
    async def admit(self, jobs):
        os.kill(os.getpid(), signal.SIGKILL)

async def main(folder):
    file = RootFile(name="a.jpg", file=folder / "a.jpg")
    root = RootEvent(type="photo", id="17", files=(file,))
    async with Database(folder / "db") as database, FilesystemBlobs(folder / "blobs") as blobs:
        async with Dying(database) as ledger:
            await raise_event(root, gateway="cli", ledger=ledger, blobs=blobs)

asyncio.run(main(Path(sys.argv[1])))
"""


async def test_a_process_killed_before_the_admission_has_raised_nothing(tmp_path: Path) -> None:
    """Blobs without a job are invisible: nothing is in the ledger, and the event can be raised as if never tried."""
    photo = file(tmp_path, "a.jpg")
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    killed = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", KILLED, str(tmp_path)], env=environment, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    assert len(blobs_of(tmp_path)) == 2
    async with (
        Database(tmp_path / "db") as database,
        SqliteLedger(database) as ledger,
        FilesystemBlobs(tmp_path / "blobs") as blobs,
    ):
        store = Store(database, ledger, blobs)
        assert await store.jobs() == ()
        raised = await store.raise_(id="17", files=(photo,))
        assert (raised.duplicate, raised.event.files[0].path) == (False, "a.jpg")
