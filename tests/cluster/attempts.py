"""A place for attempts on the cluster: a namespace, a prefix of an S3 store that its pods reach, and images.

The store listens on this machine's loopback, so the pods are in their node's network.
"""

import asyncio
import functools
import hashlib
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.cluster.borrowed import PROGRAM, borrowed
from tests.cluster.cluster import Cluster
from tests.cluster.image_tar import write_image
from tests.stores.seaweed import Seaweed
from tests.waiting import waited

from ion.adapters.blobs.objects import ObjectBlobs
from ion.adapters.blobs.objects_settings import ObjectsSettings
from ion.adapters.executors.kubernetes import KubernetesExecutor
from ion.adapters.executors.kubernetes.making import Credential
from ion.adapters.executors.kubernetes.settings import KubernetesSettings
from ion.handler import JobHandler
from ion.handler.granting import grant
from ion.ports.blobs import Blobs
from ion.ports.executor import Assignment, Executor, Status
from ion.testing.conformance.elsewhere import running
from ion.testing.conformance.executor import assignment, final
from ion.wiring.handler import Opening

SHELL = f"localhost/ion-tests/shell:{hashlib.sha256(PROGRAM.encode()).hexdigest()[:8]}"
"""An image with busybox and an `ion`; another program is another image, for whoever else tests on this cluster."""
LASTS_S = 3600.0
_TOOLS = "sh sleep cat echo ls mkdir dd head tail yes seq true id test tr printf chmod"


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where attempts run, as another process may be told: see `open_place`."""

    kubernetes: KubernetesSettings
    store: ObjectsSettings
    folder: str
    lasts_s: float = LASTS_S
    """Seconds for which an attempt's credential is good."""

    def assignment(self, script: str, **more: Any) -> Assignment:
        return assignment(script, **{"image": SHELL, "provider": "kubernetes", **more})

    def gated(self, script: str, **more: Any) -> Assignment:
        """An attempt whose script may wait for `open_gate` by `$GATE`."""
        gate = Path(self.folder) / "gate"
        gate.mkdir()
        kubernetes = {
            "volumes": [{"name": "gate", "hostPath": {"path": str(gate)}}],
            "volumeMounts": [{"name": "gate", "mountPath": "/gate"}],
        }
        env = {"GATE": "until [ -e /gate/open ]; do sleep 0.1; done"}
        return self.assignment(script, kubernetes=kubernetes, env=env, **more)

    def open_gate(self) -> None:
        (Path(self.folder) / "gate/open").touch()

    async def stored(self, path: str) -> bytes:
        async with ObjectBlobs(self.store) as blobs:
            return await blobs.get_bytes(path)

    async def paths(self, prefix: str) -> list[str]:
        async with ObjectBlobs(self.store) as blobs:
            return sorted([blob.path async for blob in blobs.list(prefix)])

    @asynccontextmanager
    async def open(self) -> AsyncIterator[KubernetesExecutor]:
        """The executor, once it has reached the cluster."""
        async with ObjectBlobs(self.store) as blobs:
            executor = KubernetesExecutor(
                Path(self.folder) / secrets.token_hex(4),
                JobHandler(blobs, host="here"),
                blobs,
                self.kubernetes,
                credentials=functools.partial(credential, blobs, lasts_s=self.lasts_s),
                ledger=self.folder,
                eager=True,
            )
            async with executor:
                await reached(executor)
                yield executor


async def credential(blobs: Blobs, work: Assignment, *, lasts_s: float) -> Credential:
    """A grant of what the attempt needs."""
    granted = await grant(blobs, work, lasts_s)
    content = msgspec.json.encode(Opening(grant=granted)).decode()
    return Credential(content=content, lasts_s=(granted.ends_at - datetime.now(UTC)).total_seconds())


async def until(true: Callable[[], bool], within_s: float = 300.0) -> None:
    """Looks again and again, in a thread, until it is so. Raises TimeoutError."""
    if not await asyncio.to_thread(waited, true, within_s):
        raise TimeoutError("it has not come about")


async def reached(executor: Executor) -> None:
    """Until the executor knows its cluster."""
    await until(lambda: bool(executor.guarantees.scope))


def load_shell(cluster: Cluster) -> None:
    """Gives the node the image of the shell."""
    busybox = shutil.which("busybox")
    assert busybox is not None, "install busybox-static"
    names = _TOOLS.split()
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "shell.tar"
        write_image(
            archive,
            SHELL,
            {"bin/busybox": (Path(busybox).read_bytes(), 0o755), "bin/ion": (PROGRAM.encode(), 0o755)},
            links={f"bin/{name}": "busybox" for name in names},
            folders={"tmp": 0o1777},
        )
        cluster.load(archive)


_ELSEWHERE = """
import asyncio
import msgspec
import pytest
from tests.cluster.attempts import Place, until_stored
from ion.model.manifest import log_pieces
from ion.ports.executor import Assignment
from ion.testing.conformance.executor import logs_line

async def main():
    place = msgspec.json.decode({place!r}, type=Place)
    async with place.open() as executor:
        handle = await executor.submit(msgspec.json.decode({work!r}, type=Assignment))
        await logs_line(executor, handle, b"begun")
        if {stored!r}:
            await until_stored(place, handle.job, lambda paths: bool(log_pieces(paths)))
        print("begun", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def abandon(place: Place, work: Assignment, *, stored: bool = False) -> Assignment:
    """Submits in another process, which is killed with SIGKILL once the attempt has logged `begun`, and a piece of that
    is `stored`.
    """
    program = _ELSEWHERE.format(place=msgspec.json.encode(place), work=msgspec.json.encode(work), stored=stored)
    async with running(program) as output, asyncio.timeout(300.0):
        assert await output.readline() == b"begun\n"
    return work


async def until_stored(place: Place, prefix: str, wanted: Callable[[Sequence[str]], bool]) -> None:
    """Until the blobs below a folder are such."""
    async with asyncio.timeout(300.0), ObjectBlobs(place.store) as blobs:
        while not wanted([blob.path async for blob in blobs.list(f"{prefix.rstrip('/')}/")]):  # noqa: ASYNC110
            await asyncio.sleep(0.1)


@contextmanager
def on_cluster(cluster: Cluster, store: Seaweed, folder: Path, **settings: Any) -> Iterator[Place]:
    """A place of its own, with a namespace that is deleted afterwards; `settings` are of the executor."""
    load_shell(cluster)
    with cluster.namespace() as namespace:
        said = {
            "namespace": namespace,
            "kubeconfig": str(cluster.kubeconfig),
            "host_network": True,
            "handler_image": SHELL,
            "pod_template": borrowed(),
            **settings,
        }
        yield Place(
            kubernetes=KubernetesSettings(**said),
            store=store.role(store.fresh(folder.name + secrets.token_hex(4))),
            folder=str(folder),
        )


@pytest.fixture
def place(cluster: Cluster, seaweed: Seaweed, tmp_path: Path) -> Iterator[Place]:
    """A place as users have it."""
    with on_cluster(cluster, seaweed, tmp_path) as where:
        yield where


def set_to(where: Place, **settings: Any) -> Place:
    """The same place, with other settings of the executor."""
    return msgspec.structs.replace(where, kubernetes=msgspec.structs.replace(where.kubernetes, **settings))


async def ended(where: Place, work: Assignment) -> Status:
    """How an attempt ends."""
    async with where.open() as executor:
        return await final(executor, await executor.submit(work))
