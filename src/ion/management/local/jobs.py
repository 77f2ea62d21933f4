"""Verbs on single jobs, done here."""

from collections.abc import AsyncIterator
from datetime import datetime

import msgspec

from ion.errors import InvalidError
from ion.management.files import LINK_TTL_S, JobFile, blob_of, files_of, revision_of
from ion.management.jobs import (
    cancel_jobs,
    find_job,
    follow_log,
    latest_jobs,
    raised_nothing,
    read_log,
    results_of,
    retry_jobs,
)
from ion.management.local.site import Site, closing, within
from ion.management.rerun import Rerun, RerunFilter, plan_reruns, rerun
from ion.management.verbs.jobs import JobDetails, JobVerbs, JobWork, LatestJobs, RerunLine
from ion.model.job import Job, State
from ion.ports.ledger import JobFilter, JobPage

PAGE_MOST = 1000
LATEST_MOST = 100_000
LINK_MOST_S = 366 * 86_400.0
LOG_MOST = 2**63 - 1


class LocalJobs(JobVerbs):
    def __init__(self, site: Site) -> None:
        self._site = site
        self._ledger, self._blobs = site.stores.ledger, site.stores.blobs

    async def get(self, *, job: str) -> Job:
        return await find_job(self._ledger, job)

    async def show(self, *, job: str) -> JobDetails:
        found = await find_job(self._ledger, job)
        return JobDetails(
            job=found,
            results=await results_of(found, self._blobs),
            silent=await raised_nothing(found, self._ledger),
        )

    async def page(self, *, which: JobFilter, most: int = 100, after: str | None = None) -> JobPage:
        within("the jobs of a page", most, 1, PAGE_MOST)
        return await self._ledger.query(await self._whole(which), most=most, after=after)

    async def latest(self, *, which: JobFilter, most: int = 50) -> LatestJobs:
        within("the number of jobs", most, 1, LATEST_MOST)
        jobs, total = await latest_jobs(self._ledger, await self._whole(which), most)
        return LatestJobs(jobs=tuple(jobs), total=total)

    async def _whole(self, which: JobFilter) -> JobFilter:
        flow, module = await self._site.flow_id(which.correlation_id), await self._site.module_name(which.module)
        return msgspec.structs.replace(which, correlation_id=flow, module=module)

    async def log(self, *, job: str, follow: bool = False, start: int = 0) -> AsyncIterator[bytes]:
        within("the first byte of a log", start, -LOG_MOST, LOG_MOST)
        found = await find_job(self._ledger, job)
        work = self._site.work
        if follow:
            chunks = follow_log(found.id, ledger=self._ledger, blobs=self._blobs, work=work, start=start)
        else:
            chunks = read_log(found, blobs=self._blobs, work=work, start=start)
        async with closing(chunks):
            async for chunk in chunks:
                yield chunk

    async def files(self, *, job: str, ttl_s: float = LINK_TTL_S) -> tuple[JobFile, ...]:
        within("the seconds that links hold", ttl_s, 0, LINK_MOST_S)
        return tuple(await files_of(await find_job(self._ledger, job), self._blobs, ttl_s=ttl_s))

    async def read(self, *, job: str, role: str, path: str) -> AsyncIterator[bytes]:
        blob = await blob_of(await find_job(self._ledger, job), role, path, self._blobs)
        async with closing(self._blobs.read(blob)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def work(self, *, job: str) -> JobWork:
        found = await find_job(self._ledger, job)
        return JobWork(job=found, revision=await revision_of(found, self._ledger))

    async def retry(self, *, jobs: tuple[str, ...]) -> tuple[Job, ...]:
        _some(jobs)
        return tuple(await retry_jobs(self._ledger, jobs, self._site.actor))

    async def cancel(self, *, jobs: tuple[str, ...]) -> tuple[Job, ...]:
        _some(jobs)
        return tuple(await cancel_jobs(self._ledger, jobs, self._site.actor))

    async def rerun(
        self,
        *,
        jobs: tuple[str, ...] = (),
        module: str = "",
        flow: str = "",
        since: datetime | None = None,
        states: tuple[State, ...] = (),
        dry: bool = False,
    ) -> AsyncIterator[RerunLine]:
        which = RerunFilter(
            module=await self._site.module_name(module),
            correlation_id=await self._site.flow_id(flow),
            since=since,
            states=states or (State.RELEASED,),
        )
        planned = await plan_reruns(self._ledger, jobs, which, narrowed=bool(module or flow or since or states))
        for one in planned:
            if one.obstacle:
                yield RerunLine(old=one.old, obstacle=one.obstacle)
        if dry:
            for one in planned:
                if not one.obstacle:
                    yield _line(one)
            return
        async with closing(rerun(self._ledger, planned, self._site.actor)) as queued:
            async for one in queued:
                yield _line(one)


def _line(one: Rerun) -> RerunLine:
    return RerunLine(old=one.old, new=one.new.id)


def _some(jobs: tuple[str, ...]) -> None:
    if not jobs:
        raise InvalidError("say which jobs: give their ids, or the beginnings of them")
