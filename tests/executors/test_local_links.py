"""Inputs that are links to stored blobs: whatever a module does, by root as well, the blob stays as it is."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ion.adapters.blobs.filesystem import FilesystemBlobs, leases_work
from ion.adapters.executors.local import LocalExecutor, family, guard
from ion.adapters.executors.local.guard import Guard, Hold, Lease
from ion.model.event import Event, FileRef
from ion.model.ids import new_id
from ion.model.job import FailureClass
from ion.ports.executor import Phase
from ion.testing.conformance.executor import assignment, final, logged, logs_line, root_event
from ion.testing.local import abandon, left_of, open_local, until

CONTENT = bytes(range(256)) * 4096
INPUT = "in/data/clip.bin"
PYTHON = f"{sys.executable} -c"


@pytest.fixture(autouse=True)
def leases(tmp_path: Path) -> Iterator[None]:
    """Only where the file system has leases; afterwards no process is left."""
    if not leases_work(tmp_path):
        pytest.skip("this file system has no leases")
    yield
    assert left_of(tmp_path) == set()


@asynccontextmanager
async def with_input(folder: Path, *, guard_links: bool = True) -> AsyncIterator[tuple[LocalExecutor, Event]]:
    """An executor, and an event with one stored file of 1 MiB, which is found unchanged afterwards."""
    event = await stored_input(folder)
    try:
        async with open_local(folder, guard_links=guard_links) as executor:
            yield executor, event
    finally:
        await unchanged(folder, event)


async def stored_input(folder: Path) -> Event:
    source = folder / "clip.bin"
    source.write_bytes(CONTENT)
    blob = f"{new_id()}/clip.bin"
    async with FilesystemBlobs(folder / "blobs", links=True) as blobs:
        await blobs.put(blob, source)
    return root_event(FileRef(path="clip.bin", blob=blob, size=len(CONTENT)))


def open_again(stored: Path, how: int) -> int:
    """Opens a stored blob behind the store's back."""
    stored.chmod(0o644)
    return os.open(stored, how)


async def unchanged(folder: Path, event: Event) -> None:
    async with FilesystemBlobs(folder / "blobs") as blobs:
        assert await blobs.get_bytes(event.files[0].blob) == CONTENT


# Whom the mode alone would stop gets past it first: the guard is what is tested.
ALLOWED = "" if os.geteuid() == 0 else f'chmod u+w "$ION_DIR/{INPUT}"; '
WRITES = {
    "append": f'echo x >> "$ION_DIR/{INPUT}"',
    "overwrite": f'echo x > "$ION_DIR/{INPUT}"',
    "after-chmod": f'chmod 666 "$ION_DIR/{INPUT}"; echo x >> "$ION_DIR/{INPUT}"',
    "truncate": f'{PYTHON} \'import os; os.truncate(os.environ["ION_DIR"] + "/{INPUT}", 9)\'',
    "map": f'{PYTHON} \'import mmap, os; f = open(os.environ["ION_DIR"] + "/{INPUT}", "r+b");'
    ' mmap.mmap(f.fileno(), 0)[0:1] = b"x"\'',
    "thread": f"{PYTHON} 'import threading, os; t = threading.Thread("
    f'target=lambda: open(os.environ["ION_DIR"] + "/{INPUT}", "ab").write(b"x")); t.start(); t.join()\'',
    "without-waiting": f'{PYTHON} \'import os, time\ntry: os.open(os.environ["ION_DIR"] + "/{INPUT}",'
    " os.O_WRONLY | os.O_NONBLOCK)\nexcept BlockingIOError: time.sleep(1000)'",
    "link-of-it": f'ln "$ION_DIR/{INPUT}" "$ION_DIR/out/data/b"; echo x >> "$ION_DIR/out/data/b"',
    "daemon": f"setsid -f sh -c 'echo x >> \"$ION_DIR/{INPUT}\"'; sleep 1000",
    "disguised": f'env -i F="$ION_DIR/{INPUT}" PATH="$PATH" setsid -f sh -c \'cd /; echo x >> "$F"\'; sleep 1000',
}


@pytest.mark.parametrize("script", WRITES.values(), ids=WRITES.keys())
async def test_a_module_that_writes_to_its_input_fails_and_changes_nothing(tmp_path: Path, script: str) -> None:
    """It is ended before a byte changes, by the contract's failure, which says what to do instead."""
    async with with_input(tmp_path) as (executor, event):
        handle = await executor.submit(assignment(ALLOWED + script, event=event))
        status = await final(executor, handle)
        assert status.failure is not None
        assert (status.failure.kind, status.failure.message) == (
            FailureClass.CONTRACT,
            f"the module writes to its input {INPUT}: copy it to out/data or the scratch folder first",
        ), await logged(executor, handle)


async def test_reading_copying_linking_and_deleting_inputs_is_free(tmp_path: Path) -> None:
    """Only writing is guarded: an input may be read, copied and changed as a copy, linked, renamed and removed."""
    script = f"""cd "$ION_DIR"; set -e
        cat {INPUT} > out/data/copy; echo x >> out/data/copy; ln {INPUT} out/data/same
        mv {INPUT} in/data/moved; ln -s moved in/data/link; rm in/data/moved"""
    async with with_input(tmp_path) as (executor, event):
        handle = await executor.submit(assignment(script, event=event))
        status = await final(executor, handle)
        assert status.phase is Phase.SUCCEEDED, (status.failure, await logged(executor, handle))
        assert status.manifest is not None
        assert status.manifest.files == 2


