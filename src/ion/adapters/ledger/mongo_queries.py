"""Reading jobs: single ones, pages of a listing, and what waits.

A listing walks the index that narrows most, in steps of a few hundred documents of which only the leading fields are
read; what those say narrows further. So a rare match in a million jobs holds nobody up.
"""

import asyncio
import re
from collections.abc import Sequence
from heapq import merge
from typing import Any, NamedTuple

from ion.adapters.ledger.mongo_rows import DUE, LATER, PLACES, STATES, WITHHELD, job_of
from ion.adapters.ledger.verbs import load_of
from ion.adapters.mongo.database import Document, MongoDatabase
from ion.adapters.mongo.schema import BY_EVENT, BY_MODULE, BY_SEQ, IN_FLOW, IN_PLACE, JOBS, LINES, Index
from ion.errors import InvalidError, NotFoundError
from ion.model.job import Job, State
from ion.ports.ledger import JobFilter, JobPage, Load

_STEP = 500
_PREFIX_LEAST = 4
_LAST = "\U0010ffff"
_POSITION = re.compile(r"[0-9a-f]{20}")
_FIELDS = ("seq", "module", "flow", "event_id", "place", "owner")


async def get(database: MongoDatabase, key: str) -> Job:
    """See `Ledger.get`."""
    document = await database.get(JOBS, key)
    if document is None:
        raise NotFoundError(f"there is no job {key}; `ion job list` shows those there are")
    return job_of(document)


async def query(database: MongoDatabase, which: JobFilter, most: int, after: str | None) -> JobPage:
    """A page of jobs in the order of admission; see `Ledger.query`."""
    if after is not None and not _POSITION.fullmatch(after):
        raise InvalidError(f"{after!r} is not where a page of jobs ended; give the last page's `after`")
    position = after or ""
    found: list[Document] = []
    drives = _driving(which)
    step = max(_STEP, most + 1)
    more = True
    while more and len(found) <= most:
        matching, position, more = await _step(database, which, drives, position, step)
        found += matching
    page = found[:most]
    jobs = await database.find_by_id(JOBS, [document["_id"] for document in page])
    return JobPage(
        # One that was forgotten meanwhile is no longer in the listing.
        jobs=tuple(job_of(jobs[document["_id"]]) for document in page if document["_id"] in jobs),
        after=page[-1]["seq"] if page and len(found) > most else None,
    )


class _Drive(NamedTuple):
    """What a query walks along: a condition, and the index that has it in order; none where the matches are few."""

    which: dict[str, Any]
    order: Index


def _driving(which: JobFilter) -> list[_Drive]:
    """The index to walk; one stretch for each place where states narrow most."""
    if len(which.id_prefix) >= _PREFIX_LEAST:
        return [_Drive({"_id": {"$gte": which.id_prefix, "$lt": which.id_prefix + _LAST}}, ())]
    if which.event_id:
        return [_Drive({"event_id": which.event_id}, BY_EVENT)]
    if which.correlation_id:
        return [_Drive({"flow": which.correlation_id}, IN_FLOW)]
    if which.states:
        places = [place for state in dict.fromkeys(which.states) for place in PLACES[state]]
        return [_Drive({"place": place}, IN_PLACE) for place in places]
    return [_Drive({}, BY_SEQ)]


async def _step(
    database: MongoDatabase, which: JobFilter, drives: Sequence[_Drive], position: str, step: int
) -> tuple[list[Document], str, bool]:
    """The matches among the next candidates, how far this looked, and whether there may be more."""
    scans = await asyncio.gather(*(_scan(database, drive, position, step) for drive in drives))
    # Each scan may stop at another place: only up to the nearest of them is everything known.
    horizon = min((scan[-1]["seq"] for scan in scans if len(scan) == step), default=None)
    candidates = list(merge(*scans, key=lambda document: str(document["seq"])))
    if horizon is not None:
        candidates = [document for document in candidates if document["seq"] <= horizon]
    matching = [document for document in candidates if _matches(which, document)]
    return matching, candidates[-1]["seq"] if candidates else position, horizon is not None


async def _scan(database: MongoDatabase, drive: _Drive, position: str, step: int) -> list[Document]:
    if drive.order:
        which = {**drive.which, "seq": {"$gt": position}}
        return await database.find(JOBS, which, order=drive.order, most=step, fields=_FIELDS)
    found = await database.find(JOBS, drive.which, fields=_FIELDS)
    return sorted((one for one in found if one["seq"] > position), key=lambda one: str(one["seq"]))[:step]


def _matches(which: JobFilter, document: Document) -> bool:
    return (
        document["_id"].startswith(which.id_prefix)
        and which.module in ("", document["module"])
        and which.correlation_id in ("", document["flow"])
        and which.event_id in ("", document["event_id"])
        and which.owner in ("", document["owner"])
        and (not which.states or STATES[document["place"]] in which.states)
    )


_LOADED = (State.WAITING, State.RUNNING, State.COMMITTED, State.DEAD, State.CANCELLED)


async def load(database: MongoDatabase, module: str, most: int, now: float) -> Load:
    """A module's jobs by state; see `Ledger.load`."""
    places = [place for state in _LOADED for place in PLACES[state]]
    counts = await asyncio.gather(*(_counted(database, module, place, most) for place in places))
    jobs: dict[State, int] = {}
    for place, (count, _) in zip(places, counts, strict=True):
        jobs[STATES[place]] = jobs.get(STATES[place], 0) + count
    waiting = PLACES[State.WAITING]
    return load_of(jobs, [at for place, (_, at) in zip(places, counts, strict=True) if place in waiting], now)


async def _counted(database: MongoDatabase, module: str, place: str, most: int) -> tuple[int, float | None]:
    """How many of a module's jobs stand in a place, up to `most`, and when the first of them was admitted."""
    groups = await database.aggregate(
        JOBS,
        [
            {"$match": {"module": module, "place": place}},
            {"$limit": most},
            {"$group": {"_id": None, "jobs": {"$sum": 1}, "oldest": {"$min": "$admitted_at"}}},
        ],
    )
    return (groups[0]["jobs"], groups[0]["oldest"]) if groups else (0, None)


async def waiting(database: MongoDatabase, now: float) -> dict[str, float | None]:
    """Modules with waiting jobs and when the next is due; one index step a module, however many jobs wait."""
    modules = [document["_id"] for document in await database.find(LINES, {})]
    heads = await asyncio.gather(*(_head(database, module) for module in modules))
    return {
        module: None if head["place"] == WITHHELD else 0.0 if head["place"] == DUE else max(0.0, head["rank"] - now)
        for module, head in sorted(zip(modules, heads, strict=True), key=lambda pair: str(pair[0]))
        if head is not None
    }


async def _head(database: MongoDatabase, module: str) -> Document | None:
    """The first of a module's waiting jobs: due ones before delayed ones before those that are held."""
    which = {"module": module, "place": {"$in": [DUE, LATER, WITHHELD]}}
    found = await database.find(JOBS, which, order=BY_MODULE, most=1, fields=("place", "rank"))
    return found[0] if found else None
