"""Verbs on single jobs."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from datetime import datetime

import msgspec

from ion.management.files import LINK_TTL_S, JobFile
from ion.model.job import Job, State
from ion.model.manifest import Manifest
from ion.model.module import Revision
from ion.ports.ledger import JobFilter, JobPage


class LatestJobs(msgspec.Struct, frozen=True, kw_only=True):
    """The jobs admitted last, the newest at the end; `total` is how many the filter fits in all."""

    jobs: tuple[Job, ...] = ()
    total: int = 0


class JobDetails(msgspec.Struct, frozen=True, kw_only=True):
    """A job, its results once it is committed, and whether it raised nothing although its module declares events."""

    job: Job
    results: Manifest | None = None
    silent: bool = False


class JobWork(msgspec.Struct, frozen=True, kw_only=True):
    """What a job runs (or would if it were claimed now), for whoever makes its directory elsewhere."""

    job: Job
    revision: Revision


class RerunLine(msgspec.Struct, frozen=True, kw_only=True):
    """A job `old` that runs again as `new`, or (with `obstacle`, one sentence) does not."""

    old: str
    new: str = ""
    obstacle: str = ""


class JobVerbs(ABC):
    @abstractmethod
    async def get(self, *, job: str) -> Job:
        """Raises NotFoundError: there is none. InvalidError: several begin so; names some."""

    @abstractmethod
    async def show(self, *, job: str) -> JobDetails:
        """A job with its results. Raises as `get`."""

    @abstractmethod
    async def page(self, *, which: JobFilter, most: int = 100, after: str | None = None) -> JobPage:
        """Jobs in the order of their admission, at most `most` (1 to 1,000); `after` continues."""

    @abstractmethod
    async def latest(self, *, which: JobFilter, most: int = 50) -> LatestJobs:
        """The `most` jobs admitted last; superseded ones are left out unless the filter names their state.

        `which.correlation_id` may be the beginning of one.
        """

    @abstractmethod
    def log(self, *, job: str, follow: bool = False, start: int = 0) -> AsyncIterator[bytes]:
        """The log of the last attempt from byte `start` (a negative one counts from the end); with `follow` as it
        grows, over all further attempts, until the job has ended. Raises NotFoundError: it was stored, and removed
        since.
        """

    @abstractmethod
    async def files(self, *, job: str, ttl_s: float = LINK_TTL_S) -> tuple[JobFile, ...]:
        """What the job got, left and logged, with links that hold for `ttl_s` seconds."""

    @abstractmethod
    def read(self, *, job: str, role: str, path: str) -> AsyncIterator[bytes]:
        """The content of one of those files, named by its role (in, out, log) and path; the role `data` is the data of
        the job's event, where a row could not hold it. Raises NotFoundError.
        """

    @abstractmethod
    async def work(self, *, job: str) -> JobWork:
        """Raises NotFoundError: the job is a gateway's, or its module is gone."""

    @abstractmethod
    async def retry(self, *, jobs: tuple[str, ...]) -> tuple[Job, ...]:
        """Queues dead or cancelled jobs again, and frees those that a guard holds; all are checked before the first
        is changed. Gives them as they were found. Raises ConflictError.
        """

    @abstractmethod
    async def cancel(self, *, jobs: tuple[str, ...]) -> tuple[Job, ...]:
        """Cancels waiting jobs and has running ones ended; as `retry`."""

    @abstractmethod
    def rerun(
        self,
        *,
        jobs: tuple[str, ...] = (),
        module: str = "",
        flow: str = "",
        since: datetime | None = None,
        states: tuple[State, ...] = (),
        dry: bool = False,
    ) -> AsyncIterator[RerunLine]:
        """Computes results again, of jobs named by ids or chosen by filters, not both; with `dry` it only tells.

        Without `states` it is the released ones. Raises InvalidError: nothing says which jobs. ConflictError.
        """
