"""Modules run by hand, step by step, as `ion dev` of the 2018 original has it: prepare, run, commit.

It is a store like any other, and every step is that of a job (R9). The origin's files come by a root event. Preparing
finds the event (one that was raised here, or a new one under a parent, with all that the parent left) and lays out the
directory; nothing is stored by it. Committing makes a job of it that is committed from the start, as a gateway's is,
and relays it. So there is no half-done state: what was prepared and forgotten is nowhere but in its folder.

Committing again for the same event and module is a further run, by which the earlier one is superseded (R2). Modules
subscribe to nothing here: a person says what comes next.
"""

import shutil
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import msgspec

from ion.dispatcher.relay import Relay
from ion.dispatcher.service import Stores
from ion.dispatcher.supersede import runs_of
from ion.errors import ConflictError, ExistsError, InvalidError, NotFoundError
from ion.handler.inputs import forget
from ion.management.carry import left
from ion.management.events import RootEvent, RootFile, raise_event
from ion.management.jobs import results_of, several
from ion.management.run import is_gateways, jobs_of
from ion.messaging import codec
from ion.messaging.spilled import restored
from ion.messaging.trace import child
from ion.model.event import Event, FileRef
from ion.model.ids import foreign_event_id, is_uuid, job_id, new_id
from ion.model.job import Job, State
from ion.model.manifest import Manifest, Usage
from ion.model.module import Module, revise
from ion.ports.executor import Assignment, Workspace
from ion.ports.ledger import JobFilter

GATEWAY = "dev"
EVENT_TYPE = "dev"
"""Of origins, and of events that are made by hand."""
FLOW = "dev"
"""The flow of an origin that names none; what comes of an origin is in its flow, unless that is named."""
MAX_HOPS = 32
OURS = frozenset({"in", "out", "state"})
BEGINNING_LEAST = 4
"""Characters of an id's beginning: people choose ids as short as `1`."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A module's run for an event, as a person at `ion dev` names it."""

    name: str
    event_types: tuple[str, ...]
    event_id: str
    parent_event_id: str
    correlation_id: str = FLOW


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A committed run and what it left. Its id as a module is its event's: the person's own, if they chose one."""

    job: Job
    results: Manifest

    @property
    def id(self) -> str:
        return self.job.event.origid or self.job.event.id

    @property
    def is_origin(self) -> bool:
        return is_gateways(self.job)


async def begin(stores: Stores, files: Sequence[Path], correlation_id: str) -> Event:
    """Stores an origin's files. Raises InvalidError."""
    root = RootEvent(
        type=EVENT_TYPE,
        files=tuple(RootFile(name=file.name, file=file) for file in files),
        correlation_id=correlation_id,
    )
    raised = await raise_event(root, gateway=GATEWAY, ledger=stores.ledger, blobs=stores.blobs)
    await _relay(stores)
    return raised.event


async def prepare(stores: Stores, step: Step, folder: Path) -> Event:
    """Makes `folder`, which must not exist, the directory that the module is to see, with copies of its inputs.

    Raises:
        NotFoundError: there is neither such an event nor such a parent. ConflictError: the event is another parent's.
    """
    event = await _event(stores, step)
    clear(folder)
    await _lay_out(stores, await _assignment(stores, step, event), folder)
    return event


async def _lay_out(stores: Stores, assignment: Assignment, folder: Path) -> None:
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
    await _lay_out(stores, Assignment(job=run.job, revision=revision), folder)
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
    if not folder.exists() or folder.is_symlink():
        if folder.is_symlink():
            raise ExistsError(f"{folder} is a link: name another folder")
        return
    there = sorted(path.name for path in folder.iterdir())
    if (folder / "in/event.json").is_file() and set(there) <= OURS:
        shutil.rmtree(folder)
    elif there:
        other = ", ".join(name for name in there if name not in OURS) or ", ".join(there)
        raise ExistsError(f"{folder} is there already, with {other} in it: move that, or name another folder")
    else:
        folder.rmdir()


async def commit(stores: Stores, step: Step, folder: Path, actor: str) -> Run:
    """Stores what the module left in `folder`; all of it, or nothing.

    Raises:
        ContractError: what it left cannot be committed. ConflictError: the folder was prepared for another event.
    """
    event = await _event(stores, step)
    if (prepared := prepared_for(folder)) != event.id:
        raise ConflictError(f"{folder} was prepared for the event {prepared}, not for {event.id}: prepare it anew")
    assignment = await _assignment(stores, step, event)
    workspace = _workspace(folder)
    since_s = (folder / "in/event.json").stat().st_mtime
    ref = await stores.handler.commit(assignment, workspace, log=None, usage=Usage(), started_at_s=since_s)
    await stores.ledger.apply([assignment.revision], actor)
    job = msgspec.structs.replace(
        assignment.job,
        state=State.COMMITTED,
        execution=ref.execution,
        manifest=ref,
        started_at=ref.started_at,
        ended_at=ref.ended_at,
    )
    await stores.ledger.admit([job])
    await _relay(stores)
    _give_up(folder)
    return await _run(stores, job)


def _workspace(folder: Path) -> Workspace:
    directory = folder.absolute()
    return Workspace(execution=new_id(), directory=directory, environment={"ION_DIR": str(directory)})


