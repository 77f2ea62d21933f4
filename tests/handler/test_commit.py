"""What becomes of a module's output."""

import hashlib
import os
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from ion.errors import InvalidError, UnavailableError
from ion.handler.results import SPILL_FROM
from ion.messaging import codec, trace
from ion.model import ids
from ion.model.event import FileRef
from ion.model.manifest import INLINE_LIMIT, Insight, Manifest

if TYPE_CHECKING:
    from tests.handler.conftest import Attempt


async def test_an_empty_output_is_a_result(attempt: "Attempt") -> None:
    """A module may leave nothing: the manifest says so, and who ran, where and for what."""
    await attempt.brings("a.png", b"x")
    await attempt.prepare()
    manifest = await attempt.manifest()
    assert (manifest.files, manifest.events, manifest.insights, manifest.log) == ((), (), (), None)
    assert (manifest.job, manifest.attempt, manifest.execution) == (attempt.job_id, 2, attempt.workspace.execution)
    assert (manifest.module, manifest.host, manifest.devices) == ("detect", "here", ("0",))
    assert (manifest.image_digest, manifest.revision) == ("sha256:abc", attempt.assignment.revision.id)
    assert (manifest.event_id, manifest.parent_event_id) == (attempt.event.id, "frontapi")
    assert manifest.correlation_id == "flow-1"
    assert manifest.inputs == attempt.event.files
    assert manifest.secrets == ("vision",)
    assert manifest.usage.cpu_s == 1.5
    assert manifest.started_at < manifest.ended_at
    assert await attempt.stored() == ["manifest.json"]


@pytest.mark.parametrize("missing", ["in", "out/data", "out/events", "out/data out/events in"])
async def test_folders_that_the_module_removed_are_empty(attempt: "Attempt", missing: str) -> None:
    """A module may delete its inputs and the folders it does not need."""
    await attempt.prepare()
    for name in missing.split():
        subprocess.run(["rm", "-rf", attempt.directory / name], check=True)  # noqa: ASYNC221 - short, and nothing else runs
    assert (await attempt.manifest()).files == ()


async def test_files_are_kept_with_their_folders(attempt: "Attempt") -> None:
    """Every file of `out/data` is stored with size and hash, the very file where it can be, read-only."""
    await attempt.prepare()
    inodes = {}
    for path in ("b.txt", "deep/er/a.txt", "with blank, comma and ü.txt", "large"):
        file = attempt.leaves(f"data/{path}", path.encode() * (200_000 if path == "large" else 1))
        inodes[path] = file.stat().st_ino
    (attempt.directory / "out/data/empty").mkdir()
    manifest = await attempt.manifest()
    assert [file.path for file in manifest.files] == sorted(inodes)
    for ref in manifest.files:
        content = await attempt.blobs.get_bytes(ref.blob)
        assert (ref.size, ref.sha256) == (len(content), hashlib.sha256(content).hexdigest())
        assert ref.blob == f"{attempt.prefix}data/{ref.path}"
        assert attempt.blob_file(ref.blob).stat().st_ino == inodes[ref.path]
        assert stat.S_IMODE(attempt.blob_file(ref.blob).stat().st_mode) == 0o444


@pytest.mark.parametrize(
    "written",
    [
        [
            {"key": "eventType", "value": "found"},
            {"key": "files", "value": "b/c.png,a.png"},
            {"key": "subject", "value": "a.png"},
            {"key": "n", "value": "1"},
        ],
        {"type": "found", "files": ["b/c.png", "./a.png", "a.png"], "subject": "a.png", "data": {"n": "1"}},
    ],
    ids=["list form", "object form"],
)
async def test_an_event_is_raised_in_both_forms(attempt: "Attempt", written: Any) -> None:
    """The original's list and the object give the same event: complete, its id from the job and the file's name."""
    await attempt.prepare()
    attempt.leaves("data/a.png", b"a")
    attempt.leaves("data/b/c.png", b"c")
    attempt.leaves("events/one.json", msgspec.json.encode(written))
    manifest = await attempt.manifest()
    (event,) = manifest.events
    assert event.id == ids.output_event_id(attempt.job_id, "one.json")
    assert (event.type, event.source) == ("found", codec.module_source("detect"))
    assert (event.correlation_id, event.parent_id, event.hops) == ("flow-1", attempt.event.id, 1)
    assert event.traceparent == trace.child(attempt.event.traceparent, attempt.job_id)
    assert event.subject == "a.png"
    assert {"n": "1"}.items() <= event.data.items()
    assert not {"eventType", "files"} & event.data.keys()
    refs = {file.path: file for file in manifest.files}
    assert event.files == (refs["b/c.png"], refs["a.png"])
    assert codec.decode(codec.encode(event)) == event


