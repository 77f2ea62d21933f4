"""The life of one attempt on this machine: prepare, run, end what is left, commit.

At whatever instruction the dispatcher dies, this is on disk: before the log is there nothing of the attempt has run,
and the folder is rubbish; after it the folder tells which processes to end and which log to keep; once commit has
written the manifest, the attempt has succeeded, whoever finds it.

Linked inputs are guarded before the module starts, and until its last process is gone. The module's time begins with
its start. A stop (time-out, cancel, memory, a write to an input) gives its failure once; the first one counts.
"""

import asyncio
import logging
import os
import shutil
import signal
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from ion.adapters.executors import ends
from ion.adapters.executors.local import environment, failures, limits
from ion.adapters.executors.local.container import SEES, Engine, in_container, no_engine, start_container
from ion.adapters.executors.local.leases import Broken, Leases
from ion.adapters.executors.local.marks import mark_of
from ion.adapters.executors.local.orphans import Orphans
from ion.adapters.executors.local.process import Exit, Program, Run, start
from ion.adapters.executors.local.readiness import Readiness
from ion.adapters.executors.local.recovery import LOG, SETTLED, delete, write_whole
from ion.adapters.executors.local.spares import DIRECTORY, SCRATCH, Spares
from ion.adapters.executors.log import LogSpool
from ion.errors import UnavailableError
from ion.model.job import Failure, FailureClass
from ion.model.manifest import ManifestRef, Usage
from ion.ports.executor import Assignment, Handle, Handler, Phase, Status, Workspace

