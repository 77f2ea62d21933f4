"""The executor of this machine; the package's other files each hold one part of what it does.

Every submitted attempt is a task. The table of attempts is the truth that `state` and `watch` tell; a watcher is
woken by every change, and told final states again each second until they are removed. Nothing outlives the process on
purpose: `recover` ends what a killed dispatcher left.
"""

import asyncio
import os
import platform
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self

from ion.adapters.executors.local.attempt import Attempt, Place
from ion.adapters.executors.local.container import find_engine, in_container, no_engine
from ion.adapters.executors.local.environment import Secrets, missing_secret
from ion.adapters.executors.local.leases import Broken, Leases
from ion.adapters.executors.local.limits import OomKills
from ion.adapters.executors.local.orphans import Orphans, become_subreaper
from ion.adapters.executors.local.readiness import Readiness
from ion.adapters.executors.local.recovery import LOG, Maker, Recovery, Trace, delete, folders_of
from ion.adapters.executors.local.spares import Spares
from ion.adapters.executors.news import News
from ion.errors import NotFoundError, UnavailableError, UnsupportedError
from ion.model.ids import new_id
from ion.model.job import Failure, FailureClass
from ion.model.module import Module, Resources, Revision
from ion.ports.executor import Assignment, Executor, ExecutorGuarantees, Handle, Handler, Phase, Status

_CLOSE_GRACE_S = 10.0
_READ = 64 * 1024


