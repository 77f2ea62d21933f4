"""What dispatchers leave behind, and who may clear it up.

Every executor that is open has a *maker* name, and holds a lock on a file of that name for as long as its process
lives; the kernel drops it with the process, whatever ends it. The name is part of the names of the folders that it
makes. So a folder whose maker's lock is free is nobody's: not a process id, which may be used again, decides.

An attempt's folder:

    JOB-ATTEMPT-MAKER-EXECUTION/
        ion/            the module's directory
        scratch/        its home and temporary files
        log             the log as it grows; without it no process of the attempt has ever been
        environment     while a container runs, or may
        settled.json    how it failed, once that is known
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import secrets
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from ion.adapters.executors.local import family
from ion.adapters.executors.local.container import ENVIRONMENT, Engine
from ion.model.job import Failure, FailureClass
from ion.ports.executor import Handle, Handler, Phase, Status

SETTLED, LOG = "settled.json", "log"

_GONE_WITHIN_S = 30.0
_LOG = logging.getLogger(__name__)


def write_whole(file: Path, content: bytes) -> None:
    """Writes a small file so that it is whole or absent at every instant."""
    draft = file.with_suffix(".draft")
    draft.write_bytes(content)
    draft.rename(file)


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """What the name of an attempt's folder says: enough to end it and to keep its log without its dispatcher."""

    job: str
    attempt: int
    execution: str

    def folder(self, maker: str) -> str:
        return f"{self.job}-{self.attempt}-{maker}-{self.execution.replace('-', '')}"

    @classmethod
    def of(cls, folder: Path) -> "Trace | None":
        """The trace of what has been started in a folder; None where nothing has."""
        if not (folder / LOG).exists():
            return None
        job, attempt, _, execution = folder.name.rsplit("-", 3)
        try:
            return cls(job=job, attempt=int(attempt), execution=str(uuid.UUID(execution)))
        except ValueError:  # no attempt of ours: its name must not keep a dispatcher from starting
            return None


class Maker:
    """This executor among those that share the folder `work`."""

    def __init__(self, work: Path) -> None:
        self.name = secrets.token_hex(4)
        self._work = work
        self._file = _lock_file(work, self.name)
        self._descriptor = -1

    def begin(self) -> None:
        """Locks the name. A recovery that runs just now may take the new file for a dead maker's; then once more."""
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        while True:
            descriptor = os.open(self._file, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            with contextlib.suppress(FileNotFoundError):
                if self._file.stat().st_ino == os.fstat(descriptor).st_ino:
                    self._descriptor = descriptor
                    return
            os.close(descriptor)

    def end(self) -> None:
        """Unlocks the name: what is left in its folders is for others to recover."""
        if self._descriptor >= 0:
            self._file.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = -1


def abandoned(work: Path) -> list[Path]:
    """Folders of attempts whose maker is gone."""
    living: dict[str, bool] = {}
    found = []
    for folder in work.iterdir():
        parts = folder.name.rsplit("-", 3)
        if len(parts) != 4 or not folder.is_dir():
            continue
        if parts[2] not in living:
            living[parts[2]] = _lives(_lock_file(work, parts[2]))
        if not living[parts[2]]:
            found.append(folder)
    return found


def folders_of(work: Path, handle: Handle, maker: str) -> list[Path]:
    """Every folder of an attempt that this maker made, or one that is gone."""
    ours = work.glob(f"{handle.job}-{handle.attempt}-{maker}-*")
    return [*ours, *(folder for folder in abandoned(work) if folder.name.startswith(f"{handle.job}-{handle.attempt}-"))]


def delete(folder: Path) -> None:
    """Removes a folder with whatever modes a module left in it; one that is gone is no error.

    What cannot be removed (an immutable file, say) stays for a person or a later recovery: it holds nothing up.
    """
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        return
    except OSError:
        try:
            _open_up(folder)
            shutil.rmtree(folder)
        except OSError as error:
            _LOG.warning("the folder %s of an attempt that is over cannot be removed: %s", folder, error)


def _open_up(folder: Path) -> None:
    folder.chmod(0o700)
    for place, names, _ in os.walk(folder):  # a folder is opened up before the walk goes into it
        for name in names:
            if not (below := Path(place, name)).is_symlink():
                below.chmod(0o700)


@contextlib.contextmanager
def _locked(work: Path) -> Iterator[None]:
    """One recovery at a time in a folder; blocks."""
    descriptor = os.open(work / ".recovery", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _lock_file(work: Path, maker: str) -> Path:
    return work / ".makers" / maker


def _lives(file: Path) -> bool:
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        # Shared, so that two that ask at once do not take each other for the maker.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        file.unlink(missing_ok=True)
        return False
    finally:
        os.close(descriptor)


class Recovery:
    """Settles what is left of the attempts of dead makers.

    Safe in several processes at once, and to repeat: what was found is written down beside each attempt until it is
    removed.
    """

    def __init__(self, work: Path, handler: Handler, *, scope: str, engine: Callable[[], Engine | None]) -> None:
        self._work = work
        self._handler = handler
        self._scope = scope
        self._engine = engine

    async def run(self) -> Sequence[tuple[Path, Status]]:
        """Each abandoned attempt with how it ended."""
        lock = _locked(self._work)
        await asyncio.to_thread(lock.__enter__)
        try:
            folders = await asyncio.to_thread(abandoned, self._work)
            return [(folder, status) for folder in sorted(folders) if (status := await self._settle(folder))]
        finally:
            lock.__exit__(None, None, None)

    async def _settle(self, folder: Path) -> Status | None:
        trace = Trace.of(folder)
        if trace is None:  # it never came to a process
            await asyncio.to_thread(delete, folder)
            return None
        handle = Handle(scope=self._scope, job=trace.job, attempt=trace.attempt)
        if (settled := _read_settled(folder)) is not None:
            return msgspec.structs.replace(settled, handle=handle)
        await self._end(folder, trace)
        manifest = await self._handler.find_manifest(trace.job, trace.attempt)
        if manifest is not None:
            return Status(handle=handle, phase=Phase.SUCCEEDED, manifest=manifest, log=manifest.log)
        log = await self._handler.keep_log(trace.job, trace.attempt, trace.execution, folder / LOG)
        failure = Failure(kind=FailureClass.LOST, message="the dispatcher that watched it died")
        status = Status(handle=handle, phase=Phase.FAILED, failure=failure, log=log)
        await asyncio.to_thread(write_whole, folder / SETTLED, msgspec.json.encode(status))
        return status

    async def _end(self, folder: Path, trace: Trace) -> None:
        if (folder / ENVIRONMENT).exists() and (engine := await asyncio.to_thread(self._engine)):
            await engine.remove(folder.name)
        deadline = time.monotonic() + _GONE_WITHIN_S
        while left := await asyncio.to_thread(family.members, str(folder)):
            if time.monotonic() > deadline:  # killed, it will do nothing more, even if the kernel does not let it go
                _LOG.warning("process %d of job %s hangs in the kernel", min(left), trace.job)
                return
            family.kill(left)
            await asyncio.sleep(0.005)


def _read_settled(folder: Path) -> Status | None:
    try:
        return msgspec.json.decode((folder / SETTLED).read_bytes(), type=Status)
    except (FileNotFoundError, msgspec.DecodeError):  # torn by a crash of the whole machine: it is found out again
        return None
