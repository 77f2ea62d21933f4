"""What retention takes of one flow, in an order that may be cut short anywhere and repeated.

Only a quiet flow is looked at, as a whole, and its age is that of its last job's end. First rows say what is gone
(`expired`, no log), then it goes, then the rows shrink to tombstones, and when nothing else is left of the flow and
`ids` has passed, they go. So a reader never meets a row that promises what is not there.

Which files of an expired job must stay is looked up after it has expired: what a later job passes on by reference, and
what a dead letter would need to be tried again. A job that is to be run anew is refused once what it reads has expired
(`KeepingLedger.rerun`), so no reader can come in between.
"""

from collections.abc import AsyncIterator, Iterator, Mapping

import msgspec

from ion.errors import NotFoundError
from ion.management.clearing import Clearing
from ion.management.needed import is_tombstone
from ion.management.run import is_gateways, jobs_of
from ion.model.job import OPEN_STATES, Job, State
from ion.model.manifest import Manifest
from ion.model.retention import Retention
from ion.ports.ledger import JobFilter, Ledger

ACTOR = "retention"
FORGET_MOST = 500
_FAILED = frozenset({State.DEAD, State.CANCELLED})
_DECIDED = frozenset({State.RELEASED, State.SUPERSEDED})


class Due(msgspec.Struct, frozen=True, kw_only=True):
    """What of a flow's age has come."""

    intermediates: bool
    results: bool
    failed: bool
    logs: bool

    @property
    def anything(self) -> bool:
        return self.intermediates or self.results or self.failed or self.logs


def due_at(retention: Retention, age_s: float) -> Due:
    """What may be taken of a flow whose last job ended so many seconds ago."""

    def passed(limit_s: float | None) -> bool:
        return limit_s is not None and age_s > limit_s

    return Due(
        intermediates=passed(retention.intermediates_s),
        results=passed(retention.results_s),
        failed=passed(retention.failed_s),
        logs=passed(retention.logs_s),
    )


class Survey(msgspec.Struct, kw_only=True):
    """A quiet flow in a few words, in seconds since the epoch: when its last job `ended`, which events started jobs
    (`heard`), whether there are `only_tombstones`, and when the last of them expired.
    """

    heard: set[str] = msgspec.field(default_factory=set)
    ended: float = 0.0
    only_tombstones: bool = True
    expired: float = 0.0


class Expiry:
    """Takes what is due of flows; in a `dry` run it only counts."""

    def __init__(self, ledger: Ledger, clearing: Clearing, retention: Retention, *, dry: bool) -> None:
        self._ledger, self._clearing, self._retention, self._dry = ledger, clearing, retention, dry
        self.jobs = 0
        self.forgotten = 0

    async def survey(self, flow: str) -> Survey | None:
        """What is to be known of a flow before anything of it is taken; None if it is not quiet."""
        found = Survey()
        if (await self._ledger.open(flow)).total:
            return None
        async for job in self._jobs(flow):
            if job.state in OPEN_STATES:
                return None
            if not is_gateways(job):
                found.heard.add(job.event.id)
            found.ended = max(found.ended, job.ended_at.timestamp() if job.ended_at else 0.0)
            found.only_tombstones &= is_tombstone(job)
            found.expired = max(found.expired, job.history[-1].at.timestamp())
        return found

    async def take(self, flow: str, survey: Survey, due: Due) -> bool:
        """Takes what is due; repeating it finishes what was cut short. Whether there are new tombstones."""
        before = self._clearing.stripped
        expired = await self._expire(flow, survey, due)
        if due.logs:
            async for job in self._jobs(flow):
                await self._drop_log(job)
        if not expired:
            return False
        kept = await self._kept(flow, expired)
        async for job in self._jobs(flow):
            if job.id in expired and not is_tombstone(job):
                manifest = await self._manifest(job)
                whole = due.results or manifest is None
                needed = kept.get(job.id, ())
                await self._clearing.clear(job, manifest, kept=needed, whole=whole, log_stays=not due.logs)
        return self._clearing.stripped > before

    async def forget(self, flow: str, survey: Survey, now: float) -> None:
        """Removes a flow of which only tombstones are left, once late deliveries of its events are past."""
        ids_s = self._retention.ids_s
        if not survey.only_tombstones or ids_s is None or now - survey.expired <= ids_s:
            return
        if self._dry:
            self.forgotten += sum((await self._ledger.tally(flow)).values())
            return
        while removed := await self._ledger.forget(flow, FORGET_MOST):
            self.forgotten += removed

    # ---- steps ------------------------------------------------------------------------------------------------

    async def _expire(self, flow: str, survey: Survey, due: Due) -> frozenset[str]:
        """The ids of the flow's expired jobs, those of before too."""
        expired: set[str] = set()
        async for job in self._jobs(flow):
            if job.state is State.EXPIRED:
                expired.add(job.id)
            elif await self._is_due(job, survey, due) and (self._dry or await self._ledger.expire(job.id, ACTOR)):
                expired.add(job.id)
                self.jobs += 1
        return frozenset(expired)

    async def _is_due(self, job: Job, survey: Survey, due: Due) -> bool:
        if job.state in _FAILED or (job.state is State.SUPERSEDED and job.manifest is None):
            return due.failed
        if job.state not in _DECIDED or not (due.results or due.intermediates):
            return False
        if due.results and due.intermediates:
            return True
        manifest = await self._manifest(job)
        if manifest is None:  # damaged: `ion audit` tells, and nothing is taken on a guess
            return False
        started_some = any(event.id in survey.heard for event in manifest.events)
        return due.intermediates if started_some else due.results

    async def _drop_log(self, job: Job) -> None:
        if job.state in OPEN_STATES or not await self._clearing.has_log(job):
            return
        if self._dry or await self._ledger.drop_log(job.id, ACTOR):
            await self._clearing.clear_logs(job)

    async def _kept(self, flow: str, expired: frozenset[str]) -> Mapping[str, set[str]]:
        """The blobs of expired jobs that others of the flow still name, by the job that stored them.

        Raises NotFoundError or msgspec.DecodeError where that cannot be known, as the manifest of a job that has not
        expired is gone, or damaged.
        """
        kept: dict[str, set[str]] = {}
        async for job in self._jobs(flow):
            if job.id not in expired:
                manifest = await self._clearing.manifest(job.manifest) if job.manifest else None
                for path in _named(job, manifest):
                    if (maker := path.partition("/")[0]) in expired:
                        kept.setdefault(maker, set()).add(path)
        return kept

    async def _manifest(self, job: Job) -> Manifest | None:
        if job.manifest is None:
            return None
        try:
            return await self._clearing.manifest(job.manifest)
        except (NotFoundError, msgspec.DecodeError):
            return None

    def _jobs(self, flow: str) -> AsyncIterator[Job]:
        return jobs_of(self._ledger, JobFilter(correlation_id=flow))


def _named(job: Job, manifest: Manifest | None) -> Iterator[str]:
    """The blobs that a job which has not expired needs: its results, and its inputs where it may yet run."""
    if job.state not in _DECIDED:
        yield from (file.blob for file in job.event.files)
        yield job.event.dataref
    if manifest is not None:
        yield from (file.blob for file in manifest.files)
        for event in manifest.events:
            yield from (file.blob for file in event.files)
            yield event.dataref