async def test_the_list_form_keeps_every_key_but_its_two(attempt: "Attempt") -> None:
    """Keys of a module written for the original reach the next module, also those that newer modules use otherwise."""
    await attempt.prepare()
    pairs = {"eventType": "found", "files": "", "inputs": "3 of 4", "subject": "s", "type": "x", "n": "1"}
    attempt.leaves("events/e.json", msgspec.json.encode([{"key": key, "value": pairs[key]} for key in pairs]))
    (event,) = (await attempt.manifest()).events
    assert event.data == {"inputs": "3 of 4", "subject": "s", "type": "x", "n": "1"}
    assert event.files == ()


async def test_a_subject_is_inherited(attempt: "Attempt") -> None:
    """An event without a subject is about what its parent was about."""
    await attempt.prepare()
    attempt.raises("a.json", subject="frame 3")
    attempt.raises("b.json")
    attempt.leaves("events/c.json", '[{"key": "eventType", "value": "found"}]')
    assert [event.subject for event in (await attempt.manifest()).events] == ["frame 3", "clip.mp4", "clip.mp4"]


async def test_events_come_in_the_order_of_their_names(attempt: "Attempt") -> None:
    """However the file system lists them, events are raised by file name: a repeat gives the same."""
    await attempt.prepare()
    for number in reversed(range(50)):
        attempt.raises(f"{number:03}.json", data={"n": number})
    assert [event.data["n"] for event in (await attempt.manifest()).events] == list(range(50))


async def test_large_data_is_spilled(attempt: "Attempt") -> None:
    """Data over 16 KiB goes into a blob that the event names; up to that it stays in the event."""
    await attempt.prepare()
    small, large = {"k": "x" * (SPILL_FROM - 8)}, {"k": "x" * (SPILL_FROM - 7)}
    assert len(msgspec.json.encode(small)) == SPILL_FROM
    attempt.raises("a.json", data=small)
    attempt.raises("b.json", data=large)
    kept, spilled = (await attempt.manifest()).events
    assert (kept.data, kept.dataref) == (small, "")
    assert spilled.data == {}
    assert spilled.dataref.startswith(f"{attempt.prefix}events/")
    assert msgspec.json.decode(await attempt.blobs.get_bytes(spilled.dataref)) == large
    assert len(codec.encode(spilled)) < 2000


@pytest.mark.parametrize(
    ("written", "insights"),
    [
        ('[{"key": "a", "value": "1"}, {"key": "a", "value": "2"}]', [("a", "1", None), ("a", "2", None)]),
        ('[{"key": "a", "value": 1.5, "more": true}]', [("a", "1.5", 1.5)]),
        ('{"a": "1", "b": 2, "c": [true], "d": {}, "e": null}', None),
        ("{}", []),
        ("[]", []),
    ],
)
async def test_insights_are_kept_in_both_forms(
    attempt: "Attempt", written: str, insights: list[tuple[str, str, Any]] | None
) -> None:
    """Text is kept as it is, other values as JSON text with the typed value beside it."""
    await attempt.prepare()
    attempt.leaves("insights.json", written)
    if insights is None:
        insights = [("a", "1", None), ("b", "2", 2), ("c", "[true]", [True]), ("d", "{}", {}), ("e", "null", None)]
    expected = tuple(Insight(key=key, value=value, typed=typed) for key, value, typed in insights)
    assert (await attempt.manifest()).insights == expected


async def test_what_else_lies_in_out_is_lost(attempt: "Attempt") -> None:
    """Other files of `out` are the module's own, as they always were."""
    await attempt.prepare()
    attempt.leaves("notes.txt", b"x")
    attempt.leaves("tmp/more.txt", b"x")
    await attempt.commit()
    assert await attempt.stored() == ["manifest.json"]


