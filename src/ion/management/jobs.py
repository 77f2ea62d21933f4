"""What a person does with single jobs: find one by the beginning of its id, look at it, read its log, try it again.

Plain functions on ports: the command line and the management service call the same ones. None prints, and none decides
what the ledger has to decide: a guarded change that comes too late is refused with the state that it met.
"""

import contextlib
import itertools
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from ion.errors import ConflictError, InvalidError, NotFoundError
from ion.management.run import jobs_of
from ion.model.job import Hold, Job, State
from ion.model.manifest import Manifest, Piece, attempt_prefix, log_pieces
from ion.ports.blobs import Blobs
from ion.ports.ledger import Changes, JobFilter, Ledger

CANDIDATES_SHOWN = 5
CHUNK = 64 * 1024
LOOK_AGAIN_S = 0.25
"""How often a growing log is looked at: a file tells nobody that it grew."""

_UNENDED = frozenset({State.WAITING, State.RUNNING})
_RETRYABLE = frozenset({State.DEAD, State.CANCELLED})


async def find_job(ledger: Ledger, prefix: str) -> Job:
    """The job with that id, or the only one whose id begins so.

    Raises:
        NotFoundError: there is none. InvalidError: there are several; the message names some.
    """
    beginning = prefix.strip().lower()
    if not beginning:
        raise InvalidError("a job's id is empty: give the id, or the beginning of one")
    try:
        return await ledger.get(beginning)
    except NotFoundError:
        page = await ledger.query(JobFilter(id_prefix=beginning), most=CANDIDATES_SHOWN + 1)
    if not page.jobs:
        raise NotFoundError(f"there is no job '{prefix}': `ion job list` shows those there are")
    if len(page.jobs) > 1:
        raise InvalidError(several("jobs", prefix, [f"{job.id} ({job.module})" for job in page.jobs]))
    return page.jobs[0]


def several(what: str, prefix: str, found: Sequence[str]) -> str:
    """The sentence for a prefix that fits more than one; `found` is at most one more than are named."""
    named = ", ".join(found[:CANDIDATES_SHOWN])
    more = " and more" if len(found) > CANDIDATES_SHOWN else ""
    return f"several {what} begin with '{prefix}': {named}{more}; give more of the id"


async def latest_jobs(ledger: Ledger, which: JobFilter, most: int) -> tuple[Sequence[Job], int]:
    """The `most` jobs admitted last, the newest at the end, and how many the filter fits in all.

    Superseded jobs are left out unless the filter names their state. A ledger lists the oldest first, so this reads all
    that fit: some seconds where they are hundreds of thousands.
    """
    latest: deque[Job] = deque(maxlen=most)
    total = 0
    async for job in jobs_of(ledger, which):
        if not job.gave_way or job.state in which.states:
            latest.append(job)
            total += 1
    return tuple(latest), total


async def results_of(job: Job, blobs: Blobs) -> Manifest | None:
    """What the job produced, or None before its commit. Raises NotFoundError if it was removed since."""
    if job.manifest is None:
        return None
    content = job.manifest.inline.encode() or await blobs.get_bytes(job.manifest.blob)
    return msgspec.json.decode(content, type=Manifest)


async def raised_nothing(job: Job, ledger: Ledger) -> bool:
    """Whether the job succeeded without raising an event although its module declares some: often a slip."""
    if job.manifest is None or job.manifest.events or not job.revision:
        return False
    return bool((await ledger.revision(job.module, job.revision)).module.emits)


# ---- logs -------------------------------------------------------------------------------------------------------


def spooled_log(work: Path, job: str, attempt: int) -> Path | None:
    """The file into which an attempt logs that this host runs (`work/JOB-ATTEMPT-*/log`) or follows elsewhere.

    None before it is made, and after it was stored and cleared away.
    """
    elsewhere = (work.parent.glob(f"{place}/*/{job}-{attempt}-*/log") for place in ("kubernetes", "azurebatch"))
    logs = itertools.chain(work.glob(f"{job}-{attempt}-*/log"), *elsewhere)
    found = [(path.stat().st_mtime_ns, path) for path in logs]
    return max(found)[1] if found else None


def stored_log(job: Job) -> str:
    """The blob path of the log of the job's last attempt, empty if none is stored."""
    return (job.manifest.log if job.manifest else "") or job.log


