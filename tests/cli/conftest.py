"""A real store on disk with real flows in it, and the command line run on it.

What a dispatcher and modules would do is done here step by step with the real adapters, handler and relay, so that
every state of a job can be met without waiting for one.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pytest
from click.testing import CliRunner, Result
from tests.cli.programs import Folder
from tests.management.conftest import patient_doctor

from ion.cli.main import main
from ion.dispatcher.relay import Relay
from ion.dispatcher.stores import Stores
from ion.management.events import RootEvent, RootFile, raise_event
from ion.model.event import Event
from ion.model.job import Failure, FailureClass, Job, State
from ion.model.manifest import Usage, log_path
from ion.model.module import Module, Subscription, revise
from ion.ports.executor import Assignment
from ion.ports.ledger import Bury, Claim, JobFilter
from ion.wiring import open_store

__all__ = ["patient_doctor"]

T = TypeVar("T")

OWNER = "bench"
SCOPE = "this host"
MODULES = (
    Module(name="detect", on=(Subscription(type="photo"),), emits=("face",), command=("true",), folder="/"),
    Module(name="count", on=(Subscription(type="face"),), command=("true",), folder="/"),
)
LOG = b"looking at cat.jpg\ntwo faces found\n"


class Bench:
    """A store, and what a dispatcher and its modules do to it. `ion` runs a command on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = folder / ".ion"

    def ion(self, *arguments: str, code: int = 0, store: bool = True, env: Mapping[str, str] | None = None) -> Result:
        """Runs the command line and expects an exit code; anything that is no answer keeps its traceback."""
        chosen = ("--store", str(self.store)) if store else ()
        result = CliRunner().invoke(main, [*chosen, *arguments], env=env)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == code, result.output
        return result

    def json(self, *arguments: str) -> Any:
        return json.loads(self.ion(*arguments).stdout)

    def do(self, work: Callable[[Stores], Awaitable[T]]) -> T:
        async def run() -> T:
            async with open_store(self.store) as stores:
                return await work(stores)

        return asyncio.run(run())

    def apply(self, *modules: Module) -> None:
        self.do(lambda stores: stores.ledger.apply([revise(module) for module in modules], "test"))

    def photo(self, correlation_id: str = "", *, subject: str = "") -> Event:
        """A root event with a file, relayed: a job of `detect` waits."""
        picture = self.folder / "cat.jpg"
        picture.write_bytes(b"a cat")

        async def work(stores: Stores) -> Event:
            root = RootEvent(
                type="photo",
                data={"kind": "cat"},
                files=(RootFile(name="cat.jpg", file=picture),),
                subject=subject,
                correlation_id=correlation_id,
            )
            raised = await raise_event(root, gateway="cli", ledger=stores.ledger, blobs=stores.blobs)
            await self._relay(stores)
            return raised.event

        return self.do(work)

    def claim(self, module: str) -> Job:
        """The next job of a module, running."""

        async def work(stores: Stores) -> Job:
            found = {r.module.name: r.revision for r in await stores.ledger.modules()}
            claim = Claim(module=module, most=1, owner=OWNER, scope=SCOPE, revision=found[module].id, deadline_s=600.0)
            (job,) = await stores.ledger.claim(claim)
            return job

        return self.do(work)

    def succeed(self, module: str, *, out: Mapping[str, str]) -> Job:
        """The module's next job runs, writes the files `out`, and is released."""
        job = self.claim(module)

        async def work(stores: Stores) -> Job:
            assignment = Assignment(job=job, revision=await stores.ledger.revision(module, job.revision))
            space = await stores.handler.prepare(assignment, self.store / "work" / f"bench-{job.id}")
            for name, content in out.items():
                (space.directory / "out" / name).write_text(content)
            log = self.folder / "log"
            log.write_bytes(LOG)
            ref = await stores.handler.commit(assignment, space, log=log, usage=Usage(), started_at_s=time.time())
            assert await stores.ledger.commit(job.id, job.attempt, ref)
            await self._relay(stores)
            return await stores.ledger.get(job.id)

        return self.do(work)

    def fail(self, module: str, message: str = "exit code 3") -> Job:
        """The module's next job runs, logs, and dies."""
        return self.bury(self.claim(module), message)

    def bury(self, job: Job, message: str = "exit code 3", log: bytes = b"it broke\n") -> Job:
        """A running job dies; its log is stored first."""
        failure = Failure(kind=FailureClass.MODULE, message=message, exit_code=3)
        path = log_path(job.id, job.attempt, "x")

        async def work(stores: Stores) -> Job:
            await stores.blobs.put_bytes(path, log)
            assert await stores.ledger.settle(job.id, job.attempt, OWNER, Bury(failure=failure), log=path)
            return await stores.ledger.get(job.id)

        return self.do(work)

    def job(self, job_id: str) -> Job:
        return self.do(lambda stores: stores.ledger.get(job_id))

    def jobs(self, module: str, *states: State) -> tuple[Job, ...]:
        which = JobFilter(module=module, states=states)
        return self.do(lambda stores: stores.ledger.query(which)).jobs

    async def _relay(self, stores: Stores) -> None:
        relay = Relay(stores.ledger, stores.documents, stores.blobs, stores.bus, owner=OWNER, max_hops=32)
        await relay.drain()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A store with two registered modules, `detect` (photo → face) and `count` (face), and no job."""
    bench = Bench(tmp_path)
    bench.apply(*MODULES)
    return bench


@pytest.fixture
def flow(bench: Bench) -> Event:
    """A root event whose flow has ended: `detect` was released, `count` is dead."""
    event = bench.photo(subject="cat.jpg")
    bench.succeed(
        "detect",
        out={
            "data/boxed.jpg": "a cat in a box",
            "insights.json": '{"faces": 2}',
            "events/face.json": '{"type": "face", "files": ["boxed.jpg"]}',
        },
    )
    bench.fail("count")
    return event


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Folder]:
    """A folder to run commands in."""
    with Folder(tmp_path) as folder:
        yield folder


@pytest.fixture
def cat(here: Folder) -> Path:
    """A picture in the folder."""
    return here.write("cat.jpg", "a cat")
