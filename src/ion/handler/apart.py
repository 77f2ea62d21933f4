"""The handler in processes of its own: prepare in one, the module in another, commit in a third.

They share the folder in which the job's directory lies. What prepare knows and commit needs stands there, beside the
directory, where the module does not see it. Each says at its end what became of it, as `ion.model.told`.

Each may be another user, none of whom need be root. Either may be run again, for platforms do that: prepare begins
another execution, commit finds what is stored of this one.

A commit waits for a store that is away: the module's work is done, and a short outage must not cost it. One that takes
longer than the credential it began with goes on with a renewed one.
"""

import asyncio
import os
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import msgspec

from ion.errors import InvalidError, IonError, UnavailableError
from ion.handler.prepare import prepare
from ion.handler.workspace import disk_faults
from ion.model.ids import new_id
from ion.model.job import FailureClass
from ion.model.manifest import Usage
from ion.model.told import Told, ToldFailure
from ion.ports.blobs import Blobs
from ion.ports.executor import Assignment, Workspace

Opened = Callable[[], AbstractAsyncContextManager[Blobs]]

PATIENCE_S = 60.0
"""From the first failure on."""
AGAIN_S = 2.0


async def prepare_apart(blobs: Blobs, assignment: Assignment, directory: Path, sees: str) -> Told:
    """Builds the directory, anew if it is there: what another process began there is another execution's."""
    await asyncio.to_thread(_clear, directory)
    workspace = await prepare(blobs, assignment, directory, new_id(), sees)
    with disk_faults(directory):
        _beside(directory).write_bytes(msgspec.json.encode(workspace, enc_hook=str))
    return Told(execution=workspace.execution, prepared_at_s=workspace.prepared_at_s)


async def commit_apart(opened: Opened, assignment: Assignment, directory: Path, host: str) -> Told:
    """Stores what the directory holds. It has no log: whoever started the module has that. And it reads nothing back,
    which not every credential may.

    Args:
        opened: The blobs, by what opens them at the time.
        assignment: The attempt.
        directory: The job's.
        host: The node's name.

    Raises:
        ContractError: the output breaks the contract. UnavailableError: the store is away for long.
    """
    from ion.handler.commit import commit

    workspace, began_s, until = _left(directory), time.time(), None
    while True:
        try:
            async with opened() as blobs:
                ref = await commit(
                    blobs,
                    assignment,
                    workspace,
                    host=host,
                    log=None,
                    usage=Usage(),
                    started_at_s=workspace.prepared_at_s,
                    reads=False,
                )
            return Told(execution=ref.execution, manifest=ref.blob, began_s=began_s)
        except UnavailableError:
            until = until or time.monotonic() + PATIENCE_S
            if time.monotonic() > until:
                raise
            await asyncio.sleep(AGAIN_S)


def _clear(directory: Path) -> None:
    """What of it is a module's, of another user, cannot be removed: it is put aside, and goes with the whole folder."""
    if not os.path.lexists(directory):
        return
    import shutil

    shutil.rmtree(directory, ignore_errors=True)
    if os.path.lexists(directory):
        with disk_faults(directory):
            directory.rename(directory.with_name(f"{directory.name}.{new_id()}"))


def told_of(error: Exception) -> Told:
    """How an error around the module is told. One that is not Ion's own must still give the job an end."""
    if isinstance(error, InvalidError):
        return _failed(FailureClass.CONTRACT, str(error))
    return trouble(error)


def trouble(error: Exception) -> Told:
    """How an error is told that has nothing to do with this job: another attempt may fare better."""
    message = str(error) if isinstance(error, IonError) else f"{type(error).__name__}: {error}"
    return _failed(FailureClass.INFRASTRUCTURE, message)


def _failed(kind: FailureClass, message: str) -> Told:
    return Told(failure=ToldFailure(kind=kind, message=message))


def _beside(directory: Path) -> Path:
    return directory.with_name(f"{directory.name}.workspace.json")


def _path(kind: type, text: str) -> Path:
    """A workspace names files, which JSON does not know."""
    if kind is not Path:
        raise NotImplementedError(f"nothing but paths is written as text, and this is {kind}")
    return Path(text)


def _left(directory: Path) -> Workspace:
    try:
        return msgspec.json.decode(_beside(directory).read_bytes(), type=Workspace, dec_hook=_path)
    except (OSError, msgspec.MsgspecError) as error:
        raise UnavailableError(f"what prepare left in {_beside(directory)} cannot be read: {error}") from error
