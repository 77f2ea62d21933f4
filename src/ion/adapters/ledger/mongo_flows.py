"""Flows: their controls, priorities and open jobs.

A control is written on the flow's document first and then put on its jobs one by one. A job that was being admitted or
settled meanwhile is met again: whoever makes a job wait looks at its flow once more afterwards (`recheck`), and a claim
takes no job without a look at its flow. So from the moment the flow's document is written nothing of it is claimed by
who looks then, and who had looked before loses the compare-and-set of the job to the sweep.

`reserved` counts the jobs that were to be admitted, never fewer than there are; `lanes` has each module's last tag.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime

from ion.adapters.ledger.mongo_registry import note_action
from ion.adapters.ledger.mongo_rows import (
    DEFERRED,
    DUE,
    LATER,
    PLACES,
    RELAY,
    RUNNING,
    STATES,
    WITHHELD,
    altered,
    changed,
    ended,
)
from ion.adapters.mongo.database import Document, MongoDatabase
from ion.adapters.mongo.schema import BY_SEQ, FLOWS, JOBS
from ion.errors import ConflictError, NotFoundError
from ion.model.job import OPEN_STATES, Hold, State
from ion.ports.ledger import Control, Flow, Open

_PAGE = 200
_SWEEP = 500
_OPEN = [place for state in OPEN_STATES for place in PLACES[state]]


def new_flow(flow: str, now: float, seq: str) -> Document:
    """The document of a flow that nobody has heard of."""
    return {
        "_id": flow,
        "rev": 1,
        "seq": seq,
        "control": Control.NONE.value,
        "priority": 0,
        "reserved": 0,
        "lanes": {},
        "started_at": now,
    }


async def update_flow(database: MongoDatabase, flow: str, now: float, **fields: object) -> Document:
    """Writes fields of a flow's document, which is made if this is the first that is heard of it."""
    while True:
        old = await database.get(FLOWS, flow) or {}
        present = old or new_flow(flow, now, database.next_place())
        new = {**present, **fields, "rev": present["rev"] + 1}
        if await database.swap(FLOWS, old, new):
            return new


async def control(database: MongoDatabase, flow: str, wanted: Control, actor: str, *, now: float) -> None:
    """Pauses, cancels or frees a flow; see `Ledger.control`. Repeating it sweeps again."""
    while True:
        old = await database.get(FLOWS, flow) or {}
        present = old or new_flow(flow, now, database.next_place())
        if present["control"] == wanted:
            break
        if present["control"] == Control.CANCELLED:
            raise ConflictError(f"the flow {flow} is cancelled, which cannot be taken back; raise its root event anew")
        new = {**present, "control": wanted.value, "rev": present["rev"] + 1}
        if await database.swap(FLOWS, old, new):
            await note_action(database, actor, wanted or "free", flow, now)
            break
    await sweep(database, flow, wanted, actor, now)


async def sweep(database: MongoDatabase, flow: str, wanted: Control, actor: str, now: float) -> None:
    """Puts a control on the jobs of a flow; where it is another one by then, that too. So the last that was set holds,
    whose sweep may have been over before this one.
    """
    while True:
        await _put(database, flow, wanted, actor, now)
        document = await database.get(FLOWS, flow)
        if document is None or document["control"] == wanted:
            return
        wanted = Control(document["control"])


async def _put(database: MongoDatabase, flow: str, wanted: Control, actor: str, now: float) -> None:
    """Puts a control on jobs. Waiting ones first: none of them can begin to run afterwards."""
    match wanted:
        case Control.PAUSED:
            await _each(database, flow, (DUE, LATER), lambda job: altered(job, hold=Hold.FLOW.value))
        case Control.NONE:
            await _each(database, flow, (WITHHELD,), lambda job: altered(job, hold=""), _paused)
        case Control.CANCELLED:
            await _each(database, flow, PLACES[State.WAITING], lambda job: cancelled(job, actor, now))
            await _each(
                database,
                flow,
                (RUNNING,),
                lambda job: changed(job, now, actor, "to be cancelled with its flow", cancelling=1),
                lambda job: not job["cancelling"],
            )


def cancelled(job: Document, actor: str, now: float) -> Document:
    """A waiting job whose flow is cancelled."""
    return changed(job, now, actor, "its flow was cancelled", state=State.CANCELLED.value, **ended(now))


def _paused(job: Document) -> bool:
    return bool(job["hold"] == Hold.FLOW)


def _any(_: Document) -> bool:
    return True