async def test_the_log_is_stored_and_can_be_read_on(attempt: "Attempt") -> None:
    """The log lies beside the manifest, and who reads its file by the old name is not disturbed."""
    await attempt.prepare()
    log = attempt.folder / "log"
    log.write_bytes(b"said")
    ref = await attempt.commit(log)
    assert log.read_bytes() == b"said"
    assert await attempt.blobs.get_bytes(ref.log) == b"said"
    assert ref.log == f"{attempt.prefix}log.txt"


async def test_the_log_of_a_failed_attempt_is_kept(attempt: "Attempt") -> None:
    """`keep_log` stores a log without results, and repeating it is harmless."""
    await attempt.prepare()
    log = attempt.folder / "log"
    log.write_bytes(b"said")
    for _ in range(2):
        blob = await attempt.handler.keep_log(attempt.job_id, 2, attempt.workspace.execution, log)
        assert await attempt.blobs.get_bytes(blob) == b"said"
    assert await attempt.handler.find_manifest(attempt.job_id, 2) is None


async def test_the_reference_carries_small_manifests(attempt: "Attempt") -> None:
    """What the ledger keeps of a manifest has its counts, and its text up to 32 KiB."""
    await attempt.prepare()
    attempt.leaves("data/a", b"x")
    attempt.raises(files=["a"])
    attempt.leaves("insights.json", '{"a": 1, "b": 2}')
    ref = await attempt.commit()
    assert (ref.files, ref.events, ref.insights) == (1, 1, 2)
    assert msgspec.json.decode(ref.inline, type=Manifest).files[0].path == "a"

    attempt.job_id, attempt.directory = ids.new_id(), attempt.folder / "second"
    await attempt.prepare()
    attempt.leaves("insights.json", msgspec.json.encode({"a": "x" * INLINE_LIMIT}))
    assert (await attempt.commit()).inline == ""


async def test_a_commit_can_be_repeated(attempt: "Attempt") -> None:
    """A commit that was cut short before or after its manifest is finished, or found, by the next one."""
    await attempt.prepare()
    log = attempt.folder / "log"
    log.write_bytes(b"said")
    attempt.leaves("data/a", b"x" * 5)
    attempt.leaves("data/b", b"y" * 3_000_000)
    attempt.raises(files=["a", "b"], data={"k": "x" * 20_000})
    await attempt.blobs.put(f"{attempt.prefix}data/a", attempt.directory / "out/data/a", move=True)
    first = await attempt.commit(log)
    assert await attempt.commit(log) == first
    assert await attempt.handler.find_manifest(attempt.job_id, 2) == first


async def test_of_two_executions_the_older_manifest_is_found(attempt: "Attempt") -> None:
    """`find_manifest` always gives the same one of several, and none of another attempt."""
    refs = []
    for number in range(3):
        attempt.directory = attempt.folder / f"ion-{number}"
        await attempt.prepare()
        attempt.leaves("data/manifest.json", b"{}")
        refs.append(await attempt.commit())
        os.utime(attempt.blob_file(refs[-1].blob), (1_000_000 - number, 1_000_000 - number))
    assert await attempt.handler.find_manifest(attempt.job_id, 2) == refs[-1]
    assert await attempt.handler.find_manifest(attempt.job_id, 1) is None
    await attempt.blobs.delete(refs[-1].blob.removesuffix("manifest.json"))
    assert await attempt.handler.find_manifest(attempt.job_id, 2) == refs[-2]


async def test_a_manifest_that_cannot_be_read_is_named(attempt: "Attempt") -> None:
    """A manifest of another version is no results lost in silence: the error names it."""
    await attempt.blobs.put_bytes(f"{attempt.job_id}/2/x/manifest.json", b"{}")
    with pytest.raises(InvalidError, match=r"x/manifest\.json cannot be read"):
        await attempt.handler.find_manifest(attempt.job_id, 2)


async def test_what_the_module_has_elsewhere_stays_its_own(attempt: "Attempt") -> None:
    """A file hard-linked into `out/data` from outside is stored as a copy: the other name stays writable."""
    await attempt.prepare()
    outside = attempt.folder / "model.bin"
    outside.write_bytes(b"weights")
    (attempt.directory / "out/data/model.bin").hardlink_to(outside)
    manifest = await attempt.manifest()
    assert stat.S_IMODE(outside.stat().st_mode) == 0o644
    outside.write_bytes(b"changed")
    assert await attempt.blobs.get_bytes(manifest.files[0].blob) == b"weights"


