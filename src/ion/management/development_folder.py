"""The directory of a module that is run by hand: made, looked at, and removed again.

It is a person's own folder, so what they put there stays, and nothing in it is the store's until it is committed.
"""

import shutil
from contextlib import suppress
from pathlib import Path

import msgspec

from ion.dispatcher.stores import Stores
from ion.errors import ExistsError, InvalidError, NotFoundError
from ion.handler.inputs import forget
from ion.management.carry import left
from ion.management.development_runs import Run, events_of
from ion.messaging import codec
from ion.model.ids import new_id
from ion.model.module import Module, revise
from ion.ports.executor import Assignment, Workspace

OURS = frozenset({"in", "out", "state"})


async def lay_out(stores: Stores, assignment: Assignment, folder: Path) -> None:
    """What the module is to see, with copies of its files; `folder` must not exist."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    workspace = await stores.handler.prepare(assignment, folder)
    forget(folder)
    linked = set(workspace.linked)
    for ref in assignment.job.event.files:
        place = folder / "in/data" / ref.path
        if place in linked:  # the store's own file, which nobody may change
            place.unlink()
            await stores.blobs.get(ref.blob, place, private=True)


async def select(stores: Stores, run: Run, folder: Path) -> None:
    """Makes `folder` the directory of a run as its module left it, with copies. As `clear` for what is there."""
    clear(folder)
    revision = revise(Module(name=run.job.module))
    await lay_out(stores, Assignment(job=run.job, revision=revision), folder)
    for ref in run.results.files:
        place = folder / "out/data" / ref.path
        place.parent.mkdir(parents=True, exist_ok=True)
        await stores.blobs.get(ref.blob, place, private=True)
    told = left(msgspec.structs.replace(run.results, events=await events_of(stores, run)))
    if told["insights"]:
        (folder / "out/insights.json").write_bytes(msgspec.json.encode(told["insights"]))
    for number, event in enumerate(told["events"], 1):
        (folder / f"out/events/{number:06}.json").write_bytes(msgspec.json.encode(event))


def clear(folder: Path) -> None:
    """Removes a directory that was made here, if it is there, with what its module wrote.

    Raises:
        ExistsError: it is none, or there are other things in it; nothing is removed.
    """
    if folder.is_symlink():
        raise ExistsError(f"{folder} is a link: name another folder")
    if not folder.exists():
        return
    there = sorted(path.name for path in folder.iterdir())
    if (folder / "in/event.json").is_file() and set(there) <= OURS:
        shutil.rmtree(folder)
    elif there:
        other = ", ".join(name for name in there if name not in OURS) or ", ".join(there)
        raise ExistsError(f"{folder} is there already, with {other} in it: move that, or name another folder")
    else:
        folder.rmdir()


def workspace_in(folder: Path) -> Workspace:
    """A prepared directory as a commit takes it."""
    directory = folder.absolute()
    return Workspace(execution=new_id(), directory=directory, environment={"ION_DIR": str(directory)})


def give_up(folder: Path) -> None:
    """The very files in it are the store's now."""
    for name in OURS:
        shutil.rmtree(folder / name, ignore_errors=True)
    with suppress(OSError):  # there is something else in it
        folder.rmdir()


def prepared_for(folder: Path) -> str:
    """The id of the event that a folder was prepared for. Raises NotFoundError: it was for none."""
    try:
        return codec.decode((folder / "in/event.json").read_bytes()).id
    except (OSError, InvalidError) as error:
        raise NotFoundError(f"{folder} is not prepared: `ion dev module prepare` makes it") from error
