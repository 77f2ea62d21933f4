"""The parts of a dispatcher, one at a time, on real adapters: a ledger in memory whose clock is set, blobs in files,
and the executor of this machine.

Every port call goes over a `Line`, which notes it and can make it fail as a network would: before it took effect, or
after, so that only the answer is lost.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest

from ion.adapters.blobs.filesystem import FilesystemBlobs
from ion.adapters.bus.sqlite import SqliteBus
from ion.adapters.documents.sqlite import SqliteDocuments
from ion.adapters.executors.local import LocalExecutor
from ion.adapters.ledger.sqlite import SqliteLedger
from ion.adapters.sqlite.database import Database
from ion.dispatcher.claim import Running
from ion.dispatcher.finish import Finish, Progress
from ion.dispatcher.reconcile import Reconciler
from ion.dispatcher.relay import Relay
from ion.errors import UnavailableError
from ion.handler import JobHandler
from ion.model.event import Event
from ion.model.ids import job_id, new_id
from ion.model.job import Job
from ion.model.manifest import ManifestRef, Usage
from ion.model.module import Module, Subscription, revise
from ion.model.record import Record
from ion.ports.executor import Assignment, Executor, Handle, Handler, Status
from ion.ports.ledger import Claim, Ledger, Outcome
from ion.testing.conformance.bus_harness import made
from ion.testing.conformance.executor import final
from ion.testing.conformance.ledger_stage import SetClock
from ion.testing.local import open_local

T = TypeVar("T")
MAX_HOPS = 8
PATIENCE_S = 30.0


class Line:
    """What lies between the dispatcher and its ports. `calls` are the verbs that went over it."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self._witness: Callable[[str], Awaitable[None]] | None = None
        self._fails: dict[tuple[str, int], tuple[BaseException, bool]] = {}
        self._away: set[str] = set()

    def fail(self, verb: str, *, call: int = 1, late: bool = False, error: BaseException | None = None) -> None:
        """The so manieth call of a verb from now on fails, once; `late` means after it took effect."""
        known = self.calls.count(verb)
        self._fails[verb, known + call] = (error or UnavailableError(f"no answer to {verb}"), late)

    @property
    def spent(self) -> bool:
        """Whether every failure that was asked for has happened."""
        return not self._fails

    def cut(self, *verbs: str) -> None:
        """These verbs fail from now on; none mends the line."""
        self._away = set(verbs)

    def watch(self, witness: Callable[[str], Awaitable[None]]) -> None:
        """Awaits the witness before each call takes effect."""
        self._witness = witness

    async def through(self, verb: str, work: Callable[[], Awaitable[T]]) -> T:
        self.calls.append(verb)
        error, late = self._fails.pop((verb, self.calls.count(verb)), (None, False))
        if self._witness is not None:
            await self._witness(verb)
        if verb in self._away:
            raise UnavailableError(f"{verb} is away")
        if error is not None and not late:
            raise error
        result = await work()
        if error is not None:
            raise error
        return result


class LineLedger(SqliteLedger):
    def __init__(self, database: Database, line: Line) -> None:
        super().__init__(database)
        self._line = line

    async def admit(self, jobs: Sequence[Job]) -> frozenset[str]:
        return await self._line.through("admit", lambda: SqliteLedger.admit(self, jobs))

    async def commit(self, job: str, attempt: int, manifest: ManifestRef, *, by: str = "") -> bool:
        return await self._line.through("commit", lambda: SqliteLedger.commit(self, job, attempt, manifest, by=by))

    async def settle(self, job: str, attempt: int, owner: str, outcome: Outcome, *, log: str = "") -> bool:
        return await self._line.through(
            "settle", lambda: SqliteLedger.settle(self, job, attempt, owner, outcome, log=log)
        )

    async def advance(self, job: str, owner: str, cursor: int) -> bool:
        return await self._line.through("advance", lambda: SqliteLedger.advance(self, job, owner, cursor))

    async def released(self, job: str, owner: str) -> bool:
        return await self._line.through("released", lambda: SqliteLedger.released(self, job, owner))


class LineDocuments(SqliteDocuments):
    def __init__(self, database: Database, line: Line) -> None:
        super().__init__(database)
        self._line = line

    async def put(self, records: Sequence[Record]) -> None:
        await self._line.through("put", lambda: SqliteDocuments.put(self, records))


class LineBus(SqliteBus):
    def __init__(self, database: Database, line: Line) -> None:
        super().__init__(database)
        self._line = line
        self.published: list[list[str]] = []
        """The events of each publication that was tried, by id."""

    async def publish(self, events: Sequence[Event]) -> None:
        self.published.append([event.id for event in events])
        await self._line.through("publish", lambda: SqliteBus.publish(self, events))


class LineBlobs(FilesystemBlobs):
    def __init__(self, root: Path, line: Line) -> None:
        super().__init__(root)
        self._line = line

    async def delete(self, prefix: str, *, keep: Callable[[str], bool] | None = None) -> int:
        return await self._line.through("delete", lambda: FilesystemBlobs.delete(self, prefix, keep=keep))


