"""What becomes of jobs after their end; see `ion.ports.ledger_keeping`."""

from collections.abc import Sequence

import msgspec

from ion.adapters.ledger.mongo_admission import Turns, check_runnable, documents_of
from ion.adapters.ledger.mongo_flows import jobs_of_flows, open_jobs, recheck
from ion.adapters.ledger.mongo_jobs import change
from ion.adapters.ledger.mongo_rows import PLACES, altered, changed
from ion.adapters.ledger.rows import text
from ion.adapters.mongo.database import Document, MongoDatabase
from ion.adapters.mongo.schema import BY_EVENT, FLOWS, IN_FLOW, JOBS
from ion.errors import ConflictError
from ion.model.event import Event
from ion.model.job import OPEN_STATES, Hold, Job, State
from ion.model.manifest import ManifestRef
from ion.ports.ledger import Changes
from ion.ports.ledger_keeping import KeepingLedger

_NONE = Changes(0)
_GIVES_WAY = (State.RELEASED, State.DEAD, State.CANCELLED)
_EXPIRES = (*_GIVES_WAY, State.SUPERSEDED)
_event = msgspec.json.Decoder(Event)
_manifest = msgspec.json.Decoder(ManifestRef)


class MongoKeeping(KeepingLedger):
    """The part of the MongoDB ledger that looks after what has ended."""

    _database: MongoDatabase
    _turns: Turns
    _max_jobs: int

    async def rerun(self, job: Job, needs: Sequence[str], actor: str) -> bool:
        new = await rerun(self._database, self._turns, job, needs, actor, max_jobs=self._max_jobs)
        self._database.announce(Changes.DUE if new else _NONE)
        return new

    async def supersede(self, job: str, by: str) -> bool:
        return await supersede(self._database, job, by)

    async def expire(self, job: str, actor: str) -> bool:
        return await expire(self._database, job, actor)

    async def drop_log(self, job: str, actor: str) -> bool:
        return await drop_log(self._database, job, actor)

    async def strip(self, job: str) -> bool:
        return await strip(self._database, job)

    async def forget(self, correlation_id: str, most: int) -> int:
        return await forget(self._database, correlation_id, most)


async def rerun(
    database: MongoDatabase, turns: Turns, job: Job, needs: Sequence[str], actor: str, *, max_jobs: int
) -> bool:
    """Admits a further run; see `KeepingLedger.rerun`.

    The run is added `proving`: it is seen by who looks for readers, and claimed by nobody. Then what it needs is looked
    at: whoever expires that later sees the run. Only then is it made due. One that was left half-way is taken up by
    whoever asks for it next; of two who ask at once, the slower one fails to make it due.
    """
    now = database.now()
    flow = await check_runnable(database, job.id, job.module, job.correlation_id, now)
    known = await database.get(JOBS, job.id)
    if known is not None and not known.get("proving"):
        return False
    await _check_runs(database, job)
    if known is None:
        (document,), places = await documents_of(database, turns, [job], now, max_jobs)
        flow = places[job.correlation_id].flow
        proving = altered(document, hold=Hold.HOPS.value, proving={"hold": document["hold"]})
    else:
        proving = altered(known)
    if not await database.swap(JOBS, known or {}, proving):
        return False
    try:
        await _check_runs(database, job)
        await _check_needs(database, job, needs)
    except ConflictError:
        await _withdraw(database, proving)
        raise
    new = changed(proving, now, actor, f"run {job.run}", hold=proving["proving"]["hold"], proving=None)
    if not await database.swap(JOBS, proving, new):
        return False
    await recheck(database, {flow["_id"]: flow}, now)
    return True


async def _check_runs(database: MongoDatabase, job: Job) -> None:
    """Raises ConflictError where another run of the same is open, or the latest has given way."""
    runs = [
        run
        for run in await database.find(JOBS, {"event_id": job.event.id}, order=BY_EVENT)
        if run["module"] == job.module and run["_id"] != job.id
    ]
    for run in runs:
        if run["state"] in OPEN_STATES:
            raise ConflictError(
                f"job {run['_id']} is {run['state']}, a run of the same; wait for its end, or cancel it"
            )
    last = max(runs, key=lambda run: int(run["run"]), default=None)
    if last is not None and last["state"] == State.SUPERSEDED:
        raise ConflictError(f"job {last['_id']} was superseded with what it came of; run the later one again")


async def _check_needs(database: MongoDatabase, job: Job, needs: Sequence[str]) -> None:
    for key, document in (await database.find_by_id(JOBS, list(needs))).items():
        if document["state"] == State.EXPIRED:
            raise ConflictError(
                f"job {job.id} of module {job.module} would need files of the job {key}, which has expired; "
                "raise the root event anew instead"
            )


