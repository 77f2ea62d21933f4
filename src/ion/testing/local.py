"""A local executor over blobs in files, below one folder: for tests, here and in a process that is to be killed."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from ion.adapters.blobs.filesystem import FilesystemBlobs
from ion.adapters.executors.local import LocalExecutor, family
from ion.handler import JobHandler
from ion.model.module import Resources
from ion.ports.executor import Assignment
from ion.testing.conformance.elsewhere import running

PATIENCE_S = 300.0
MACHINE = Resources(cpu=4.0, memory=8 * 2**30)


def no_secret(name: str) -> str | None:
    del name
    return None


@asynccontextmanager
async def open_local(
    folder: Path,
    *,
    secrets: Callable[[str], str | None] = no_secret,
    devices: tuple[str, ...] = (),
    guard_links: bool = True,
) -> AsyncIterator[LocalExecutor]:
    """An executor working in `folder/work`, its blobs in `folder/blobs`, links included."""
    async with FilesystemBlobs(folder / "blobs", links=True) as blobs:
        executor = LocalExecutor(
            folder / "work",
            JobHandler(blobs, host="here"),
            machine=MACHINE,
            devices=devices,
            secrets=secrets,
            environ=os.environ,
            guard_links=guard_links,
        )
        async with executor:
            yield executor


_ELSEWHERE = """
import asyncio
import msgspec
from pathlib import Path
from ion.testing.local import open_local
from ion.ports.executor import Assignment
from ion.testing.conformance.executor import logs_line

async def main():
    async with open_local(Path({folder!r})) as executor:
        handle = await executor.submit(msgspec.json.decode({work!r}, type=Assignment))
        await logs_line(executor, handle, b"begun")
        print("begun", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def abandon(folder: Path, work: Assignment) -> Assignment:
    """Submits in another process, which is killed with SIGKILL once the attempt has logged `begun`."""
    program = _ELSEWHERE.format(folder=str(folder), work=msgspec.json.encode(work))
    async with running(program) as output, asyncio.timeout(PATIENCE_S):
        assert await output.readline() == b"begun\n"
    return work


def left_of(folder: Path) -> set[int]:
    """The processes that still have to do with the attempts below `folder`."""
    work = folder / "work"
    return {pid for one in work.iterdir() for pid in family.members(str(one))} if work.exists() else set()


async def until(met: Callable[[], bool]) -> None:
    """Waits for a condition, for a while."""
    async with asyncio.timeout(PATIENCE_S):
        while not met():  # noqa: ASYNC110 - what is waited for happens outside of this process
            await asyncio.sleep(0.01)
