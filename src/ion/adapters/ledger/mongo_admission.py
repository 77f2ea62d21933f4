"""How jobs get into the ledger, and their place in the line.

Claims rotate between flows by start-time fair queueing, as in SQLite: a job's tag is one more than the larger of its
flow's last tag for the module and the largest tag ever claimed of the module.

Admission goes in four steps, each of which can be the last: the flow's document gives the places (`reserved`, `lanes`)
and tells its control; the jobs are added, each by itself, and those that were there stay; the flow is looked at again.
Killed in between, a caller has no answer and repeats it: what is there by then is left, the rest is added. Places that
nobody took are lost, which only makes the count of `reserved` too high; it is looked into where it matters.
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ion.adapters.ledger.mongo_flows import jobs_of_flows, new_flow, recheck
from ion.adapters.ledger.mongo_registry import entry_of, registry
from ion.adapters.ledger.mongo_rows import changed, shard_of, standing
from ion.adapters.ledger.rows import change_text, failure_text, seconds, text
from ion.adapters.ledger.verbs import ADMISSION, admission_note, held
from ion.adapters.mongo.database import Document, MongoDatabase
from ion.adapters.mongo.schema import FLOWS, JOBS, LINES
from ion.errors import ConflictError
from ion.model.job import Hold, Job, State
from ion.ports.ledger import Control

_TURN_S = 1.0
"""How old the knowledge of what others claimed may be. It decides about fairness alone."""


class Turns:
    """The largest tag of each module that was ever claimed; there is a document for each module that ever had a job."""

    def __init__(self, database: MongoDatabase) -> None:
        self._database = database
        self._known: dict[str, tuple[int, float]] = {}

    async def of(self, modules: Sequence[str]) -> dict[str, int]:
        """By module; makes what is missing."""
        now = time.monotonic()
        stale = [module for module in modules if module not in self._known or self._known[module][1] < now - _TURN_S]
        if stale:
            found = await self._database.find_by_id(LINES, stale)
            missing = [module for module in stale if module not in found]
            await self._database.insert(LINES, [{"_id": module, "turn": 0} for module in missing])
            for module in stale:
                turn = found[module]["turn"] if module in found else 0
                self._known[module] = (max(turn, self._known.get(module, (0, 0.0))[0]), now)
        return {module: self._known[module][0] for module in modules}

    async def advance(self, module: str, tag: int) -> None:
        """Jobs of a module were claimed up to this tag."""
        if tag <= self._known.get(module, (0, 0.0))[0]:
            return
        self._known[module] = (tag, time.monotonic())
        lines = self._database.collection(LINES)
        await self._database.call(lambda: lines.update_one({"_id": module}, {"$max": {"turn": tag}}, upsert=True))


class Place(msgspec.Struct, frozen=True):
    """What a flow gives to those of its jobs that are admitted together."""

    flow: Document
    first: int
    """How many jobs were there before."""
    tags: dict[str, int]
    """The first tag of each module."""


async def admit(
    database: MongoDatabase, turns: Turns, jobs: Sequence[Job], now: float, max_jobs: int
) -> frozenset[str]:
    """Adds the jobs whose ids are not known; see `Ledger.admit`."""
    wanted = {job.id: job for job in jobs}
    known = await database.find(
        JOBS,
        {"_id": {"$in": list(wanted)}, "shard": {"$in": sorted({shard_of(j.module, j.id) for j in wanted.values()})}},
        fields=("_id",),
    )
    for document in known:
        del wanted[document["_id"]]
    if not wanted:
        return frozenset()
    documents, flows = await documents_of(database, turns, list(wanted.values()), now, max_jobs)
    fresh = await database.insert(JOBS, documents)
    await recheck(database, {flow: place.flow for flow, place in flows.items()}, now)
    return frozenset(document["_id"] for document, new in zip(documents, fresh, strict=True) if new)


async def documents_of(
    database: MongoDatabase, turns: Turns, jobs: Sequence[Job], now: float, max_jobs: int
) -> tuple[list[Document], Mapping[str, Place]]:
    """The documents of new jobs, and the places that their flows gave."""
    turn = await turns.of(list(dict.fromkeys(job.module for job in jobs if job.state is State.WAITING)))
    places = await _reserve(database, jobs, turn, now)
    counts = await _exact(database, jobs, places, max_jobs)
    documents, nth, tagged = [], Counter[str](), Counter[tuple[str, str]]()
    for job in jobs:
        flow, lane = job.correlation_id, (job.correlation_id, job.module)
        place = places[flow]
        tag = place.tags[job.module] + tagged[lane] if job.state is State.WAITING else 0
        ahead = counts.get(flow, place.first) + nth[flow]
        documents.append(_document(job, place.flow, tag, now, seq=database.next_place(), beyond=ahead >= max_jobs))
        nth[flow] += 1
        tagged[lane] += job.state is State.WAITING
    return documents, places


async def _reserve(
    database: MongoDatabase, jobs: Sequence[Job], turn: Mapping[str, int], now: float
) -> dict[str, Place]:
    """Takes places for so many jobs of each flow."""
    wanted: dict[str, Counter[str]] = {}
    totals = Counter[str]()
    for job in jobs:
        wanted.setdefault(job.correlation_id, Counter())[job.module] += job.state is State.WAITING
        totals[job.correlation_id] += 1
    order = {flow: database.next_place() for flow in wanted}
    places: dict[str, Place] = {}
    known = {flow: document for flow in wanted if (document := database.remembered(FLOWS, flow)) is not None}
    while left := [flow for flow in wanted if flow not in places]:
        known |= await database.find_by_id(FLOWS, [flow for flow in left if flow not in known])
        pairs, taken = [], []
        for flow in left:
            old = known.get(flow, {})
            present = old or new_flow(flow, now, order[flow])
            lanes = dict(present["lanes"])
            tags = {module: max(lanes.get(module, 0), turn.get(module, 0)) + 1 for module in wanted[flow]}
            lanes |= {module: tags[module] + n - 1 for module, n in wanted[flow].items() if n}
            new = {**present, "lanes": lanes, "reserved": present["reserved"] + totals[flow], "rev": present["rev"] + 1}
            pairs.append((old, new))
            taken.append(Place(new, present["reserved"], tags))
        done = await database.swap_many(FLOWS, pairs)
        places |= {flow: place for flow, place, won in zip(left, taken, done, strict=True) if won}
        known = {}
    return places


async def _exact(
    database: MongoDatabase, jobs: Sequence[Job], places: Mapping[str, Place], max_jobs: int
) -> Mapping[str, int]:
    """How many jobs those flows really have whose count says that they are full: it may be too high."""
    sizes = Counter(job.correlation_id for job in jobs)
    full = [flow for flow, place in places.items() if place.first + sizes[flow] > max_jobs]
    counts = await jobs_of_flows(database, full) if full else Counter[str]()
    return {flow: counts[flow] for flow in full}


def _document(job: Job, flow: Document, tag: int, now: float, *, seq: str, beyond: bool) -> Document:
    """A new job's document."""
    control = Control(flow["control"])
    state = State.CANCELLED if control is Control.CANCELLED and job.state is not State.COMMITTED else job.state
    hold = held(job, control, beyond=beyond) if state is State.WAITING else None
    manifest = job.manifest if state is State.COMMITTED else None
    note = admission_note(job, state, hold)
    document: dict[str, Any] = {
        "_id": job.id,
        "shard": shard_of(job.module, job.id),
        "rev": 1,
        "seq": seq,
        "module": job.module,
        "flow": job.correlation_id,
        "event_id": job.event.id,
        "event": text(job.event),
        "run": job.run,
        "state": state.value,
        "attempt": job.attempt,
        "hold": hold.value if hold else "",
        "priority": flow["priority"],
        "tag": tag,
        "owner": "",
        "scope": job.scope,
        "revision": job.revision,
        "execution": job.execution if manifest is None else manifest.execution,
        "devices": "[]",
        "failures": text(job.failures),
        "troubled_at": None,
        "failure": None if job.failure is None else failure_text(job.failure),
        "manifest": None if manifest is None else text(manifest),
        "cursor": 0,
        "log": job.log,
        "cancelling": 0,
        "admitted_at": now,
        "started_at": seconds(job.started_at),
        "ended_at": None if state is State.WAITING else seconds(job.ended_at) or now,
        "not_before": seconds(job.not_before) if state is State.WAITING else None,
        "deadline": None,
        "route": "",
        "history": f"[{change_text(now, state, job.attempt, ADMISSION, note)}]",
    }
    document["place"], document["rank"] = standing(document)
    return document


