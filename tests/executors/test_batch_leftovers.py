"""What is left in an Azure Batch account and on its nodes, by dispatchers and tasks that died."""

import asyncio
import fcntl
import os
import secrets
import signal
import subprocess
from typing import Any

import msgspec
import pytest
from tests.batch_double.place import Place, becomes, double, place, task_images
from tests.batch_double.service import BatchDouble

from ion.adapters.executors.azurebatch import attempt
from ion.model.manifest import log_pieces
from ion.ports.executor import Phase
from ion.testing.conformance.executor import WAITS, WRITES_A_FILE, final, logs_line

__all__ = ["double", "place", "task_images"]


def podman(*words: str, **environ: str) -> str:
    done = subprocess.run(["podman", *words], env={**os.environ, **environ}, check=True, capture_output=True, text=True)
    return done.stdout


async def test_the_next_task_removes_what_a_dead_one_left_on_its_node(double: BatchDouble, place: Place) -> None:
    """Not what a living one has, nor what is no task's."""
    name, dead = f"ion-left-{secrets.token_hex(4)}", double.account.folder / "dead"
    dead.mkdir()
    words = ("--detach", "--name", name, "--label", f"ion.task={dead}", place.shell, "sleep", "300")
    with (dead / "lock").open("w") as lock:  # it lives at first: other tests' tasks clear up this machine too
        fcntl.flock(lock, fcntl.LOCK_EX)
        podman("run", *words, CONTAINERS_CONF=str(double.account.nodes / "containers.conf"))
    try:
        async with place.open() as executor:
            living = await executor.submit(place.assignment(WAITS))
            await logs_line(executor, living, b"begun")
            assert (
                await final(executor, await executor.submit(place.assignment(WRITES_A_FILE)))
            ).phase is Phase.SUCCEEDED
            assert name not in podman("ps", "--all", "--format", "{{.Names}}")
            assert (await executor.state(living)).phase is Phase.RUNNING
            await executor.remove(living)
    finally:
        podman("rm", "--force", "--ignore", name)


async def test_an_attempt_that_nobody_follows_is_removed_with_its_log_kept(double: BatchDouble, place: Place) -> None:
    """A dispatcher finds it, settled elsewhere meanwhile: it is ended, its log stored, and nothing of it is left."""
    async with place.open() as first:
        handle = await first.submit(place.assignment(WAITS))
        await logs_line(first, handle, b"begun")
    async with place.open() as second:
        [status] = await second.recover()
        assert (status.handle, status.phase) == (handle, Phase.RUNNING)
        await second.remove(handle)
        assert await second.recover() == []
        assert not any(double.account.tasks.values())
        [log] = await place.paths(f"{handle.job}/")
        assert b"begun" in await place.stored(log)


async def test_the_log_is_stored_while_the_module_runs(place: Place) -> None:
    """In pieces, so that a lost node takes no more than the last seconds of it along."""
    async with place.open() as executor:
        handle = await executor.submit(place.assignment(WAITS))
        async with asyncio.timeout(300.0):
            while not (pieces := log_pieces(await place.paths(f"{handle.job}/"))):  # noqa: ASYNC110 - see `until_stored`
                await asyncio.sleep(0.1)
        assert (await executor.state(handle)).phase is Phase.RUNNING
        assert b"begun" in await place.stored(pieces[0].path)
        await executor.remove(handle)
        assert log_pieces(await place.paths(f"{handle.job}/")) == []


async def test_attempts_are_followed_on_though_the_settings_name_another_pool(
    double: BatchDouble, place: Place
) -> None:
    """Where a task is, the account says."""
    double.account.add_pool("new")
    work = place.assignment(WAITS)
    async with place.open() as first:
        await logs_line(first, await first.submit(work), b"begun")
    async with place.but(pool="new").open() as second:
        handle = await second.submit(work)
        await logs_line(second, handle, b"begun")
        await second.remove(handle)
        assert not any(double.account.tasks.values())


class Late(dict[str, str]):
    """Secrets that are there from the fourth question on."""

    asked = 0

    def get(self, name: str, default: Any = None) -> Any:
        self.asked += 1
        return super().get(name, default) if self.asked > 3 else default


async def test_an_attempt_that_runs_waits_for_the_secrets_that_its_log_must_not_show(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next dispatcher was started without them: that does not end what runs, however long it lasts."""
    monkeypatch.setattr(attempt, "MAKING_S", 0.0)
    known = {"token": "the-value-of-a-secret"}
    there = msgspec.structs.replace(place, known=known)
    work = there.gated(secrets={"TOKEN": "token"})
    async with there.open() as first:
        await logs_line(first, await first.submit(work), b"begun")
    async with msgspec.structs.replace(place, known=Late(known)).open() as second:
        handle = await second.submit(work)
        await logs_line(second, handle, b"begun")
        place.open_gate()
        assert (await final(second, handle)).phase is Phase.SUCCEEDED


async def test_what_others_have_in_the_account_is_left_alone(double: BatchDouble, place: Place) -> None:
    """Another ledger's attempts are not found, and their Batch jobs not looked at."""
    other = place.but(instance="other")
    async with place.open() as ours:
        handle = await ours.submit(place.assignment(WAITS))
        await becomes(lambda: double.account.one("running") is not None)
        async with other.open() as theirs:
            assert await theirs.recover() == []
            assert (await theirs.state(handle)).phase is Phase.UNKNOWN
        await ours.remove(handle)


async def test_the_module_is_stopped_with_its_grace_when_batch_kills_its_task(
    double: BatchDouble, place: Place
) -> None:
    """It gets SIGTERM and its time, though the command line got SIGKILL."""
    script = 'echo begun; trap "echo told >\\"$ION_DIR/out/data/told\\"; exit 0" TERM; while :; do sleep 0.1; done'
    async with place.open() as executor:
        handle = await executor.submit(place.assignment(script))
        await logs_line(executor, handle, b"begun")
        task = double.account.one()
        assert task is not None
        assert task.run is not None
        assert task.run._process is not None
        os.kill(task.run._process.pid, signal.SIGKILL)
        await becomes((task.folder / "wd/work/ion/out/data/told").exists)
        status = await final(executor, handle)
        assert status.phase is Phase.FAILED