async def test_many_files_are_stored(attempt: "Attempt") -> None:
    """Thousands of files and events are one result."""
    await attempt.prepare()
    for number in range(2000):
        attempt.leaves(f"data/{number % 20}/{number}", b"%d" % number)
        attempt.raises(f"{number}.json", files=[f"{number % 20}/{number}"])
    manifest = await attempt.manifest()
    assert (len(manifest.files), len(manifest.events)) == (2000, 2000)
    assert all(event.files[0].path.endswith(f"/{event.files[0].path.split('/')[1]}") for event in manifest.events)


async def test_a_commit_to_a_store_that_was_away_can_be_tried_again(attempt: "Attempt") -> None:
    """When the store is away nothing is visible, and the same commit succeeds once it is back."""
    await attempt.prepare()
    attempt.leaves("data/a", b"x")
    root = attempt.blob_file("a/b").parents[2]
    root.rename(attempt.folder / "away")
    with pytest.raises(UnavailableError):
        await attempt.commit()
    (attempt.folder / "away").rename(root)
    assert (await attempt.commit()).files == 1


COMMIT_AS_NOBODY = """
import asyncio, os, pathlib, msgspec
from ion.adapters.blobs.filesystem import FilesystemBlobs
from ion.handler import JobHandler
from ion.model.manifest import Usage
from ion.ports.executor import Assignment

os.setgid(65534)
os.setuid(65534)

async def main():
    folder = pathlib.Path({folder!r})
    async with FilesystemBlobs(folder / "blobs") as blobs:
        handler = JobHandler(blobs, host="here")
        assignment = msgspec.json.decode({assignment!r}, type=Assignment)
        workspace = await handler.prepare(assignment, folder / "ion")
        umask = os.umask(0o777)
        out = folder / "ion/out"
        (out / "data/a").write_bytes(b"x")
        (out / "insights.json").write_text("{{}}")
        (out / "events/e.json").write_text('{{"type": "found", "files": ["a"]}}')
        for name in ("data", "events", "."):
            (out / name).chmod(0)
        os.umask(umask)
        ref = await handler.commit(assignment, workspace, log=None, usage=Usage(), started_at_s=0)
        print(ref.files, ref.events)

asyncio.run(main())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_files_without_permissions_are_kept(attempt: "Attempt") -> None:
    """A module with umask 0777, or that locks its folders, loses nothing, where Ion runs as the same user."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        program = COMMIT_AS_NOBODY.format(folder=folder, assignment=msgspec.json.encode(attempt.assignment))
        told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (told.stdout, told.stderr) == ("1 1\n", "")


async def test_another_users_files_are_kept(attempt: "Attempt") -> None:
    """Files of any owner and mode are stored, and belong to the store then."""
    await attempt.prepare()
    file = attempt.leaves("data/a", b"x")
    if os.geteuid() == 0:
        os.chown(file, 12345, 12345)
    file.chmod(0)
    (ref,) = (await attempt.manifest()).files
    assert attempt.blob_file(ref.blob).stat().st_uid == os.geteuid()
    assert await attempt.blobs.get_bytes(ref.blob) == b"x"


async def test_a_hash_is_missing_nowhere(attempt: "Attempt") -> None:
    """A large file is hashed in pieces, and holes count as zeros."""
    await attempt.prepare()
    with attempt.leaves("data/sparse").open("wb") as file:
        file.truncate(20_000_000)
    (ref,) = (await attempt.manifest()).files
    assert ref == FileRef(
        path="sparse", blob=ref.blob, size=20_000_000, sha256=hashlib.sha256(bytes(20_000_000)).hexdigest()
    )
    assert attempt.blob_file(ref.blob).stat().st_blocks < 100


async def test_a_socket_outside_data_is_nobodys_business(attempt: "Attempt", monkeypatch: pytest.MonkeyPatch) -> None:
    """What a module leaves beside the contract's folders is not looked at."""
    folder = await attempt.prepare()
    with socket.socket(socket.AF_UNIX) as listening:
        monkeypatch.chdir(folder)  # the path of a socket may be 107 bytes at most
        listening.bind("out/s")
    assert (await attempt.manifest()).files == ()