async def _each(
    database: MongoDatabase,
    flow: str,
    places: Sequence[str],
    change: Callable[[Document], Document],
    needs: Callable[[Document], bool] = _any,
) -> None:
    """Changes the jobs of a flow that stand in some places now, and need it.

    One that comes to stand there later is for whoever puts it there, who looks at the flow (`recheck`).
    """
    for place in places:
        found = await database.find(JOBS, {"flow": flow, "place": place}, fields=("_id",))
        keys = [job["_id"] for job in found]
        for start in range(0, len(keys), _SWEEP):
            left = keys[start : start + _SWEEP]
            while left:
                jobs = (await database.find_by_id(JOBS, left)).values()
                pairs = [(job, change(job)) for job in jobs if job["place"] == place and needs(job)]
                done = await database.swap_many(JOBS, pairs)
                left = [job["_id"] for (job, _), won in zip(pairs, done, strict=True) if not won]


async def prioritise(database: MongoDatabase, flow: str, priority: int, now: float) -> None:
    """Sets a flow's priority, on running jobs too since they may wait again; see `Ledger.prioritise`."""
    await update_flow(database, flow, now, priority=priority)
    await reprioritise(database, flow, priority)


async def reprioritise(database: MongoDatabase, flow: str, priority: int) -> None:
    """Puts a priority on the jobs of a flow that are not committed yet."""
    await _each(
        database,
        flow,
        (*PLACES[State.WAITING], RUNNING),
        lambda job: altered(job, priority=priority),
        lambda job: bool(job["priority"] != priority),
    )


async def recheck(database: MongoDatabase, seen: Mapping[str, Document], now: float) -> None:
    """Looks whether these flows have other controls now than when some of their jobs were made to wait."""
    present = await database.find_by_id(FLOWS, list(seen))
    for flow, before in seen.items():
        after = present.get(flow)
        if after is None:  # it was forgotten meanwhile
            await database.insert(FLOWS, [before])
            continue
        if after["control"] != before["control"]:
            await sweep(database, flow, Control(after["control"]), "control", now)
        if after["priority"] != before["priority"]:
            await reprioritise(database, flow, after["priority"])


async def open_jobs(database: MongoDatabase, flow: str) -> Open:
    """A flow's open jobs, from an index."""
    counts = await _counted(database, {"flow": flow, "place": {"$in": _OPEN}}, "$place")
    return Open(
        waiting=sum(counts[place] for place in PLACES[State.WAITING]),
        running=counts[RUNNING],
        committed=counts[RELAY] + counts[DEFERRED],
        held=counts[WITHHELD],
    )


async def tally(database: MongoDatabase, flow: str) -> Mapping[tuple[str, State], int]:
    """How many jobs of a flow stand in each state, by module; without zeros."""
    groups = await database.aggregate(
        JOBS,
        [
            {"$match": {"flow": flow}},
            {"$group": {"_id": {"module": "$module", "place": "$place"}, "jobs": {"$sum": 1}}},
        ],
    )
    tally = Counter[tuple[str, State]]()
    for group in groups:
        tally[group["_id"]["module"], STATES[group["_id"]["place"]]] += group["jobs"]
    return tally


async def jobs_of_flows(database: MongoDatabase, flows: Iterable[str]) -> Counter[str]:
    """How many jobs each of the flows has."""
    return await _counted(database, {"flow": {"$in": list(flows)}}, "$flow")


async def _counted(database: MongoDatabase, which: Mapping[str, object], by: str) -> Counter[str]:
    groups = await database.aggregate(JOBS, [{"$match": which}, {"$group": {"_id": by, "jobs": {"$sum": 1}}}])
    return Counter({group["_id"]: group["jobs"] for group in groups})


async def flow(database: MongoDatabase, key: str) -> Flow:
    """See `Ledger.flow`."""
    document = await database.get(FLOWS, key)
    if document is None:
        raise NotFoundError(f"there is no flow {key}; `ion flow list` shows those there are")
    return _flow(document, await jobs_of_flows(database, [key]))


async def flows(database: MongoDatabase) -> AsyncIterator[Flow]:
    """All flows, newest first; see `Ledger.flows`."""
    newest_first = [(field, -direction) for field, direction in BY_SEQ]
    page = await database.find(FLOWS, {}, order=newest_first, most=_PAGE)
    while page:
        jobs = await jobs_of_flows(database, [document["_id"] for document in page])
        for document in page:
            yield _flow(document, jobs)
        if len(page) < _PAGE:
            return
        page = await database.find(FLOWS, {"seq": {"$lt": page[-1]["seq"]}}, order=newest_first, most=_PAGE)


def _flow(document: Document, jobs: Counter[str]) -> Flow:
    return Flow(
        correlation_id=document["_id"],
        control=Control(document["control"]),
        priority=document["priority"],
        jobs=jobs[document["_id"]],
        started_at=datetime.fromtimestamp(document["started_at"], UTC),
    )


def flows_of(documents: Iterable[Document]) -> Sequence[str]:
    """The flows of jobs, each once."""
    return list(dict.fromkeys(document["flow"] for document in documents))
