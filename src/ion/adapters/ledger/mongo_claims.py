"""How waiting jobs become running ones: what is due, in whose turn, with which devices.

What is due is read from the index of the module, in its order, whichever shards it lies in; then each job is taken by a
compare-and-set in its own shard. Who loses one looks again. Before that the flows of the jobs are looked at, so what
slipped past the sweep of a control is met here at the latest, and put where it belongs.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from ion.adapters.ledger.mongo_admission import Turns
from ion.adapters.ledger.mongo_flows import cancelled, flows_of, recheck
from ion.adapters.ledger.mongo_registry import entry_of, registry
from ion.adapters.ledger.mongo_reservations import Held, Reservation
from ion.adapters.ledger.mongo_rows import DUE, LATER, RUNNING, altered, changed, job_of, line, order, route_of
from ion.adapters.ledger.rows import text
from ion.adapters.mongo.database import Document, MongoDatabase
from ion.adapters.mongo.schema import BY_MODULE, FLOWS, JOBS
from ion.model.job import Hold, Job, State
from ion.ports.ledger import Claim, Control, Move

_LATER_MOST = 1000
_TRIES = 20


async def claim(database: MongoDatabase, turns: Turns, asked: Claim, now: float) -> Sequence[Job]:
    """Gives due jobs to an owner; see `Ledger.claim`."""
    claimed: list[Document] = []
    for _ in range(_TRIES):
        left = asked.most - len(claimed)
        if left <= 0:
            break
        registered, due = await asyncio.gather(registry(database), _due(database, asked, left, now))
        entry = entry_of(registered, asked.module)
        if not due or (entry is not None and entry["paused"]):
            break
        free = await _allowed(database, due, now)
        taken = await _take(database, asked, free[:left], now)
        if taken is None:  # no devices, or as many run as may
            break
        claimed += taken
        if len(taken) == left or (len(taken) == len(due) and len(due) < left):
            break
    await turns.advance(asked.module, max((job["tag"] for job in claimed), default=0))
    return [job_of(job) for job in sorted(claimed, key=_turn)]


def _turn(job: Document) -> tuple[int, str]:
    return order(job["priority"], job["tag"]), job["seq"]


async def _due(database: MongoDatabase, asked: Claim, most: int, now: float) -> list[Document]:
    """The next jobs to claim. Delayed ones whose time has come, or cannot be true, stand in line with the rest."""
    due = {"module": asked.module, "place": DUE}
    reads = [database.find(JOBS, {**due, "rank": line(route)}, order=BY_MODULE, most=most) for route in asked.routes]
    reads.append(_come(database, asked.module, asked.delay_most_s, most, now))
    found = [job for jobs in await asyncio.gather(*reads) for job in jobs if route_of(job) in asked.routes]
    return sorted(found, key=_turn)[:most]


async def _come(
    database: MongoDatabase, module: str, delay_most_s: float | None, most: int, now: float
) -> list[Document]:
    """Delayed jobs whose time has come, or cannot be true."""
    later = {"module": module, "place": LATER}
    reads = [database.find(JOBS, {**later, "rank": {"$lte": now}}, order=BY_MODULE, most=max(most, _LATER_MOST))]
    if delay_most_s is not None:
        far = {**later, "rank": {"$gt": now + delay_most_s}}
        reads.append(database.find(JOBS, far, order=BY_MODULE, most=max(most, _LATER_MOST)))
    return [job for jobs in await asyncio.gather(*reads) for job in jobs]


async def routes(database: MongoDatabase, module: str, delay_most_s: float | None, now: float) -> frozenset[str]:
    """The routes of a module's due jobs, by leaping from one to the next; see `Ledger.routes`."""
    come = await _come(database, module, delay_most_s, _LATER_MOST, now)
    while len(come) >= _LATER_MOST:  # whoever is behind a crowd is seen once it stands in line
        await database.swap_many(JOBS, [(job, altered(job, not_before=None)) for job in come])
        come = await _come(database, module, delay_most_s, _LATER_MOST, now)
    found = {route_of(job) for job in come}
    which: dict[str, Any] = {"module": module, "place": DUE}
    rank: dict[str, Any] = line("")
    while True:
        heads = await database.find(JOBS, {**which, "rank": rank}, order=BY_MODULE, most=1, fields=("route", "rank"))
        if heads:
            found.add(route_of(heads[0]))
        elif "$gte" in rank:
            return frozenset(found)
        rank = {"$gte": f"{route_of(heads[0])}\n" if heads and route_of(heads[0]) else ""}


