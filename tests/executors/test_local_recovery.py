"""After a dispatcher was killed: real processes, really killed."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from tests.executors.daemons import bare_daemon, end_daemons, leaving_a_bare_daemon, lives

from ion.adapters.blobs.filesystem import FilesystemBlobs
from ion.adapters.executors.local.marks import WearingDraft, mark_of
from ion.adapters.executors.local.recovery import Maker, abandoned
from ion.handler import JobHandler
from ion.model.job import FailureClass
from ion.model.manifest import Usage
from ion.ports.executor import Phase
from ion.testing.conformance.executor import WRITES_A_FILE, assignment, final, logged
from ion.testing.local import abandon, left_of, open_local, until


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path: Path) -> Iterator[None]:
    """After every test, no process has anything to do with its attempts, and no folder of one is left."""
    yield
    end_daemons(tmp_path)
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


async def test_a_daemon_that_shed_everything_is_ended_after_its_dispatcher_was_killed(tmp_path: Path) -> None:
    """It has gone to another parent with nothing on it but its mark, and that is known again."""
    up = tmp_path / "up.pid"
    await abandon(tmp_path, assignment(**leaving_a_bare_daemon("echo begun; exec sleep 1000", up)))
    daemon = int(up.read_text())
    assert lives(daemon)
    async with open_local(tmp_path) as executor:
        await executor.recover()
        assert not lives(daemon)


async def test_a_daemon_that_was_quicker_than_its_mark_is_ended_too(tmp_path: Path) -> None:
    """Its dispatcher, busy or killed, had no time to mark the leader: all that it has is the draft."""
    up, folder = tmp_path / "up.pid", tmp_path / "work" / f"job-1-0123abcd-{'ab' * 16}"
    folder.mkdir(parents=True)
    (folder / "log").touch()
    with WearingDraft(mark_of(str(folder))):
        process = await asyncio.create_subprocess_exec(*bare_daemon(up), start_new_session=True)
    assert await process.wait() == 0
    await until(up.exists)
    daemon = int(up.read_text())
    assert lives(daemon)
    async with open_local(tmp_path) as executor:
        [status] = await executor.recover()
        assert not lives(daemon)
        await executor.remove(status.handle)


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
        told = await final(executor, await executor.submit(assignment("exit 7")))
    before = msgspec.structs.replace(told, began_s=0.0, ended_s=0.0)  # when its module ran is not kept
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


async def test_a_half_made_folder_is_cleared_away(tmp_path: Path) -> None:
    """Without a log nothing of the attempt has run; only its maker's being gone counts, not its age."""
    async with open_local(tmp_path) as executor:
        work = assignment("true")
        folder = tmp_path / "work" / f"{work.job.id}-1-0123abcd-{'0' * 32}"
        (folder / "ion").mkdir(parents=True)
        assert await executor.recover() == []
        assert not folder.exists()


async def test_a_folder_with_a_strange_name_hinders_no_recovery(tmp_path: Path) -> None:
    """It is no attempt's, whatever lies in it."""
    async with open_local(tmp_path) as executor:
        folder = tmp_path / "work" / "job-one-0123abcd-ef0123"
        folder.mkdir()
        (folder / "log").touch()
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


async def test_what_is_left_for_a_recovery_holds_no_secret(tmp_path: Path) -> None:
    """Nothing that Ion wrote beside the module's directory has a secret's value."""
    async with open_local(tmp_path, secrets=lambda _: "swordfish") as executor:
        handle = await executor.submit(assignment("exit 1", secrets={"KEY": "pond"}))
        await final(executor, handle)
        files = [file for file in (tmp_path / "work" / folders(tmp_path)[0]).rglob("*") if file.is_file()]
        assert files
        for file in files:
            assert b"swordfish" not in file.read_bytes()
