"""A module run once, here, on inputs that are given: nothing of it is stored.

It is the executor and the handler of every store (R9), on blobs in a folder that is removed when it is over. So what a
trial says of the output is what a commit would have said. Two things are another: the directory that the module sees is
the caller's, to be looked at afterwards however it ended; and what the module left is copied out of it, not taken.
"""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import msgspec

from ion.adapters.blobs.filesystem import FilesystemBlobs
from ion.adapters.executors.local import LocalExecutor
from ion.adapters.executors.local.limits import gpu_devices, this_machine
from ion.errors import NotFoundError, UnavailableError
from ion.handler import JobHandler
from ion.handler.inputs import forget
from ion.messaging.spilled import restored
from ion.model.event import FileRef
from ion.model.job import Failure, Job
from ion.model.manifest import Manifest, ManifestRef, Usage
from ion.model.module import Module, Resources, revise
from ion.ports.blobs import Blobs
from ion.ports.executor import Assignment, Handle, Handler, Status, Workspace
from ion.wiring.executors import find_secret

LOOK_S = 0.1
"""How often a growing log is looked at."""

Bring = Callable[[FileRef, Path], Awaitable[None]]
"""Writes a file of the event to a path that is free."""


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """How it ended: with what would have been committed, its events' data in them, or with a failure."""

    results: Manifest | None = None
    failure: Failure | None = None


async def run_trial(
    job: Job,
    module: Module,
    directory: Path,
    *,
    image_digest: str = "",
    bring: Bring,
    secrets: Callable[[str], str | None],
    environ: Mapping[str, str],
    tell: Callable[[bytes], None] = lambda _: None,
) -> Trial:
    """Runs `module` for the event of `job`, in `directory`, which must not exist.

    Args:
        job: Its event has its data in it, however large.
        module: See `fitted`.
        directory: Becomes what the module sees; stays when it is over.
        image_digest: Of the image to run, if it is known.
        bring: Brings the event's files.
        secrets: Gives a secret's value by its name.
        environ: Where the search path and the language of a process come from.
        tell: Is given the log as it grows.

    Raises:
        UnsupportedError: the module cannot run here. UnavailableError: not now; a secret is missing, say.
    """
    devices = gpu_devices()[: module.resources.gpu]
    job = msgspec.structs.replace(job, attempt=max(job.attempt, 1), devices=devices)
    revision = revise(module, image_digest)
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="ion-trial-", ignore_cleanup_errors=True) as scratch:
        try:
            async with _open(Path(scratch), directory, secrets, environ) as (executor, blobs):
                executor.check(revision)
                await _stock(job, blobs, bring, Path(scratch))
                return await _run(executor, blobs, Assignment(job=job, revision=revision), tell)
        finally:
            forget(directory)


def fitted(module: Module) -> tuple[Module, list[str]]:
    """The module with no more resources than this machine has, and what was left out, a sentence each."""
    here, wanted = this_machine(), module.resources
    fit = Resources(
        cpu=min(wanted.cpu, here.cpu),
        memory=min(wanted.memory, here.memory),
        gpu=min(wanted.gpu, here.gpu),
        shm=wanted.shm,
    )
    less = [
        f"it asks for {name} {getattr(wanted, name):g}, this machine has {getattr(here, name):g}"
        for name in ("cpu", "memory", "gpu")
        if getattr(fit, name) < getattr(wanted, name)
    ]
    return msgspec.structs.replace(module, resources=fit), less


def secrets_here(module: Module, environ: Mapping[str, str]) -> Callable[[str], str | None]:
    """Gives secrets as this environment has them: as always, else in the variable that the module reads."""
    variables = {name: variable for variable, name in module.secrets.items()}

    def secret(name: str) -> str | None:
        found = find_secret({}, environ, name)
        return environ.get(variables.get(name, "")) if found is None else found

    return secret


def known_secrets(module: Module, environ: Mapping[str, str]) -> dict[str, str]:
    """The module's secrets that are known here, by variable."""
    secret = secrets_here(module, environ)
    found = {variable: secret(name) for variable, name in module.secrets.items()}
    return {variable: value for variable, value in found.items() if value}


