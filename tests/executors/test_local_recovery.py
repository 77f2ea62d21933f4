"""After a dispatcher was killed: real processes, really killed."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from ion.adapters.blobs.filesystem import FilesystemBlobs
from ion.adapters.executors.local.recovery import Maker, abandoned
from ion.handler import JobHandler
from ion.model.job import FailureClass
from ion.model.manifest import Usage
from ion.ports.executor import Phase
from ion.testing.conformance.executor import WRITES_A_FILE, assignment, final, logged
from ion.testing.local import abandon, left_of, open_local


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path: Path) -> Iterator[None]:
    """After every test, no process has anything to do with its attempts, and no folder of one is left."""
    yield
    assert left_of(tmp_path) == set()


def folders(folder: Path) -> list[str]:
    return [one.name for one in (folder / "work").iterdir() if not one.name.startswith(".")]


async def test_what_a_killed_dispatcher_left_running_is_ended(tmp_path: Path) -> None:
    """The module, its children and its daemons: all are gone once `recover` returns, and the log is kept."""
    script = 'echo begun; trap "" TERM; setsid -f sleep 1000; sleep 1000 & sleep 1000'
    await abandon(tmp_path, assignment(script))
    assert left_of(tmp_path)
    async with open_local(tmp_path) as executor:
        [status] = await executor.recover()
        assert left_of(tmp_path) == set()
        assert status.failure is not None
        assert status.failure.kind is FailureClass.LOST
        assert (await logged(executor, status.handle)).endswith(b"begun\n")
        await executor.remove(status.handle)
    assert folders(tmp_path) == []


async def test_two_that_recover_at_once_tell_the_same(tmp_path: Path) -> None:
    """Neither waits in vain, ends the other's work, or says something else; one `remove` is enough."""
    await abandon(tmp_path, assignment("echo begun; sleep 1000"))
    async with open_local(tmp_path) as one, open_local(tmp_path) as other:
        first, second = await asyncio.gather(one.recover(), other.recover())
        assert first == second
        assert len(first) == 1
        await one.remove(first[0].handle)
        await other.remove(first[0].handle)
    assert folders(tmp_path) == []


async def test_a_manifest_that_was_written_is_a_success(tmp_path: Path) -> None:
    """The dispatcher died after the commit and before it told: the results count."""
    work = await abandon(tmp_path, assignment("echo begun; sleep 1000"))
    async with FilesystemBlobs(tmp_path / "blobs") as blobs:
        handler = JobHandler(blobs, host="elsewhere")
        workspace = await handler.prepare(work, tmp_path / "again")
        manifest = await handler.commit(work, workspace, log=None, usage=Usage(), started_at_s=0.0)
    async with open_local(tmp_path) as executor:
        [status] = await executor.recover()
        assert status.phase is Phase.SUCCEEDED
        assert status.manifest is not None
        assert status.manifest.execution == manifest.execution


async def test_a_failure_that_nobody_settled_is_told_as_it_was(tmp_path: Path) -> None:
    """An executor that closed with a failed attempt leaves it to the next, with its exit code."""
    async with open_local(tmp_path) as executor:
        before = await final(executor, await executor.submit(assignment("exit 7")))
    async with open_local(tmp_path) as executor:
        assert await executor.recover() == [before]
        assert await executor.state(before.handle) == before


async def test_an_attempt_made_again_is_not_called_lost(tmp_path: Path) -> None:
    """Where the same attempt runs here already, what is left of its former life is only cleared away."""
    work = await abandon(
        tmp_path, assignment(f"echo begun; [ -e go ] || sleep 1000; {WRITES_A_FILE}", folder=str(tmp_path))
    )
    (tmp_path / "go").touch()
    async with open_local(tmp_path) as executor:
        handle = await executor.submit(work)
        assert (await final(executor, handle)).phase is Phase.SUCCEEDED
        assert await executor.recover() == []
        assert len(folders(tmp_path)) == 1


@pytest.mark.parametrize("content", [None, b"", b'{"execution": "'])
async def test_a_half_made_folder_is_cleared_away(tmp_path: Path, content: bytes | None) -> None:
    """Without a whole note nothing of the attempt has run; only its maker's being gone counts, not its age."""
    async with open_local(tmp_path) as executor:
        work = assignment("true")
        folder = tmp_path / "work" / f"{work.job.id}-1-0123abcd-ef0123"
        (folder / "ion").mkdir(parents=True)
        if content is not None:
            (folder / "attempt.json").write_bytes(content)
        assert await executor.recover() == []
        assert not folder.exists()


async def test_a_folder_of_a_living_maker_is_not_touched(tmp_path: Path) -> None:
    """However little is in it yet."""
    maker = Maker(tmp_path / "work")
    maker.begin()
    folder = tmp_path / "work" / f"job-1-{maker.name}-ef0123"
    folder.mkdir()
    async with open_local(tmp_path) as executor:
        assert await executor.recover() == []
        assert folder.exists()
        maker.end()
        assert abandoned(tmp_path / "work") == [folder]
        await executor.recover()
        assert not folder.exists()


async def test_a_note_holds_no_secret(tmp_path: Path) -> None:
    """What is written down for a recovery names secrets, and has none of their values."""
    async with open_local(tmp_path, secrets=lambda _: "swordfish") as executor:
        handle = await executor.submit(assignment("exit 1", secrets={"KEY": "pond"}))
        await final(executor, handle)
        folder = tmp_path / "work" / folders(tmp_path)[0]
        for file in folder.rglob("*.json"):
            assert b"swordfish" not in file.read_bytes()
        note = msgspec.json.decode((folder / "attempt.json").read_bytes())
        assert note["assignment"]["revision"]["module"]["secrets"] == {"KEY": "pond"}