async def read_log(job: Job, *, blobs: Blobs, work: Path | None, start: int = 0) -> AsyncIterator[bytes]:
    """The log of the job's last attempt from byte `start`, as far as it goes by now; nothing if there is none.

    A negative `start` counts from the end, as far as there is so much. `work` is where attempts run on this host, if
    any do.

    Raises:
        NotFoundError: it was stored, and removed since.
    """
    start = await _position(job, start, blobs, work)
    if job.state is State.RUNNING:
        if (file := spooled_log(work, job.id, job.attempt) if work else None) is not None:
            for chunk in _from_file(file, start):
                yield chunk
            return
        for piece in await _pieces(job, blobs):
            if piece.last > start:
                async for chunk in blobs.read(piece.path, start=max(piece.first, start) - piece.at):
                    yield chunk
    elif path := stored_log(job):
        async for chunk in blobs.read(path, start=start):
            yield chunk


async def _position(job: Job, start: int, blobs: Blobs, work: Path | None) -> int:
    """The byte that `start` means."""
    if start >= 0:
        return start
    if job.state is not State.RUNNING:
        path = stored_log(job)
        return max(0, (await blobs.info(path)).size + start) if path else 0
    file = spooled_log(work, job.id, job.attempt) if work else None
    if file is None:
        return max(0, sum(piece.last - piece.first for piece in await _pieces(job, blobs)) + start)
    with contextlib.suppress(FileNotFoundError):
        return max(0, file.stat().st_size + start)
    return 0


async def _pieces(job: Job, blobs: Blobs) -> list[Piece]:
    """What an attempt elsewhere has logged so far."""
    return log_pieces([blob.path async for blob in blobs.list(attempt_prefix(job.id, job.attempt))])


def _from_file(file: Path, start: int) -> Iterator[bytes]:
    """The attempt may end, and its folder go, between the look and the opening: then nothing comes from here."""
    with contextlib.suppress(FileNotFoundError), file.open("rb") as stream:
        stream.seek(start)
        while chunk := stream.read(CHUNK):
            yield chunk


async def follow_log(
    job: str, *, ledger: Ledger, blobs: Blobs, work: Path | None, start: int = 0
) -> AsyncIterator[bytes]:
    """The log as it grows, over all attempts from the present one, until the job has ended.

    `start` is the first byte of the present one's that is given, as in `read_log`.
    """
    first = await ledger.get(job)
    attempt, sent = first.attempt, await _position(first, start, blobs, work)
    async with ledger.listen(Changes.ANY) as news:
        while True:
            now = await ledger.get(job)
            if now.attempt != attempt:
                attempt, sent = now.attempt, 0
            async for chunk in read_log(now, blobs=blobs, work=work, start=sent):
                sent += len(chunk)
                yield chunk
            if now.state not in _UNENDED:
                return
            await news.wait(LOOK_AGAIN_S)


# ---- by hand ----------------------------------------------------------------------------------------------------


async def retry_jobs(ledger: Ledger, prefixes: Sequence[str], actor: str) -> Sequence[Job]:
    """Queues dead or cancelled jobs again, and frees those that a guard holds.

    All are looked up and checked before the first is changed.

    Returns:
        The jobs as they were found.

    Raises:
        ConflictError: one is in another state, its flow is cancelled, or its module is gone.
    """
    rule = "only dead and cancelled jobs, and those held by a guard, can be retried"
    jobs = await _found(ledger, prefixes, _is_retryable, rule)
    for job in jobs:
        if not await ledger.requeue(job.id, actor):
            raise ConflictError(f"job {job.id} changed meanwhile and was not queued: look at it with `ion job show`")
    return jobs


async def cancel_jobs(ledger: Ledger, prefixes: Sequence[str], actor: str) -> Sequence[Job]:
    """Cancels waiting jobs and has running ones ended; all are looked up and checked before the first is changed.

    Returns:
        The jobs as they were found.

    Raises:
        ConflictError: one has ended, or its results are decided already.
    """
    rule = "only waiting and running jobs can be cancelled"
    jobs = await _found(ledger, prefixes, lambda job: job.state in _UNENDED, rule)
    for job in jobs:
        if not await ledger.cancel(job.id, actor):
            raise ConflictError(f"job {job.id} ended meanwhile and was not cancelled: look at it with `ion job show`")
    return jobs


def _is_retryable(job: Job) -> bool:
    return job.state in _RETRYABLE or (job.state is State.WAITING and job.hold in (Hold.HOPS, Hold.JOBS))


async def _found(ledger: Ledger, prefixes: Sequence[str], possible: Callable[[Job], bool], rule: str) -> Sequence[Job]:
    """The jobs of these ids, each once, if it is possible with every one of them."""
    jobs = {job.id: job for job in [await find_job(ledger, prefix) for prefix in prefixes]}
    for job in jobs.values():
        if not possible(job):
            raise ConflictError(f"job {job.id} is {job.state}: {rule}")
    return tuple(jobs.values())