async def test_the_neighbour_with_the_same_input_is_not_blamed(tmp_path: Path) -> None:
    """Of two modules that read one blob, the one that writes is ended, the other runs on, still guarded."""
    async with with_input(tmp_path) as (executor, event):
        waits = f'{ALLOWED}echo begun; while [ ! -e "$ION_DIR/go" ]; do sleep 0.02; done; echo x >> "$ION_DIR/{INPUT}"'
        reads = 'echo begun; while [ ! -e "$ION_DIR/go" ]; do sleep 0.02; done; cat "$ION_DIR"/in/data/* | wc -c'
        neighbours = [await executor.submit(assignment(one, event=event)) for one in (waits, reads)]
        for one in neighbours:
            await logs_line(executor, one, b"begun")
        guilty = await executor.submit(assignment(ALLOWED + WRITES["append"], event=event))
        failed = await final(executor, guilty)
        assert failed.failure is not None
        assert failed.failure.kind is FailureClass.CONTRACT
        for one in neighbours:
            assert (await executor.state(one)).phase is Phase.RUNNING
            (executor._attempts[one].folder / "ion" / "go").touch()
        assert (await final(executor, neighbours[1])).phase is Phase.SUCCEEDED
        later = await final(executor, neighbours[0])
        assert later.failure is not None
        assert later.failure.kind is FailureClass.CONTRACT


def test_a_writer_that_falls_asleep_late_is_told_from_its_neighbour(monkeypatch: pytest.MonkeyPatch) -> None:
    """A guard that was kept from looking while the time went by looks again."""
    paused = iter(range(0, 10**6, 1000))
    monkeypatch.setattr(time, "monotonic", lambda: next(paused))
    asleep = iter([False, True])
    monkeypatch.setattr(family, "census", lambda: {7: None})
    monkeypatch.setattr(guard, "_waits_for_lease", lambda _: next(asleep))
    monkeypatch.setattr(family, "members", lambda folder, **_: {7} if folder == "writes" else set())
    lease, watching = Lease(-1), Guard(os.getpid())
    for name in ("reads", "writes"):
        watching._holds[name] = Hold(name)
        lease.holders[name] = "clip.bin"
    assert watching._guilty(lease) == (["writes"], True)


async def test_a_killed_dispatcher_leaves_no_module_that_could_write(tmp_path: Path) -> None:
    """The guard ends what it guards when the dispatcher is gone, before anybody recovers it."""
    event = await stored_input(tmp_path)
    waits = "while kill -0 $PPID 2>/dev/null; do :; done"
    script = f'{ALLOWED}echo begun; trap "" TERM HUP; {waits}; echo x >> "$ION_DIR/{INPUT}"; sleep 1000'
    await abandon(tmp_path, assignment(script, event=event))
    await until(lambda: not left_of(tmp_path))
    await unchanged(tmp_path, event)
    async with open_local(tmp_path) as executor:
        [status] = await executor.recover()
        assert status.failure is not None
        assert status.failure.kind is FailureClass.LOST


async def test_a_dead_guard_ends_the_attempts_and_is_replaced(tmp_path: Path) -> None:
    """Without a guard no module runs on linked inputs; the next attempt has a new one."""
    async with with_input(tmp_path) as (executor, event):
        handle = await executor.submit(assignment("echo begun; sleep 1000", event=event))
        await logs_line(executor, handle, b"begun")
        assert executor._leases is not None
        assert executor._leases._process is not None
        os.kill(executor._leases._process.pid, 9)
        status = await final(executor, handle)
        assert status.failure is not None
        assert status.failure.kind is FailureClass.INFRASTRUCTURE
        again = await final(executor, await executor.submit(assignment(ALLOWED + WRITES["append"], event=event)))
        assert again.failure is not None
        assert again.failure.kind is FailureClass.CONTRACT


async def test_the_guard_goes_with_its_executor(tmp_path: Path) -> None:
    """No process of Ion's is left once the executor is closed."""
    async with with_input(tmp_path) as (executor, event):
        await final(executor, await executor.submit(assignment("true", event=event)))
        assert executor._leases is not None
        guard = executor._leases._process
        assert guard is not None
        assert family.look(guard.pid) is not None
    assert family.look(guard.pid) is None


@pytest.mark.parametrize("reason", ["no-guard", "open-for-writing"])
async def test_a_link_that_cannot_be_guarded_becomes_a_copy(tmp_path: Path, reason: str) -> None:
    """The module may then write to it; the blob is not touched."""
    async with with_input(tmp_path, guard_links=reason != "no-guard") as (executor, event):
        async with FilesystemBlobs(tmp_path / "blobs") as blobs:
            stored = Path(blobs.uri(event.files[0].blob).removeprefix("file://"))
        opened = open_again(stored, os.O_WRONLY if reason == "open-for-writing" else os.O_RDONLY)
        try:
            status = await final(executor, await executor.submit(assignment(ALLOWED + WRITES["append"], event=event)))
            assert status.phase is Phase.SUCCEEDED, status.failure
        finally:
            os.close(opened)


async def test_many_attempts_share_one_input(tmp_path: Path) -> None:
    """Twenty at once read the same blob, all guarded, and all succeed."""
    async with with_input(tmp_path) as (executor, event):
        script = f'wc -c < "$ION_DIR/{INPUT}"'
        handles = [await executor.submit(assignment(script, event=event)) for _ in range(20)]
        ends = await asyncio.gather(*(final(executor, handle) for handle in handles))
        assert {end.phase for end in ends} == {Phase.SUCCEEDED}
