"""What happens to jobs that are in the ledger: each change is one compare-and-set of one document.

What a change expects is decided by a function of the document; a caller that was too late changes nothing and is told
so. The function may see a remembered document, so what it answers counts only where the compare-and-set succeeded, or
where the document was read just now.
"""

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from ion.adapters.ledger.mongo_flows import recheck
from ion.adapters.ledger.mongo_registry import entry_of, note_failure, note_success, registry
from ion.adapters.ledger.mongo_rows import DEFERRED, RELAY, altered, changed, ended, job_of
from ion.adapters.ledger.rows import failure_text, text
from ion.adapters.ledger.verbs import reason
from ion.adapters.mongo.database import Document, MongoDatabase
from ion.adapters.mongo.schema import BY_OWNER, FLOWS, JOBS
from ion.model.job import Failure, FailureClass, Job, State
from ion.model.manifest import ManifestRef
from ion.ports.ledger import DEFER_MOST_S, Bury, Cancel, Control, GiveBack, Outcome, Retry

_DECIDED = (State.COMMITTED, State.RELEASED, State.SUPERSEDED, State.EXPIRED)
_STEP = 500
_failures: msgspec.json.Decoder[dict[str, int]] = msgspec.json.Decoder(dict[str, int])


async def change(
    database: MongoDatabase, key: str, decide: Callable[[Document], Document | None]
) -> tuple[Document | None, Document | None]:
    """Changes a job as `decide` says; the document before and after, None where there is none or nothing changed."""
    old = database.remembered(JOBS, key)
    fresh = old is None
    while True:
        if fresh:
            old = await database.get(JOBS, key)
        if old is None:
            return None, None
        new = decide(old)
        if new is not None and await database.swap(JOBS, old, new):
            return old, new
        if new is None and fresh:
            return old, None
        fresh = True


async def commit(
    database: MongoDatabase, key: str, attempt: int, manifest: ManifestRef, now: float
) -> tuple[bool, str]:
    """The one compare-and-set that decides; see `Ledger.commit`. Tells the job's owner too."""

    def decide(job: Document) -> Document | None:
        if job["state"] != State.RUNNING or job["attempt"] != attempt:
            return None
        return changed(
            job,
            now,
            job["owner"],
            **ended(now),
            state=State.COMMITTED.value,
            execution=manifest.execution,
            manifest=text(manifest),
            cursor=0,
            failure=None,
            troubled_at=None,
            log=manifest.log or job["log"],
        )

    old, new = await change(database, key, decide)
    if new is not None:
        await note_success(database, new["module"])
        return True, new["owner"]
    if old is None:
        return False, ""
    same = (old["attempt"], old["execution"]) == (attempt, manifest.execution)
    return old["state"] in _DECIDED and same, old["owner"]


async def settle(
    database: MongoDatabase, key: str, attempt: int, owner: str, outcome: Outcome, *, log: str, now: float
) -> State | None:
    """Ends a running attempt without results; the new state, or None where the guard did not hold."""
    remembered = database.remembered(JOBS, key) or await database.get(JOBS, key)
    if remembered is None:
        return None
    waits = isinstance(outcome, Retry | GiveBack)
    flow = await database.get(FLOWS, remembered["flow"]) if waits else None
    control = Control(flow["control"]) if flow else Control.NONE
    failure = outcome.failure if isinstance(outcome, Retry | Bury) else None

    def decide(job: Document) -> Document | None:
        if (job["state"], job["attempt"], job["owner"]) != (State.RUNNING, attempt, owner):
            return None
        state = _settled(outcome, cancelled=bool(job["cancelling"]) or control is Control.CANCELLED)
        fields = ended(now)
        if state is State.WAITING:
            delay_s = outcome.delay_s if isinstance(outcome, Retry) else 0.0
            fields["hold"] = "flow" if control is Control.PAUSED else ""
            fields["not_before"] = now + delay_s if delay_s > 0 else None
            fields["ended_at"] = job["ended_at"]
        fields |= _counting(job, failure, now)
        return changed(job, now, owner, reason(outcome), state=state.value, log=log or job["log"], **fields)

    _, new = await change(database, key, decide)
    if new is None:
        return None
    state = State(new["state"])
    if state is State.WAITING and flow is not None:
        await recheck(database, {flow["_id"]: flow}, now)
    await note_failure(database, new["module"], failure, now, died=state is State.DEAD)
    return state


def _settled(outcome: Outcome, *, cancelled: bool) -> State:
    match outcome:
        case Bury():
            return State.DEAD
        case Cancel():
            return State.CANCELLED
        case Retry() | GiveBack():
            # Queueing it again would lose what a person asked for.
            return State.CANCELLED if cancelled else State.WAITING