class LocalExecutor(Executor):
    """Attempts as processes and containers below the folder `work`.

    `machine` and `devices` are what it may give away; `secrets` gives a secret's value by name; `environ` is where the
    search path and the language of processes come from. With `guard_links` inputs that are links to stored blobs are
    guarded by leases, else they are copied.
    """

    def __init__(
        self,
        work: Path,
        handler: Handler,
        *,
        machine: Resources,
        devices: tuple[str, ...],
        secrets: Secrets,
        environ: Mapping[str, str],
        guard_links: bool,
    ) -> None:
        self._work = work.absolute()
        self._machine = machine
        self._devices = devices
        self._secrets = secrets
        self._scope = _scope()
        self._maker = Maker(self._work)
        self._engine = cache(lambda: find_engine(environ.get("PATH", os.defpath)))
        self._recovery = Recovery(self._work, handler, scope=self._scope, engine=self._engine)
        self._attempts: dict[Handle, Attempt] = {}
        self._recovered: dict[Handle, tuple[Path, Status]] = {}
        self._news = News(self._statuses, lambda: self._open)
        self._tasks = asyncio.TaskGroup()
        self._open = False
        orphans = Orphans()
        self._readiness = Readiness()
        self._spares = Spares(self._work, self._maker.name, handler.clear)
        self._leases = Leases(on_broken=self._broken, known=orphans.known) if guard_links else None
        self._place = Place(
            handler=handler,
            environ=dict(environ),
            secrets=secrets,
            has_devices=bool(devices or machine.gpu),
            engine=self._engine,
            orphans=orphans,
            readiness=self._readiness,
            spares=self._spares,
            leases=self._leases,
            oom_kills=OomKills(),
            changed=self._tell,
        )

    @property
    def guarantees(self) -> ExecutorGuarantees:
        return ExecutorGuarantees(scope=self._scope, adopts=False)

    @property
    def capacity(self) -> Resources:
        return self._machine

    @property
    def devices(self) -> tuple[str, ...]:
        return self._devices

    async def __aenter__(self) -> Self:
        self._work.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._maker.begin()
        become_subreaper()
        self._readiness.open()
        await self._tasks.__aenter__()
        self._open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        for attempt in self._attempts.values():
            stopping = Failure(kind=FailureClass.LOST, message="its dispatcher stopped")
            attempt.stop(stopping, min(attempt.grace_s, _CLOSE_GRACE_S))
        try:
            await self._tasks.__aexit__(None, None, None)
        finally:
            if self._leases is not None:
                await self._leases.close()
            self._spares.close()
            self._readiness.close()
            self._maker.end()
            self._tell()

    def check(self, revision: Revision) -> None:
        module = revision.module
        if fault := self._too_large(module):
            raise UnsupportedError(fault)
        contained = in_container(module) and self._engine() is not None
        if not contained and in_container(module) and (module.runtime == "container" or not module.command):
            raise UnsupportedError(no_engine(module))
        if not contained and (fault := _beyond_a_process(module)):
            raise UnsupportedError(fault)
        if fault := missing_secret(module, self._secrets):
            raise UnavailableError(fault)

    async def submit(self, assignment: Assignment) -> Handle:
        handle = Handle(scope=self._scope, job=assignment.job.id, attempt=assignment.job.attempt)
        if handle in self._attempts or handle in self._recovered:
            return handle
        if not self._open:
            raise UnavailableError("the local executor is not open: open it, or submit to another")
        trace = Trace(job=handle.job, attempt=handle.attempt, execution=new_id())
        folder = Path(f"{self._work}/{trace.folder(self._maker.name)}")
        attempt = Attempt(assignment, handle, folder, self._place, execution=trace.execution)
        self._attempts[handle] = attempt
        self._tasks.create_task(attempt.run(), name=f"attempt {handle.job} {handle.attempt}")
        self._tell(attempt.status)
        return handle

    async def state(self, handle: Handle) -> Status:
        if (attempt := self._attempts.get(handle)) is not None:
            return attempt.status
        if (recovered := self._recovered.get(handle)) is not None:
            return recovered[1]
        return Status(handle=handle, phase=Phase.UNKNOWN)

    def watch(self) -> AsyncIterator[Sequence[Status]]:
        return self._news.watch()

    async def logs(self, handle: Handle, *, start: int = 0) -> AsyncIterator[bytes]:
        file = self._folder(handle) / LOG
        try:
            stream = file.open("rb")
        except FileNotFoundError as error:
            raise NotFoundError(f"attempt {handle.attempt} of job {handle.job} has no log here") from error
        with stream:
            stream.seek(start)
            while piece := stream.read(_READ):
                yield piece

    async def cancel(self, handle: Handle, failure: Failure | None = None) -> None:
        if (attempt := self._attempts.get(handle)) is not None:
            attempt.stop(failure or Failure(kind=FailureClass.LOST, message="it was cancelled"), attempt.grace_s)

    async def recover(self) -> Sequence[Status]:
        for folder, status in await self._recovery.run():
            if status.handle in self._attempts:  # made again here; the old folder is of no more use
                await asyncio.to_thread(delete, folder)
            else:
                self._recovered[status.handle] = (folder, status)
        found = [status for _, status in self._recovered.values()]
        self._tell(*found)
        return found

    async def remove(self, handle: Handle) -> None:
        if (attempt := self._attempts.get(handle)) is not None and not attempt.ended.is_set():
            await self.cancel(handle)
            await attempt.ended.wait()
        attempt = self._attempts.pop(handle, None)
        self._recovered.pop(handle, None)
        if attempt is None or not attempt.status.manifest or not self._spares.give(attempt.folder):
            await asyncio.to_thread(_delete_all, self._work, handle, self._maker.name)

    def _folder(self, handle: Handle) -> Path:
        if (attempt := self._attempts.get(handle)) is not None:
            return attempt.folder
        if (recovered := self._recovered.get(handle)) is not None:
            return recovered[0]
        raise NotFoundError(f"nothing is known here of attempt {handle.attempt} of job {handle.job}")

    def _statuses(self) -> list[Status]:
        return [attempt.status for attempt in self._attempts.values()] + [
            status for _, status in self._recovered.values()
        ]

    def _tell(self, *statuses: Status) -> None:
        self._news.tell(*statuses)

    def _broken(self, name: str, broken: Broken | None) -> None:
        for attempt in self._attempts.values():
            if attempt.folder.name == name:
                attempt.broken(broken)

    def _too_large(self, module: Module) -> str:
        wanted, here = module.resources, self._machine
        if here.cpu and wanted.cpu > here.cpu:
            return f"module {module.name} wants {wanted.cpu:g} cpus, this machine has {here.cpu:g}: ask for fewer"
        if here.memory and wanted.memory > here.memory:
            mib = 2**20
            return (
                f"module {module.name} wants {wanted.memory / mib:.0f} MiB of memory, "
                f"this machine has {here.memory / mib:.0f} MiB: ask for less"
            )
        if wanted.gpu > len(self._devices):
            return f"module {module.name} wants {wanted.gpu} gpus, this machine has {len(self._devices)}: ask for fewer"
        return ""


def _beyond_a_process(module: Module) -> str:
    """What the module asks for that only a container could give; a promise that cannot be kept is not made."""
    if not module.command:
        return f"module {module.name} has no command to run as a process: give it one"
    if not module.network:
        return (
            f"module {module.name} may not use the network, and a process cannot be kept from it: "
            "give it an image (and install podman), or `network: true`"
        )
    for mount in module.mounts:
        if not Path(mount.path).exists():
            return (
                f"module {module.name} wants {mount.source} at {mount.path}, and a process sees this machine's own "
                f"folders: give it an image (and install podman), or make {mount.path} a link to that folder"
            )
    return ""


def _delete_all(work: Path, handle: Handle, maker: str) -> None:
    for folder in folders_of(work, handle, maker):
        delete(folder)


def _scope() -> str:
    """This boot of this host, and the processes that are visible from here (a container sees its own only)."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    space = Path("/proc/self/ns/pid").readlink().name.strip("pid:[]")
    return f"local:{platform.node()}:{boot}:{space}"
