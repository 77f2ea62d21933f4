"""Whose jobs are whose: what owners run, what becomes of the jobs of those that are gone, and what is overdue."""

import asyncio
from collections.abc import Mapping, Sequence
from itertools import pairwise

from ion.adapters.ledger.mongo_registry import forget_owner
from ion.adapters.ledger.mongo_rows import DEFERRED, RELAY, RUNNING, altered, changed, job_of
from ion.adapters.mongo.database import Document, MongoDatabase
from ion.adapters.mongo.schema import BY_MODULE, BY_OWNER, JOBS, LINES, OWNERS
from ion.model.job import Job
from ion.ports.ledger import Owner

_STEP = 500


async def adopt(database: MongoDatabase, dead: Sequence[str], owner: str, now: float) -> tuple[Sequence[Job], bool]:
    """Takes over from dead owners; the running jobs, and whether committed ones became nobody's."""
    adopted: list[Document] = []
    freed = False
    for one in dead:
        if one == owner:
            continue
        freed |= await disown_committed(database, one)
        note = f"taken over from {one}"
        while jobs := await database.find(JOBS, {"place": RUNNING, "owner": one}, most=_STEP):
            pairs = [(job, changed(job, now, owner, note, owner=owner)) for job in jobs]
            done = await database.swap_many(JOBS, pairs)
            adopted += [new for (_, new), won in zip(pairs, done, strict=True) if won]
        await forget_owner(database, one)  # last: who is killed before leaves the rest to the next
    return [job_of(job) for job in sorted(adopted, key=lambda job: str(job["seq"]))], freed


async def disown_committed(database: MongoDatabase, owner: str) -> bool:
    """Makes an owner's committed jobs nobody's, for any relay to take."""
    freed = False
    for place in (RELAY, DEFERRED):
        while jobs := await database.find(JOBS, {"place": place, "owner": owner}, most=_STEP):
            freed |= any(await database.swap_many(JOBS, [(job, altered(job, owner="")) for job in jobs]))
    return freed


async def disown_strays(database: MongoDatabase, owners: Sequence[str]) -> bool:
    """The same for owners that are not there: one that was taken for dead may have committed since, and died then."""
    freed = [await disown_committed(database, stray) for stray in await _strays(database, owners, (RELAY, DEFERRED))]
    return any(freed)


async def stray_owners(database: MongoDatabase, owners: Sequence[str]) -> Sequence[Owner]:
    """Owners that are not there and run jobs: a claim of theirs took effect after they were taken for dead."""
    found = await _strays(database, owners, (RUNNING,))
    return [Owner(id=key, scope=found[key], host="", pid=0) for key in sorted(found)]


async def _strays(database: MongoDatabase, owners: Sequence[str], places: Sequence[str]) -> Mapping[str, str]:
    """Who owns jobs in these places and is not among the owners, with the scope of one of the jobs."""
    known = sorted({*owners, ""})
    # The stretches of the index between those that are there: an owner with a thousand jobs is leapt over.
    gaps = [{"$gt": low, "$lt": high} for low, high in pairwise(known)] + [{"$gt": known[-1]}]
    reads = [
        database.find(JOBS, {"place": place, "owner": gap}, order=BY_OWNER, most=_STEP, fields=("owner", "scope"))
        for place in places
        for gap in gaps
    ]
    strays = {job["owner"]: job["scope"] for jobs in await asyncio.gather(*reads) for job in jobs}
    present = await database.find_by_id(OWNERS, list(strays)) if strays else {}  # some may have begun to beat since
    return {owner: scope for owner, scope in strays.items() if owner not in present}


async def retire(database: MongoDatabase, owner: str) -> bool:
    """Removes an owner; whether committed jobs became nobody's.

    While it still has running jobs its document stays, and its beat stands still: that is how others learn whom to
    adopt.
    """
    freed = await disown_committed(database, owner)
    if not await database.find(JOBS, {"place": RUNNING, "owner": owner}, most=1, fields=("_id",)):
        await forget_owner(database, owner)
    return freed


async def running(database: MongoDatabase, owner: str) -> Sequence[Job]:
    """The running jobs of an owner."""
    return [job_of(job) for job in await database.find(JOBS, {"place": RUNNING, "owner": owner})]


async def overdue(database: MongoDatabase, most: int, now: float) -> Sequence[Job]:
    """Running jobs past their deadline: a stretch of the index of each module that ever had a job."""
    reads = [
        database.find(
            JOBS, {"module": line["_id"], "place": RUNNING, "rank": {"$lte": now}}, order=BY_MODULE, most=most
        )
        for line in await database.find(LINES, {})
    ]
    late = [job for jobs in await asyncio.gather(*reads) for job in jobs]
    return [job_of(job) for job in sorted(late, key=lambda job: float(job["rank"]))[:most]]