@asynccontextmanager
async def _open(
    scratch: Path, directory: Path, secrets: Callable[[str], str | None], environ: Mapping[str, str]
) -> AsyncIterator[tuple[LocalExecutor, Blobs]]:
    async with FilesystemBlobs(scratch / "blobs") as blobs:
        executor = LocalExecutor(
            scratch / "work",
            _InDirectory(JobHandler(_Copying(scratch / "blobs"), host=os.uname().nodename), directory),
            machine=Resources(),
            devices=gpu_devices(),
            secrets=secrets,
            environ=environ,
            guard_links=False,
        )
        async with executor:
            yield executor, blobs


async def _stock(job: Job, blobs: Blobs, bring: Bring, scratch: Path) -> None:
    """Puts the event's files where the handler will look for them."""
    for number, ref in enumerate(job.event.files):
        place = scratch / f"input-{number}"
        await bring(ref, place)
        await blobs.put(ref.blob, place, move=True)
        place.unlink()


async def _run(executor: LocalExecutor, blobs: Blobs, assignment: Assignment, tell: Callable[[bytes], None]) -> Trial:
    handle = await executor.submit(assignment)
    end = asyncio.create_task(_end(executor, handle), name="the end of the trial")
    try:
        told = 0
        while not end.done():
            await asyncio.wait({end}, timeout=LOOK_S)
            told += await _tell_more(executor, handle, told, tell)
    finally:
        end.cancel()
    status = end.result()
    if status.manifest is None:
        return Trial(failure=status.failure)
    results = msgspec.json.decode(await blobs.get_bytes(status.manifest.blob), type=Manifest)
    events = tuple([await restored(event, blobs) for event in results.events])
    return Trial(results=msgspec.structs.replace(results, events=events))


async def _end(executor: LocalExecutor, handle: Handle) -> Status:
    async with aclosing(executor.watch()) as batches:  # type: ignore[type-var] # an async generator, by the port a mere iterator
        async for batch in batches:
            for status in batch:
                if status.handle == handle and status.final:
                    return status
    raise UnavailableError("the executor was closed before the module had ended")


async def _tell_more(executor: LocalExecutor, handle: Handle, start: int, tell: Callable[[bytes], None]) -> int:
    """How many bytes of the log were told."""
    told = 0
    try:
        async for piece in executor.logs(handle, start=start):
            tell(piece)
            told += len(piece)
    except NotFoundError:  # it has not begun, or could not
        pass
    return told


class _Copying(FilesystemBlobs):
    """Leaves what it stores where it is: people look at it, and go on with it."""

    async def put(self, path: str, file: Path, *, move: bool = False) -> None:
        del move
        await super().put(path, file)


class _InDirectory:
    """A handler that prepares a directory of its own choice."""

    def __init__(self, handler: Handler, directory: Path) -> None:
        self._handler, self._directory = handler, directory

    async def prepare(
        self, assignment: Assignment, directory: Path, *, execution: str = "", sees: str = "", cleared: bool = False
    ) -> Workspace:
        del directory, cleared
        return await self._handler.prepare(assignment, self._directory, execution=execution, sees=sees)

    def begun(self, job: str, attempt: int, execution: str) -> None:
        self._handler.begun(job, attempt, execution)

    def clear(self, directory: str) -> bool:
        del directory
        return False

    async def commit(
        self, assignment: Assignment, workspace: Workspace, *, log: Path | None, usage: Usage, started_at_s: float
    ) -> ManifestRef:
        return await self._handler.commit(assignment, workspace, log=log, usage=usage, started_at_s=started_at_s)

    async def keep_log(self, job: str, attempt: int, execution: str, log: Path) -> str:
        return await self._handler.keep_log(job, attempt, execution, log)

    async def find_manifest(self, job: str, attempt: int) -> ManifestRef | None:
        return await self._handler.find_manifest(job, attempt)

    async def find_log(self, job: str, attempt: int) -> str:
        return await self._handler.find_log(job, attempt)