async def requeue(database: MongoDatabase, turns: Turns, key: str, actor: str, now: float) -> bool:
    """A dead or cancelled job waits again, at the end of its flow's line; see `Ledger.requeue`."""
    while True:
        old = await database.get(JOBS, key)
        if old is None or not _requeueable(old):
            return False
        flow = await check_runnable(database, key, old["module"], old["flow"], now)
        turn = (await turns.of([old["module"]]))[old["module"]]
        tag = max(turn, flow["lanes"].get(old["module"], 0)) + 1
        new = changed(
            old,
            now,
            actor,
            state=State.WAITING.value,
            hold=Hold.FLOW.value if flow["control"] == Control.PAUSED else "",
            priority=flow["priority"],
            tag=tag,
            revision="",
            owner="",
            scope="",
            route="",
            failures="{}",
            failure=None,
            troubled_at=None,
            cancelling=0,
            not_before=None,
            deadline=None,
            ended_at=None,
        )
        if await database.swap(JOBS, old, new):
            await recheck(database, {flow["_id"]: flow}, now)
            return True


def _requeueable(document: Document) -> bool:
    held = document["state"] == State.WAITING and document["hold"] in (Hold.HOPS, Hold.JOBS)
    return held or document["state"] in (State.DEAD, State.CANCELLED)


async def check_runnable(database: MongoDatabase, key: str, module: str, name: str, now: float) -> Document:
    """The flow's document. Raises ConflictError where no job of it, or of the module, may be queued by hand."""
    flow = await database.get(FLOWS, name) or new_flow(name, now, database.next_place())
    if flow["control"] == Control.CANCELLED:
        raise ConflictError(f"job {key} belongs to the cancelled flow {name}; raise its root event anew instead")
    if entry_of(await registry(database), module) is None:
        raise ConflictError(f"job {key} is for the module {module}, which is gone; apply that module first")
    return flow