async def on_route(
    database: MongoDatabase, module: str, route: str, most: int, *, delay_most_s: float | None, now: float
) -> Sequence[Job]:
    """The first jobs of a route; see `Ledger.on_route`."""
    which = {"module": module, "place": DUE, "rank": line(route)}
    due, come = await asyncio.gather(
        database.find(JOBS, which, order=BY_MODULE, most=most), _come(database, module, delay_most_s, most, now)
    )
    here = [*due, *(job for job in come if route_of(job) == route)]
    return [job_of(job) for job in sorted(here, key=_turn)[:most]]


async def reroute(database: MongoDatabase, moves: Sequence[Move], actor: str, now: float) -> int:
    """Puts waiting jobs onto other routes; see `Ledger.reroute`."""
    jobs = await database.find_by_id(JOBS, [move.job for move in moves])
    wanted = [(jobs[move.job], move) for move in moves if move.job in jobs]
    pairs = [
        (job, changed(job, now, actor, move.note, route=move.new))
        for job, move in wanted
        if job["state"] == State.WAITING and route_of(job) == move.old
    ]
    return sum(await database.swap_many(JOBS, pairs)) if pairs else 0


async def _allowed(database: MongoDatabase, jobs: Sequence[Document], now: float) -> list[Document]:
    """Those whose flows let them run; the others are put where their flows want them."""
    flows = await database.find_by_id(FLOWS, flows_of(jobs))
    controls = {flow: Control(document["control"]) for flow, document in flows.items()}
    free = [job for job in jobs if controls.get(job["flow"], Control.NONE) is Control.NONE]
    caught = [job for job in jobs if controls.get(job["flow"], Control.NONE) is not Control.NONE]
    await database.swap_many(
        JOBS,
        [
            (
                job,
                altered(job, hold=Hold.FLOW.value)
                if controls[job["flow"]] is Control.PAUSED
                else cancelled(job, "claim", now),
            )
            for job in caught
        ],
    )
    await recheck(database, {flow: flows[flow] for flow in flows_of(caught)}, now)
    return free


async def _take(database: MongoDatabase, asked: Claim, jobs: Sequence[Document], now: float) -> list[Document] | None:
    """Makes them running, as many as may; None where none may."""
    if asked.module_most is None and not asked.gpus_each:
        return await _run(database, [(job, _running(job, asked, now)) for job in jobs])
    while True:
        bound = await _bounded(database, asked)
        devices = Reservation(database, f"devices {asked.scope}")
        if asked.gpus_each:
            await devices.read()
        free = [device for device in dict.fromkeys(asked.devices) if device not in devices.held]
        touched = (bound[0].touched if bound is not None else {}) | devices.touched
        # What was touched was read anew: it may stand elsewhere by now, though its flow was looked at before.
        found = [(job, touched.get(job["_id"], job)) for job in jobs]
        jobs = some = [present for job, present in found if present["place"] == job["place"]]
        if asked.gpus_each:
            some = some[: len(free) // asked.gpus_each]
        if bound is not None:
            some = some[: max(0, bound[1])]
        if not some:
            return None if jobs else []
        given = [free[n * asked.gpus_each :][: asked.gpus_each] for n in range(len(some))]
        holders = {job["_id"]: Held(job["_id"], job["attempt"] + 1) for job in some}
        if bound is not None and not await bound[0].take(holders):
            continue
        parts = {device: holders[job["_id"]] for job, its in zip(some, given, strict=True) for device in its}
        if asked.gpus_each and not await devices.take(parts):
            continue
        pairs = [(job, _running(job, asked, now, its)) for job, its in zip(some, given, strict=True)]
        return await _run(database, pairs)


async def _bounded(database: MongoDatabase, asked: Claim) -> tuple[Reservation, int] | None:
    """Where the module is bounded, who of it runs or is about to, and how many more may."""
    if asked.module_most is None:
        return None
    places = Reservation(database, f"module {asked.module}")
    await places.read()
    running = await database.find(JOBS, {"module": asked.module, "place": RUNNING}, fields=("_id",))
    everybody = {job["_id"] for job in running} | set(places.held)
    return places, asked.module_most - len(everybody)


def _running(job: Document, asked: Claim, now: float, devices: Sequence[str] = ()) -> Document:
    return changed(
        {**job, "attempt": job["attempt"] + 1},
        now,
        asked.owner,
        state=State.RUNNING.value,
        owner=asked.owner,
        scope=asked.scope,
        started_at=now,
        ended_at=None,
        deadline=now + asked.deadline_s,
        not_before=None,
        cancelling=0,
        devices=text(list(devices)),
        revision=job["revision"] or asked.revision,
        route=asked.route or route_of(job),
    )


async def _run(database: MongoDatabase, pairs: Sequence[tuple[Document, Document]]) -> list[Document]:
    done = await database.swap_many(JOBS, pairs)
    return [new for (_, new), won in zip(pairs, done, strict=True) if won]
