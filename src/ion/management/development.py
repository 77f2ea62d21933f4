"""Modules run by hand, step by step, as `ion dev` of the 2018 original has it: prepare, run, commit.

It is a store like any other, and every step is that of a job (R9). The origin's files come by a root event. Preparing
finds the event (one that was raised here, or a new one under a parent, with all that the parent left) and lays out the
directory; nothing is stored by it. Committing makes a job of it that is committed from the start, as a gateway's is,
and relays it. So there is no half-done state: what was prepared and forgotten is nowhere but in its folder.

Committing again for the same event and module is a further run, by which the earlier one is superseded (R2). Modules
subscribe to nothing here: a person says what comes next.
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import msgspec

from ion.dispatcher.relay import Relay
from ion.dispatcher.stores import Stores
from ion.dispatcher.supersede import runs_of
from ion.errors import ConflictError, InvalidError, NotFoundError
from ion.management.development_folder import clear, give_up, lay_out, prepared_for, workspace_in
from ion.management.development_runs import Run, run_named, run_of, runs
from ion.management.events import RootEvent, RootFile, raise_event
from ion.messaging import codec
from ion.messaging.trace import child
from ion.model.event import Event, FileRef
from ion.model.ids import foreign_event_id, is_uuid, job_id
from ion.model.job import Job, State
from ion.model.manifest import Usage
from ion.model.module import Module, revise
from ion.ports.executor import Assignment

GATEWAY = "dev"
EVENT_TYPE = "dev"
"""Of origins, and of events that are made by hand."""
FLOW = "dev"
"""The flow of an origin that names none; what comes of an origin is in its flow, unless that is named."""
MAX_HOPS = 32


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A module's run for an event, as a person at `ion dev` names it."""

    name: str
    event_types: tuple[str, ...]
    event_id: str
    parent_event_id: str
    correlation_id: str = FLOW


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
    """Makes `folder` the directory that the module is to see, with copies of its inputs; an earlier one is removed.

    Raises:
        NotFoundError: there is neither such an event nor such a parent. ConflictError: the event is another parent's.
        ExistsError: there are other things in the folder.
    """
    event = await _event(stores, step)
    clear(folder)
    await lay_out(stores, await _assignment(stores, step, event), folder)
    return event


async def commit(stores: Stores, step: Step, folder: Path, actor: str) -> Run:
    """Stores what the module left in `folder`; all of it, or nothing.

    Raises:
        ContractError: what it left cannot be committed. ConflictError: the folder was prepared for another event.
    """
    event = await _event(stores, step)
    if (prepared := prepared_for(folder)) != event.id:
        raise ConflictError(f"{folder} was prepared for the event {prepared}, not for {event.id}: prepare it anew")
    assignment = await _assignment(stores, step, event)
    workspace = workspace_in(folder)
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
    give_up(folder)
    return await run_of(stores, job)


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


async def _relay(stores: Stores) -> None:
    relay = Relay(stores.ledger, stores.documents, stores.blobs, stores.bus, owner=GATEWAY, max_hops=MAX_HOPS)
    await relay.drain()