class Bench:
    """A store with two modules, `detect` (photo → face) and `count` (face), and what brings jobs into any state."""

    def __init__(self, folder: Path, database: Database, clock: SetClock, blobs: LineBlobs, line: Line) -> None:
        self.folder, self.database, self.clock, self.blobs, self.line = folder, database, clock, blobs, line
        self.steady = SetClock()
        """What cannot be set: the monotonic clock of all its dispatchers."""
        self.ledger = LineLedger(database, self.line)
        self.documents = LineDocuments(database, self.line)
        self.bus = LineBus(database, self.line)
        self.handler = JobHandler(blobs, host="here")
        self.steps: list[Progress] = []
        """What the observers of all its dispatchers heard."""

    executor: LocalExecutor

    def pass_time(self, seconds: float) -> None:
        """Both clocks move on together."""
        self.clock.advance(seconds)
        self.steady.advance(seconds)

    def relay(self, owner: str = "one") -> Relay:
        return Relay(self.ledger, self.documents, self.blobs, self.bus, owner=owner, max_hops=MAX_HOPS)

    def finish(self, owner: str = "one") -> Finish:
        return Finish(self.ledger, self.documents, self.blobs, owner=owner, observe=self.steps.append)

    def desk(
        self,
        owner: str = "one",
        *,
        executor: Executor | None = None,
        ledger: Ledger | None = None,
        handler: Handler | None = None,
    ) -> "Desk":
        chosen = executor or self.executor
        return Desk(self, owner, chosen, ledger=ledger or self.ledger, handler=handler or self.handler)

    async def module(
        self,
        name: str,
        script: str = "true",
        *,
        on: str = "photo",
        filters: Sequence[dict[str, Any]] = (),
        emits: Sequence[str] = ("face",),
        **fields: Any,
    ) -> Module:
        """Registers a module that runs `script` in a shell, or gives it a new revision."""
        module = Module(
            **{
                "name": name,
                "on": (Subscription(type=on, filters=tuple(filters)),),
                "emits": tuple(emits),
                "command": ("sh", "-c", script),
                "grace_s": 5.0,
                **fields,
            }
        )
        await self.ledger.apply([revise(module)], "test")
        return module

    async def admitted(self, module: str = "detect", *, event: Event | None = None, flow: str = "", **more: Any) -> Job:
        """A waiting job of a module, for a new event."""
        event = event or made("photo", correlation_id=flow or new_id())
        job = Job(id=job_id(event.id, module), module=module, event=event, **more)
        await self.ledger.admit([job])
        return job

    async def claimed(self, module: str = "detect", *, owner: str = "one", **more: Any) -> Job:
        """The next job of a module, running."""
        (revision,) = (r.revision.id for r in await self.ledger.modules() if r.module.name == module)
        scope = self.executor.guarantees.scope
        asked = {"most": 1, "owner": owner, "scope": scope, "revision": revision, "deadline_s": 600.0, **more}
        (job,) = await self.ledger.claim(Claim(module=module, **asked))
        return job

    async def running(self, module: str = "detect", *, owner: str = "one", flow: str = "", **more: Any) -> Job:
        """A job that is admitted and claimed; `more` is for the claim."""
        await self.admitted(module, flow=flow)
        return await self.claimed(module, owner=owner, **more)

    async def assignment(self, job: Job) -> Assignment:
        return Assignment(job=job, revision=await self.ledger.revision(job.module, job.revision))

    async def attempted(self, job: Job) -> Status:
        """How the attempt of a running job ended, as the executor of this machine tells it."""
        return await final(self.executor, await self.executor.submit(await self.assignment(job)))

    def handle(self, job: Job) -> Handle:
        return Handle(scope=self.executor.guarantees.scope, job=job.id, attempt=job.attempt)

    async def results(self, job: Job, out: Mapping[str, str] | None = None, log: str = "done\n") -> ManifestRef:
        """One execution of a running job's attempt, which leaves these files in `out`."""
        assignment = await self.assignment(job)
        space = await self.handler.prepare(assignment, self.folder / f"space-{new_id()}")
        for name, content in (out or {}).items():
            (space.directory / "out" / name).write_text(content)
        log_file = self.folder / f"log-{space.execution}"
        log_file.write_text(log)
        return await self.handler.commit(assignment, space, log=log_file, usage=Usage(), started_at_s=0.0)

    async def committed(self, out: Mapping[str, str] | None = None, *, owner: str = "one", flow: str = "") -> Job:
        """A job of `detect` whose results are decided."""
        job = await self.running(owner=owner, flow=flow)
        assert await self.ledger.commit(job.id, job.attempt, await self.results(job, out))
        return await self.ledger.get(job.id)

    async def stored(self, prefix: str) -> list[str]:
        """The paths of the blobs below a prefix."""
        return sorted([info.path async for info in self.blobs.list(prefix)])

    async def records(self, flow: str) -> list[Record]:
        return [record async for record in self.documents.flow(flow)]


class Desk:
    """One dispatcher's reconciler, what it has running, and what settles its findings."""

    def __init__(self, bench: Bench, owner: str, executor: Executor, *, ledger: Ledger, handler: Handler) -> None:
        self.running = Running(bench.steady)
        self.ended: list[tuple[Status, Executor]] = []
        """What the reconciler found ended and nobody has settled yet."""
        self.reconciler = Reconciler(
            ledger,
            {"local": executor},
            self.running,
            handler,
            owner=owner,
            patience_s=PATIENCE_S,
            finish=lambda *found: self.ended.append(found),
            observe=bench.steps.append,
        )
        self._bench, self._executor, self._finish = bench, executor, bench.finish(owner)

    async def submit(self, job: Job) -> Handle:
        self.running.add(job, "local")
        return await self._executor.submit(await self._bench.assignment(job))

    async def compare(self) -> None:
        """Compares once, and settles what was found."""
        await self.reconciler.compare()
        await self.settle()

    async def settle(self) -> None:
        while self.ended:
            await self._finish.finish(*self.ended.pop(0))


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    clock, line = SetClock(), Line()
    async with Database(None, clock=clock) as database, LineBlobs(tmp_path / "blobs", line) as blobs:
        bench = Bench(tmp_path, database, clock, blobs, line)
        await bench.module("detect")
        await bench.module("count", on="face", emits=())
        await bench.bus.ensure(["photo", "face"], ["outside"])
        async with open_local(tmp_path) as executor:
            bench.executor = executor
            yield bench
