"""Running flows to their end: waiting until they are quiet, and saying what came of them."""

from collections.abc import AsyncIterator, Mapping, Sequence

import msgspec

from ion.dispatcher.backoff import Backoff
from ion.dispatcher.breaker import allowance
from ion.errors import UnavailableError
from ion.management.report_text import many
from ion.model.event import FileRef
from ion.model.job import Job, State
from ion.model.manifest import Manifest
from ion.ports.blobs import Blobs
from ion.ports.ledger import Changes, JobFilter, Ledger, Open, Registered

LOOK_AGAIN_S = 2.0
PAGE = 500
_FINE = frozenset({State.RELEASED, State.SUPERSEDED, State.EXPIRED})


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """How a flow ended. `stuck` says why it cannot go on by itself, or is empty."""

    correlation_id: str
    tally: Mapping[tuple[str, State], int]
    failed: tuple[Job, ...]
    stuck: str = ""

    @property
    def ok(self) -> bool:
        """Whether every job of the flow was released, or was once and has given way to a later run, or expired."""
        return not self.stuck and all(state in _FINE for (_, state), count in self.tally.items() if count)


class Output(msgspec.Struct, frozen=True, kw_only=True):
    """A file that a leaf of the flow left, with the URI of its blob."""

    module: str
    subject: str
    file: FileRef
    uri: str


async def until_quiet(ledger: Ledger, correlation_id: str) -> str:
    """Waits until no job of the flow is open, or none can go on; a ledger that is away is waited for.

    Returns:
        Empty if the flow is quiet, else one sentence that says what holds it up.
    """
    backoff = Backoff("following the flow")
    while True:
        try:
            found = await _until_quiet(ledger, correlation_id)
        except UnavailableError as error:
            await backoff.wait(error)
        else:
            backoff.fine()
            return found


async def _until_quiet(ledger: Ledger, correlation_id: str) -> str:
    async with ledger.listen(Changes.ENDED | Changes.REGISTRY) as news:
        while (now_open := await ledger.open(correlation_id)).total:
            if stuck := await _stuck(ledger, correlation_id, now_open):
                return stuck
            await news.wait(LOOK_AGAIN_S)
    return ""


async def _stuck(ledger: Ledger, correlation_id: str, now_open: Open) -> str:
    if now_open.running or now_open.committed:
        return ""
    if now_open.held == now_open.waiting:
        return (
            f"{many(now_open.held, 'job')} held by a pause or a guard: resume the flow, or free single jobs "
            f"with `ion job retry`; `ion job list -c {correlation_id}` shows them"
        )
    tally = await ledger.tally(correlation_id)
    waiting = {module for (module, state), count in tally.items() if state is State.WAITING and count}
    paused = {r.module.name for r in await ledger.modules() if r.paused or _tripped(r)}
    if waiting and waiting <= paused:
        names = ", ".join(sorted(waiting))
        why = await _trouble(ledger, correlation_id)
        return f"{many(now_open.waiting, 'job')} waiting for {names}, which is paused{why}: mend it, then run again"
    return ""


def _tripped(registered: Registered) -> bool:
    return not allowance(registered.health, registered.module.pause_after).closed


async def _trouble(ledger: Ledger, correlation_id: str) -> str:
    """The last failure of a job that waits, in brackets."""
    page = await ledger.query(JobFilter(correlation_id=correlation_id, states=(State.WAITING,)))
    failures = [job.failure for job in page.jobs if job.failure is not None]
    return f" ({failures[0].kind}: {failures[0].message})" if failures else ""


async def conclude(ledger: Ledger, correlation_id: str, stuck: str = "") -> Result:
    """What became of a flow."""
    states = (State.DEAD, State.CANCELLED)
    failed = [job async for job in jobs_of(ledger, JobFilter(correlation_id=correlation_id, states=states))]
    tally = await ledger.tally(correlation_id)
    return Result(correlation_id=correlation_id, tally=tally, failed=tuple(failed), stuck=stuck)


async def jobs_of(ledger: Ledger, which: JobFilter) -> AsyncIterator[Job]:
    """All jobs of a filter, in the order of their admission, page by page."""
    after: str | None = None
    while True:
        page = await ledger.query(which, most=PAGE, after=after)
        for job in page.jobs:
            yield job
        if (after := page.after) is None:
            return


def is_gateways(job: Job) -> bool:
    """A gateway's job raised its event and was not started by it: it has results and was never claimed."""
    return job.manifest is not None and not job.revision


async def open_flows(ledger: Ledger) -> Sequence[str]:
    """The flows that have open jobs, newest first."""
    return [f.correlation_id async for f in ledger.flows() if (await ledger.open(f.correlation_id)).total]


async def outputs(ledger: Ledger, blobs: Blobs, correlation_id: str, most: int) -> tuple[list[Output], int]:
    """Files that the flow's leaves left: at most `most` of them, and how many there are in all.

    A leaf is a job whose events started nothing. Two passes, so that memory holds ids and not what jobs produced.
    """
    which = JobFilter(correlation_id=correlation_id, states=(State.RELEASED,))
    heard = {job.event.id async for job in jobs_of(ledger, JobFilter(correlation_id=correlation_id)) if job.revision}
    shown: list[Output] = []
    total = 0
    async for job in jobs_of(ledger, which):
        if not job.revision or job.manifest is None or not job.manifest.files:
            continue  # a gateway's job has no revision; its files are the root event's
        text = job.manifest.inline.encode() or await blobs.get_bytes(job.manifest.blob)
        manifest = msgspec.json.decode(text, type=Manifest)
        if any(event.id in heard for event in manifest.events):
            continue
        total += len(manifest.files)
        left = manifest.files[: most - len(shown)]
        shown += [Output(module=job.module, subject=job.event.subject, file=f, uri=blobs.uri(f.blob)) for f in left]
    return shown, total
