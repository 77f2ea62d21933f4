"""A place for attempts on Azure Batch: an account of the double, and blobs in Azurite which its nodes reach."""

import secrets
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.batch_double.images import images
from tests.batch_double.service import BatchDouble, batch_double
from tests.batch_double.signature import ACCOUNT, KEY
from tests.cluster.attempts import until
from tests.stores.azurite import Azurite

from ion.adapters.blobs.objects import ObjectBlobs
from ion.adapters.blobs.objects_settings import ObjectsSettings
from ion.adapters.executors.azurebatch import BatchExecutor
from ion.adapters.executors.azurebatch.settings import BatchSettings
from ion.handler import JobHandler
from ion.model.module import Mount
from ion.ports.executor import Assignment, Status
from ion.testing.conformance.elsewhere import running
from ion.testing.conformance.executor import WRITES_A_FILE, assignment, final
from ion.wiring.handler import opening


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where attempts run, as another process may be told. `known` are the secrets of modules."""

    batch: BatchSettings
    store: ObjectsSettings
    folder: str
    shell: str
    known: dict[str, str] = {}

    def assignment(self, script: str, **more: Any) -> Assignment:
        return assignment(script, **{"image": self.shell, "provider": "azurebatch", **more})

    def gated(self, **more: Any) -> Assignment:
        """One whose module says that it has begun, and succeeds once `open_gate` was called, in whichever run."""
        gate = Path(self.folder) / "gate"
        gate.mkdir()
        waits = "echo begun; until [ -e /gate/open ]; do sleep 0.1; done"
        return self.assignment(f"{waits}; {WRITES_A_FILE}", mounts=(Mount(source=str(gate), path="/gate"),), **more)

    def open_gate(self) -> None:
        (Path(self.folder) / "gate/open").touch()

    async def stored(self, path: str) -> bytes:
        async with ObjectBlobs(self.store) as blobs:
            return await blobs.get_bytes(path)

    async def paths(self, prefix: str) -> list[str]:
        async with ObjectBlobs(self.store) as blobs:
            return sorted([blob.path async for blob in blobs.list(prefix)])

    @asynccontextmanager
    async def open(self) -> AsyncIterator[BatchExecutor]:
        """The executor, once it has reached the account."""
        async with ObjectBlobs(self.store) as blobs:

            async def credential(work: Assignment) -> str:
                return (await opening(blobs, self.store, work))[0].decode()

            executor = BatchExecutor(
                Path(self.folder) / secrets.token_hex(4),
                JobHandler(blobs, host="here"),
                blobs,
                self.batch,
                credentials=credential,
                secrets=self.known.get,
                ledger=self.folder,
            )
            async with executor:
                await until(lambda: bool(executor.guarantees.scope))
                yield executor

    async def ended(self, work: Assignment) -> Status:
        """How an attempt ends."""
        async with self.open() as executor:
            return await final(executor, await executor.submit(work))

    def but(self, **settings: Any) -> "Place":
        """The same place, with other settings of the executor."""
        return msgspec.structs.replace(self, batch=msgspec.structs.replace(self.batch, **settings))


_ELSEWHERE = """
import asyncio
import msgspec
import pytest
from tests.batch_double.place import Place
from ion.ports.executor import Assignment
from ion.testing.conformance.executor import logs_line

async def main():
    place = msgspec.json.decode({place!r}, type=Place)
    async with place.open() as executor:
        handle = await executor.submit(msgspec.json.decode({work!r}, type=Assignment))
        await logs_line(executor, handle, b"begun")
        print("begun", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def abandon(place: Place, work: Assignment) -> Assignment:
    """Submits in another process, which is killed with SIGKILL once the attempt has logged `begun`."""
    program = _ELSEWHERE.format(place=msgspec.json.encode(place), work=msgspec.json.encode(work))
    async with running(program) as output:
        assert await output.readline() == b"begun\n"
    return work


@pytest.fixture(scope="session")
def task_images(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return images(tmp_path_factory.mktemp("batch-images"))


@pytest.fixture
def double(tmp_path: Path) -> Iterator[BatchDouble]:
    """An account with a pool of four slots. What it leaves running on this machine is ended."""
    folder = tmp_path / "batch"
    with batch_double(folder) as service:
        yield service
    _sweep(folder)


def _sweep(folder: Path) -> None:
    listed = ["podman", "ps", "--all", "--format", "{{.ID}} {{.Labels}}", "--filter", "label=ion.task"]
    lines = subprocess.run(listed, capture_output=True, text=True, check=False).stdout.splitlines()
    for line in lines:
        if str(folder) in line:
            subprocess.run(["podman", "rm", "--force", line.split()[0]], capture_output=True, check=False)


@pytest.fixture
def place(double: BatchDouble, azurite: Azurite, tmp_path: Path, task_images: tuple[str, str]) -> Place:
    """A place as users have it, asked more often."""
    handler, shell = task_images
    return Place(
        batch=BatchSettings(url=double.url, account=ACCOUNT, key=KEY, pool="ion", handler_image=handler, poll_s=0.2),
        store=azurite.fresh(f"t-{secrets.token_hex(8)}"),
        folder=str(tmp_path),
        shell=shell,
    )


async def becomes(true: Callable[[], bool]) -> None:
    """Until it is so."""
    await until(true)