async def _withdraw(database: MongoDatabase, document: Document) -> None:
    await _remove(database, [document])


async def _remove(database: MongoDatabase, documents: Sequence[Document]) -> int:
    """Removes jobs that are still as they were read."""
    from pymongo import DeleteOne

    if not documents:
        return 0
    keys = [{"_id": job["_id"], "shard": job["shard"], "rev": job["rev"]} for job in documents]
    for job in documents:
        database.forget(JOBS, job["_id"])
    deletes = [DeleteOne(key) for key in keys]
    result = await database.call(lambda: database.collection(JOBS).bulk_write(deletes, ordered=False))
    removed: int = result.deleted_count
    return removed


async def supersede(database: MongoDatabase, key: str, by: str) -> bool:
    """A later run takes a job's place; see `KeepingLedger.supersede`."""

    def decide(job: Document) -> Document | None:
        if job["state"] not in _GIVES_WAY:
            return None
        return changed(job, database.now(), by, f"superseded by {by}", state=State.SUPERSEDED.value)

    return _became(await change(database, key, decide), State.SUPERSEDED)


async def expire(database: MongoDatabase, key: str, actor: str) -> bool:
    """What a job left may be deleted; see `KeepingLedger.expire`.

    A job of its flow that opens between the look at the flow and the change is as one that opens right after it.
    """
    job = database.remembered(JOBS, key) or await database.get(JOBS, key)
    if job is None:
        return False
    quiet = (await open_jobs(database, job["flow"])).total == 0

    def decide(job: Document) -> Document | None:
        if not quiet or job["state"] not in _EXPIRES:
            return None
        return changed(job, database.now(), actor, state=State.EXPIRED.value)

    return _became(await change(database, key, decide), State.EXPIRED)


def _became(outcome: tuple[Document | None, Document | None], state: State) -> bool:
    old, new = outcome
    return new is not None or (old is not None and old["state"] == state)


async def drop_log(database: MongoDatabase, key: str, actor: str) -> bool:
    """A job names its log no longer; see `KeepingLedger.drop_log`."""

    def decide(job: Document) -> Document | None:
        if job["state"] in OPEN_STATES or not job["log"]:
            return None
        manifest = job["manifest"]
        if manifest is not None:
            manifest = text(msgspec.structs.replace(_manifest.decode(manifest), log=""))
        return changed(job, database.now(), actor, "its log has expired", log="", manifest=manifest)

    old, new = await change(database, key, decide)
    return new is not None or (old is not None and old["state"] not in OPEN_STATES)


async def strip(database: MongoDatabase, key: str) -> bool:
    """Leaves a tombstone; see `KeepingLedger.strip`."""

    def decide(job: Document) -> Document | None:
        if job["state"] != State.EXPIRED or job["log"]:
            return None
        event = msgspec.structs.replace(_event.decode(job["event"]), files=(), data={}, dataref="")
        return altered(job, failure=None, failures="{}", cursor=0, manifest=None, event=text(event))

    return (await change(database, key, decide))[1] is not None


async def forget(database: MongoDatabase, flow: str, most: int) -> int:
    """Removes tombstones; see `KeepingLedger.forget`. The flow's document goes only if nobody admits to it now."""
    document = await database.get(FLOWS, flow)
    removed = await _remove(database, await _tombstones(database, flow, most))
    if document is not None and document["reserved"] and not (await jobs_of_flows(database, [flow]))[flow]:
        key = {"_id": flow, "rev": document["rev"]}
        await database.call(lambda: database.collection(FLOWS).delete_one(key))
        database.forget(FLOWS, flow)
    return removed


async def _tombstones(database: MongoDatabase, flow: str, most: int) -> list[Document]:
    """The oldest of a flow, as far as guards need them; read in the order of an index."""
    fields, found, after = ("shard", "rev", "seq", "place", "log", "manifest", "failure"), list[Document](), ""
    while len(found) < most:
        which = {"flow": flow, "seq": {"$gt": after}}
        page = await database.find(JOBS, which, order=IN_FLOW, most=most, fields=fields)
        found += filter(_is_tombstone, page)
        if len(page) < most:
            break
        after = page[-1]["seq"]
    return found[:most]


def _is_tombstone(job: Document) -> bool:
    names = job["log"] or job["manifest"] is not None or job["failure"] is not None
    return job["place"] == PLACES[State.EXPIRED][0] and not names