def _counting(job: Document, failure: Failure | None, now: float) -> dict[str, object]:
    if failure is None:
        return {}
    failures = _failures.decode(job["failures"])
    failures[failure.kind] = failures.get(failure.kind, 0) + 1
    troubled = failure.kind is FailureClass.INFRASTRUCTURE
    began = now if job["troubled_at"] is None else job["troubled_at"]
    return {
        "failure": failure_text(failure),
        "failures": text(failures),
        "troubled_at": began if troubled else None,
    }


async def retime(database: MongoDatabase, key: str, attempt: int, owner: str, started_at: float) -> bool:
    """Moves a running attempt to when it really began; see `Ledger.retime`."""

    def decide(job: Document) -> Document | None:
        if (job["state"], job["attempt"], job["owner"]) != (State.RUNNING, attempt, owner):
            return None
        return altered(job, started_at=started_at, deadline=job["deadline"] - job["started_at"] + started_at)

    return (await change(database, key, decide))[1] is not None


# ---- the relay --------------------------------------------------------------------------------------------------


async def unreleased(database: MongoDatabase, most: int, owner: str, now: float) -> Sequence[Job]:
    """The oldest committed jobs that are due and the owner's or nobody's; see `Ledger.unreleased`."""
    times = ({"$lte": now}, {"$gt": now + DEFER_MOST_S})
    reads = []
    for one in (owner, ""):
        reads.append(database.find(JOBS, {"place": RELAY, "owner": one}, order=BY_OWNER, most=most))
        deferred = {"place": DEFERRED, "owner": one}
        reads += [database.find(JOBS, {**deferred, "rank": at}, order=BY_OWNER, most=most) for at in times]
    found = [job for jobs in await asyncio.gather(*reads) for job in jobs]
    oldest = sorted(found, key=lambda job: str(job["seq"]))[:most]
    stray = [(job, altered(job, owner=owner)) for job in oldest if job["owner"] != owner]
    done = await database.swap_many(JOBS, stray)
    taken = {new["_id"]: new for (_, new), won in zip(stray, done, strict=True) if won}
    return [job_of(taken.get(job["_id"], job)) for job in oldest if job["owner"] == owner or job["_id"] in taken]


async def advance(database: MongoDatabase, key: str, owner: str, cursor: int) -> bool:
    """Raises the relay's cursor; see `Ledger.advance`."""

    def decide(job: Document) -> Document | None:
        if (job["state"], job["owner"]) != (State.COMMITTED, owner):
            return None
        return altered(job, cursor=max(job["cursor"], cursor))

    return (await change(database, key, decide))[1] is not None


async def released(database: MongoDatabase, key: str, owner: str, now: float) -> tuple[bool, bool]:
    """`committed → released`; see `Ledger.released`. Also whether it was now."""

    def decide(job: Document) -> Document | None:
        if (job["state"], job["owner"]) != (State.COMMITTED, owner):
            return None
        return changed(job, now, owner, state=State.RELEASED.value, not_before=None)

    old, new = await change(database, key, decide)
    return new is not None or (old is not None and old["state"] == State.RELEASED), new is not None


async def defer(database: MongoDatabase, key: str, owner: str, delay_s: float, *, note: str, now: float) -> bool:
    """A committed job's relay is put off; see `Ledger.defer`."""

    def decide(job: Document) -> Document | None:
        if (job["state"], job["owner"]) != (State.COMMITTED, owner):
            return None
        return changed(job, now, owner, note, not_before=now + min(delay_s, DEFER_MOST_S))

    return (await change(database, key, decide))[1] is not None


# ---- by people --------------------------------------------------------------------------------------------------


async def bury(database: MongoDatabase, key: str, failure: Failure, actor: str, now: float) -> bool:
    """`waiting → dead`; see `Ledger.bury`. A module that is applied in this very moment finds its job dead: as if the
    burial had come first.
    """
    job = await database.get(JOBS, key)
    if job is None or entry_of(await registry(database), job["module"]) is not None:
        return False

    def decide(job: Document) -> Document | None:
        if job["state"] != State.WAITING:
            return None
        note = f"{failure.kind}: {failure.message}"
        return changed(job, now, actor, note, **ended(now), state=State.DEAD.value, failure=failure_text(failure))

    return (await change(database, key, decide))[1] is not None


async def cancel(database: MongoDatabase, key: str, actor: str, now: float) -> State | None:
    """Cancels a waiting job, marks a running one; the state it was in, or None where it was neither."""

    def decide(job: Document) -> Document | None:
        if job["state"] == State.WAITING:
            return changed(job, now, actor, "cancelled", **ended(now), state=State.CANCELLED.value)
        if job["state"] == State.RUNNING and not job["cancelling"]:
            return changed(job, now, actor, "to be cancelled", cancelling=1)
        return None

    old, new = await change(database, key, decide)
    if old is None:
        return None
    state = State(old["state"])
    return state if new is not None or state is State.RUNNING else None