_LOG = logging.getLogger(__name__)
_SAMPLE_S = 0.2
_PATIENCE_S = 60.0
"""How long the results or the log of a module that has ended wait for a store that is away: its work is done, and a
short outage must not cost it. After that the attempt fails as infrastructure, or is told without its log."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Place:
    """What the attempts of one executor share. `leases` is None where links are not to be guarded but copied."""

    handler: Handler
    environ: dict[str, str]
    secrets: environment.Secrets
    has_devices: bool
    engine: Callable[[], Engine | None]
    orphans: Orphans
    readiness: Readiness
    spares: Spares
    leases: Leases | None
    oom_kills: limits.OomKills
    changed: Callable[[Status], None]


class _Stopped(Exception):  # noqa: N818 - no error: somebody wanted it
    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class Attempt:
    """One attempt; `run` is its whole life and never raises. `status` is how it stands."""

    def __init__(self, assignment: Assignment, handle: Handle, folder: Path, place: Place, *, execution: str) -> None:
        self.folder = folder
        self.status = Status(handle=handle, phase=Phase.PENDING)
        self.ended = asyncio.Event()
        self._assignment = assignment
        self._module = assignment.revision.module
        self._place = place
        self._execution = execution
        self._verdict: Failure | None = None
        self._task: asyncio.Task[Any] | None = None
        self._stoppable = False
        self._run: Run | None = None
        self._ran = False
        self._began_s = self._ended_s = 0.0
        self._peak = 0

    @property
    def grace_s(self) -> float:
        return self._module.grace_s

    def stop(self, failure: Failure, grace_s: float) -> None:
        """Ends the attempt with this failure, unless it is ending with another; a shorter grace counts."""
        self._verdict = self._verdict or failure
        if self._run is not None:
            if grace_s > 0:
                self._run.end(grace_s)
            else:
                self._run.kill()
        elif self._stoppable and self._task is not None:
            self._task.cancel()

    def broken(self, broken: Broken | None) -> None:
        """The guard ended it (or is gone itself, with None)."""
        if broken is None:
            self.stop(failures.unguarded(), 0)
        elif self._run is not None:
            self._run.kill()  # what failure it is, the release says
        else:
            self._verdict = self._verdict or failures.wrote(broken, self.folder / DIRECTORY)

    async def run(self) -> None:
        self._task = asyncio.current_task()
        try:
            manifest = await self._live()
            status = Status(handle=self.status.handle, phase=Phase.SUCCEEDED, manifest=manifest, log=manifest.log)
        except _Stopped as stopped:
            status = await self._failed(stopped.failure)
        except Exception as error:  # noqa: BLE001 - a fault of Ion's own must still give the job an end
            status = await self._failed(ends.of_error(error))
        self._tell(msgspec.structs.replace(status, began_s=self._began_s, ended_s=self._ended_s))
        self.ended.set()

    async def _live(self) -> ManifestRef:
        engine = await self._container_engine()
        spare = not engine and self._place.spares.take(self.folder)
        if not spare:
            self.folder.mkdir(mode=0o700)
        directory, sees = self.folder / DIRECTORY, SEES if engine else ""
        prepared = self._place.handler.prepare(
            self._assignment, directory, execution=self._execution, sees=sees, cleared=spare
        )
        workspace = await self._unless_stopped(prepared)
        ended, started_at_s, seconds = await self._guarded(workspace, engine)
        self._judge(ended)
        usage, log = self._usage(ended, seconds), self.folder / LOG
        commit = partial(self._place.handler.commit, self._assignment, workspace)
        return await self._unless_stopped(_patiently(lambda: commit(log=log, usage=usage, started_at_s=started_at_s)))

    async def _container_engine(self) -> Engine | None:
        if not in_container(self._module):
            return None
        engine = await asyncio.to_thread(self._place.engine)
        if engine is None and (self._module.runtime == "container" or not self._module.command):
            raise UnavailableError(no_engine(self._module))
        if engine is not None:
            image = self._assignment.revision.pinned_image
            await self._unless_stopped(engine.fetch(image, self._module.start_timeout_s))
        return engine

    async def _guarded(self, workspace: Workspace, engine: Engine | None) -> tuple[Exit, float, float]:
        """Runs the module with its linked inputs held: its end, when it started (epoch), how many seconds it ran."""
        broken, leases = None, self._place.leases
        try:
            if workspace.linked and not engine:
                await self._hold(workspace)
            began, started_at_s = time.monotonic(), time.time()
            ended = await self._run_module(workspace, engine, started_at_s)
            seconds = time.monotonic() - began
        finally:
            self._ended_s = time.time() if self._began_s else 0.0
            if leases is not None:
                broken = await leases.release(self.folder.name)
            if broken is not None:
                self._verdict = failures.wrote(broken, workspace.directory)
        return ended, started_at_s, seconds

    async def _hold(self, workspace: Workspace) -> None:
        refused: Sequence[Path] = workspace.linked
        if (leases := self._place.leases) is not None:
            refused = await self._unless_stopped(leases.hold(self.folder.name, self.folder, workspace.linked))
        if refused:
            await asyncio.to_thread(_make_private, refused)

    async def _run_module(self, workspace: Workspace, engine: Engine | None, started_at_s: float) -> Exit:
        values = environment.secret_values(self._module, self._place.secrets)
        if self._verdict is not None:
            raise _Stopped(self._verdict)
        spool = LogSpool.create(self.folder / LOG, limit=self._module.log_limit, secrets=values.values())
        self._ran = True
        try:
            self._run = await self._start(workspace, engine, values, spool)
            self._began_s = started_at_s
            if self._verdict is not None:
                self._run.kill()
            ended = await self._watched(self._run)
        finally:
            spool.close()
            self._run = None
        if spool.fault is not None:
            raise UnavailableError(f"the log in {self.folder} cannot be written: {spool.fault.strerror}")
        if ended.code == -signal.SIGKILL and self._place.oom_kills.rose():
            ended = msgspec.structs.replace(ended, out_of_memory=True)
        return ended

    async def _start(
        self, workspace: Workspace, engine: Engine | None, secrets: dict[str, str], spool: LogSpool
    ) -> Run:
        module, place = self._module, self._place
        devices = environment.of_devices(self._assignment.job.devices, any_here=place.has_devices)
        given = {**module.env, **secrets, **workspace.environment, **devices}
        if engine is not None:
            return await start_container(
                engine,
                self._assignment,
                workspace,
                folder=self.folder,
                environment={**module.env, **secrets, **workspace.environment},
                memory=self._memory_limit,
                spool=spool,
                orphans=place.orphans,
                readiness=place.readiness,
            )
        scratch = self.folder / SCRATCH
        if not os.path.isdir(scratch):  # noqa: PTH112, ASYNC240 - on every job's way
            scratch.mkdir(mode=0o700)
        program = Program(
            command=module.command,
            directory=Path(module.workdir or module.folder) if module.workdir or module.folder else workspace.directory,
            environment={**environment.of_process(place.environ, scratch), **given},
            folder=self.folder,
            whose=f"module {module.name}",
            mark=mark_of(self.folder.name),
        )
        return start(program, spool, place.orphans, place.readiness)

    async def _watched(self, run: Run) -> Exit:
        if self._place.leases is not None and run.pid:
            self._place.leases.started(self.folder.name, run.pid)
        self._tell(Status(handle=self.status.handle, phase=Phase.RUNNING))
        self._place.handler.begun(self._assignment.job.id, self._assignment.job.attempt, self._execution)
        module = self._module
        timer = asyncio.get_running_loop().call_later(module.timeout_s, self.stop, ends.late(module), module.grace_s)
        try:
            await (self._bounded(run) if run.pid and self._memory_limit else run.exited)
        except asyncio.CancelledError:
            run.abandon()
            raise
        finally:
            timer.cancel()
        return await run.finish()

    async def _bounded(self, run: Run) -> None:
        """Waits for the end, and looks at the memory of a module that declares some."""
        while not run.exited.done():
            await asyncio.wait([run.exited], timeout=_SAMPLE_S)
            used = limits.resident(limits.memory_of(run.pid))
            if used > self._memory_limit:
                used = limits.resident_fairly(limits.memory_of(run.pid))
            self._peak = max(self._peak, used)
            if used > self._memory_limit and not run.exited.done():
                self.stop(failures.too_large(used, self._memory_limit), 0)

    @property
    def _memory_limit(self) -> int:
        """Bytes, 0 for none. An attempt after one that ran out of memory gets more, if the module says so."""
        factor = self._module.retries.memory_factor ** self._assignment.job.failures.get(FailureClass.MEMORY, 0)
        return int(self._module.resources.memory * factor)

    def _judge(self, ended: Exit) -> None:
        """Raises _Stopped unless the module ended well and by itself."""
        if failure := self._verdict or failures.of_exit(ended):
            raise _Stopped(failure)

    def _usage(self, ended: Exit, seconds: float) -> Usage:
        gpu_s = seconds * len(self._assignment.job.devices)
        return Usage(cpu_s=ended.used.cpu_s, gpu_s=gpu_s, peak_memory=max(self._peak, ended.used.peak_memory))

    async def _unless_stopped(self, step: Coroutine[Any, Any, T]) -> T:
        if self._verdict is not None:
            step.close()
            raise _Stopped(self._verdict)
        self._stoppable = True
        try:
            return await step
        except asyncio.CancelledError:
            if self._verdict is None or self._task is None:
                raise
            self._task.uncancel()
            raise _Stopped(self._verdict) from None
        finally:
            self._stoppable = False

    async def _failed(self, failure: Failure) -> Status:
        # What it wrote is of no more use, and may be all the room that the log and the ledger need.
        for name in (DIRECTORY, SCRATCH):
            await asyncio.to_thread(delete, self.folder / name)
        log, sentence = await self._keep_log()
        if sentence:
            failure = msgspec.structs.replace(failure, message=f"{failure.message} ({sentence})")
        status = Status(handle=self.status.handle, phase=Phase.FAILED, failure=failure, log=log)
        try:
            if self._ran:
                write_whole(self.folder / SETTLED, msgspec.json.encode(status))
        except OSError as error:  # then a recovery would call it lost, which is true enough
            _LOG.warning("how attempt %s failed cannot be written down: %s", self.folder.name, error)
        return status

    async def _keep_log(self) -> tuple[str, str]:
        """The log's blob path, or a sentence about why there is none."""
        file = self.folder / LOG
        if not self._ran:
            return "", ""
        try:
            job = self._assignment.job
            keep = partial(self._place.handler.keep_log, job.id, job.attempt, self._execution, file)
            return await _patiently(keep), ""
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not hide how the module failed
            return "", f"its log could not be stored: {error}"

    def _tell(self, status: Status) -> None:
        self.status = status
        self._place.changed(status)


async def _patiently(step: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Makes a step that may be repeated, again each second while the store is away."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return await step()
        except UnavailableError:
            if time.monotonic() > deadline:
                raise
        await asyncio.sleep(1)


def _make_private(files: Sequence[Path]) -> None:
    """Replaces links to stored blobs by copies."""
    for file in files:
        copy = file.with_name(f".{file.name[:200]}.private")
        shutil.copyfile(file, copy)
        copy.chmod(0o644)
        copy.replace(file)
