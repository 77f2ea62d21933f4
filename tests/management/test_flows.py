"""What a person does with whole flows, on a real ledger in memory."""

import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ion.adapters.ledger.sqlite import SqliteLedger
from ion.adapters.sqlite.database import Database
from ion.errors import ConflictError, InvalidError, NotFoundError
from ion.management.flows import control_flow, find_flow, latest_flows, report_path, state_of, tree_of
from ion.messaging.codec import gateway_source, module_source
from ion.model import ids
from ion.model.event import Event
from ion.model.job import Job, State
from ion.model.manifest import ManifestRef
from ion.ports.ledger import Control

TIME = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
async def ledger() -> AsyncIterator[SqliteLedger]:
    async with Database(None) as database, SqliteLedger(database) as ledger:
        yield ledger


def event(kind: str, *, source: str, parent: str, flow: str = "flow") -> Event:
    return Event(id=ids.new_id(), type=kind, source=source, correlation_id=flow, parent_id=parent, time=TIME)


def root(flow: str = "flow") -> Event:
    return event("photo", source=gateway_source("cli"), parent="cli", flow=flow)


def raised(by: Job, kind: str = "face") -> Event:
    return event(kind, source=module_source(by.module), parent=by.event.id)


def job(of: Event, module: str) -> Job:
    return Job(id=ids.job_id(of.id, module), module=module, event=of)


def gateway_job(of: Event) -> Job:
    digest = hashlib.sha256(b"").hexdigest()
    ref = ManifestRef(blob="m", sha256=digest, execution="x", events=1, started_at=TIME, ended_at=TIME)
    return Job(
        id=ids.root_job_id(of.id, "cli"),
        module="cli",
        event=of,
        state=State.COMMITTED,
        attempt=1,
        execution="x",
        manifest=ref,
    )


async def drawn(ledger: SqliteLedger) -> list[str]:
    return [rails + job.module async for rails, job, _ in tree_of(ledger, "flow")]


async def test_a_flow_is_found_by_the_beginning_of_its_id(ledger: SqliteLedger) -> None:
    """Any text may be a correlation id; an exact one wins over a longer one."""
    for name in ("album", "album-2", "Übung 1"):
        await ledger.admit([job(root(name), "detect")])
    for text, found in (("album", "album"), ("album-", "album-2"), ("Üb", "Übung 1"), ("Übung 1", "Übung 1")):
        assert (await find_flow(ledger, text)).correlation_id == found


async def test_flows_that_cannot_be_told_are_refused(ledger: SqliteLedger) -> None:
    """None, several, and no text at all: each has its sentence."""
    for number in range(7):
        await ledger.admit([job(root(f"album-{number}"), "detect")])
    with pytest.raises(NotFoundError, match="there is no flow 'zzz'"):
        await find_flow(ledger, "zzz")
    with pytest.raises(InvalidError, match="album-2 and more; give more of the id"):
        await find_flow(ledger, "album-")
    with pytest.raises(InvalidError, match="is empty"):
        await find_flow(ledger, "")


async def test_a_flow_stands_as_its_jobs_do(ledger: SqliteLedger) -> None:
    """Its states are counted over all modules; it is open while one of its jobs is."""
    photo = root()
    await ledger.admit([job(photo, "detect"), job(photo, "resize"), gateway_job(photo)])
    state = await state_of(ledger, await find_flow(ledger, "flow"))
    assert (state.states, state.open, state.standing) == ({State.WAITING: 2, State.COMMITTED: 1}, 3, "open")
    await ledger.control("flow", Control.PAUSED, "test")
    assert (await state_of(ledger, await find_flow(ledger, "flow"))).standing == "paused"


async def test_the_newest_flows_come_first(ledger: SqliteLedger) -> None:
    """No more than asked for are looked at."""
    for number in range(5):
        await ledger.admit([job(root(f"flow-{number}"), "detect")])
    assert [one.flow.correlation_id async for one in latest_flows(ledger, 2)] == ["flow-4", "flow-3"]


async def test_a_cancelled_flow_stays_cancelled(ledger: SqliteLedger) -> None:
    """Cancelling again changes nothing; anything else is refused with what to do."""
    await ledger.admit([job(root(), "detect")])
    for _ in range(2):
        assert (await control_flow(ledger, "fl", Control.CANCELLED, "test")).correlation_id == "flow"
    for control in (Control.NONE, Control.PAUSED):
        with pytest.raises(ConflictError, match="raise its event again in a new flow"):
            await control_flow(ledger, "flow", control, "test")


# ---- the tree ---------------------------------------------------------------------------------------------------


async def test_jobs_hang_below_the_job_that_raised_their_event(ledger: SqliteLedger) -> None:
    """Where two modules heard one event, the source of what followed tells which of them raised it."""
    photo = root()
    detect, resize = job(photo, "detect"), job(photo, "resize")
    face, small = raised(detect), raised(resize, "small")
    await ledger.admit([gateway_job(photo), detect, resize])
    await ledger.admit([job(small, "store"), job(face, "count"), job(face, "blur")])
    assert await drawn(ledger) == ["cli", "├─ detect", "│  ├─ count", "│  └─ blur", "└─ resize", "   └─ store"]


async def test_several_roots_are_several_trees(ledger: SqliteLedger) -> None:
    """Root events in one flow stand beside each other."""
    one, two = root(), root()
    await ledger.admit([gateway_job(one), gateway_job(two), job(one, "detect"), job(two, "detect")])
    assert await drawn(ledger) == ["cli", "└─ detect", "cli", "└─ detect"]


async def test_jobs_of_an_event_from_elsewhere_are_roots(ledger: SqliteLedger) -> None:
    """An event that came by the bus has no gateway's job here."""
    photo = event("photo", source="https://elsewhere", parent="")
    await ledger.admit([job(photo, "detect"), job(photo, "resize")])
    assert await drawn(ledger) == ["detect", "resize"]


async def test_a_deep_flow_is_drawn_whole(ledger: SqliteLedger) -> None:
    """A chain longer than Python's stack is no trouble."""
    chain = [job(root(), "step")]
    for _ in range(1500):
        chain.append(job(raised(chain[-1]), "step"))
    await ledger.admit(chain)
    lines = await drawn(ledger)
    assert (len(lines), lines[-1]) == (1501, "   " * 1499 + "└─ step")


def test_the_name_of_a_report_is_a_plain_file_name() -> None:
    """A correlation id is foreign text: nothing of it can leave the folder."""
    assert report_path(Path("r"), "81d0fe22-4d0c") == Path("r/ion-flow-81d0fe22.html")
    assert report_path(Path("r"), "../../etc") == Path("r/ion-flow-------et.html")