def _give_up(folder: Path) -> None:
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


async def runs(stores: Stores) -> list[Run]:
    """Every origin, and every module's run that none has taken the place of, in the order of their commits."""
    which = JobFilter(states=(State.COMMITTED, State.RELEASED))
    return [await _run(stores, job) async for job in jobs_of(stores.ledger, which)]


async def run_named(stores: Stores, identity: str) -> Run:
    """The run of that id: its event's, the person's own for it, or its job's; or the beginning of one.

    Raises:
        NotFoundError: there is none. InvalidError: there are several.
    """
    every = await runs(stores)
    names = [(one, (one.id, one.job.event.id, one.job.id)) for one in every]
    whole = [one for one, known in names if identity in known]
    found = whole or [one for one, known in names if any(_begins(name, identity) for name in known)]
    if not found:
        raise NotFoundError(f"nothing was committed for '{identity}': `ion dev module list` shows what was")
    if len(found) > 1:  # an origin and what ran on its very event
        found = [one for one in found if not one.is_origin] or found
    if len(found) > 1:
        shown = [f"{one.job.id} ({one.job.module})" for one in found[:6]]
        raise InvalidError(several("runs", identity, shown))
    return found[0]


def _begins(name: str, identity: str) -> bool:
    return len(identity) >= BEGINNING_LEAST and name.startswith(identity)


async def events_of(stores: Stores, run: Run) -> tuple[Event, ...]:
    """What a run raised, each with its data."""
    return tuple([await restored(event, stores.blobs) for event in run.results.events])


# ---- events -----------------------------------------------------------------------------------------------------


async def _event(stores: Stores, step: Step) -> Event:
    """The event that was raised under this id, else a new one below the parent; the same whenever it is asked for."""
    _check(step)
    raised = await _raised(stores)
    if (event := raised.get(step.event_id)) is not None:
        if step.parent_event_id not in (event.parent_id, event.id, await _own_name(stores, event.parent_id)):
            raise ConflictError(
                f"the event {event.id} came of {event.parent_id}, not of {step.parent_event_id}: "
                f"say --parent-event-id {event.parent_id}"
            )
        return event
    return await _made(stores, step, raised)


def _check(step: Step) -> None:
    for option, value in (("--name", step.name), ("--event-id", step.event_id)):
        if not value or not value.isprintable() or len(value) > 128 or value != value.strip():
            raise InvalidError(f"{option} is '{value[:40]}': give 1 to 128 printable characters")


async def _raised(stores: Stores) -> dict[str, Event]:
    """Every event that a run raised, by its id."""
    return {event.id: event for one in await runs(stores) for event in one.results.events}


async def _own_name(stores: Stores, event_id: str) -> str:
    return next((one.id for one in await runs(stores) if one.job.event.id == event_id), "")


async def _made(stores: Stores, step: Step, raised: dict[str, Event]) -> Event:
    """An event by hand. Its id follows from the parent and the person's own id for it, so each parent has its own."""
    parent, files, since = await _parent(stores, step, raised)
    source = f"{GATEWAY}:{parent.id}"
    foreign = not is_uuid(step.event_id)
    return Event(
        id=foreign_event_id(source, step.event_id) if foreign else step.event_id,
        type=EVENT_TYPE,
        source=source if foreign else codec.gateway_source(GATEWAY),
        origid=step.event_id if foreign else "",
        correlation_id=parent.correlation_id if step.correlation_id == FLOW else step.correlation_id,
        parent_id=parent.id,
        time=since,
        subject=parent.subject,
        traceparent=child(parent.traceparent, parent.id),
        hops=parent.hops + 1,
        files=files,
    )


async def _parent(stores: Stores, step: Step, raised: dict[str, Event]) -> tuple[Event, tuple[FileRef, ...], datetime]:
    """The parent's event, all the files that a new event gets, and when they came to be."""
    identity = step.parent_event_id
    try:
        run = await run_named(stores, identity)
    except NotFoundError:
        if (event := raised.get(identity)) is None:  # raised, and not run yet
            raise
        return event, event.files, event.time
    return run.job.event, run.results.files, run.results.ended_at


# ---- jobs -------------------------------------------------------------------------------------------------------


async def _assignment(stores: Stores, step: Step, event: Event) -> Assignment:
    revision = revise(Module(name=step.name, emits=step.event_types, command=(GATEWAY,)))
    earlier = [run.run async for run in runs_of(stores.ledger, event.id, step.name)]
    number = max(earlier, default=-1) + 1
    job = Job(
        id=job_id(event.id, step.name, number),
        module=step.name,
        event=event,
        run=number,
        attempt=1,
        revision=revision.id,
    )
    return Assignment(job=job, revision=revision)


async def _run(stores: Stores, job: Job) -> Run:
    results = await results_of(job, stores.blobs)
    assert results is not None, "a committed job has results"
    return Run(job=job, results=results)


async def _relay(stores: Stores) -> None:
    relay = Relay(stores.ledger, stores.documents, stores.blobs, stores.bus, owner=GATEWAY, max_hops=MAX_HOPS)
    await relay.drain()
