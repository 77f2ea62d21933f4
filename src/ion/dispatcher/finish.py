"""The end of an attempt: its results are committed, or its failure is settled.

An executor tells a final state until it is told to remove the attempt, so this may be repeated from any point: commit
succeeds again for the execution that won, settle answers False once it is done. The log and its record are stored
before the job is settled (R7).
"""

import logging
import random
from collections.abc import Callable
from enum import StrEnum

import msgspec

from ion.dispatcher.backoff import persist
from ion.dispatcher.retry import decide, is_modules_own
from ion.errors import NotFoundError, UnavailableError
from ion.model.job import Failure, FailureClass, Job, State
from ion.model.manifest import ManifestRef, execution_prefix, log_path
from ion.model.record import module_logs
from ion.ports.blobs import Blobs
from ion.ports.documents import Documents
from ion.ports.executor import Executor, Handle, Phase, Status
from ion.ports.ledger import Bury, Cancel, GiveBack, Ledger, Outcome, Retry

log = logging.getLogger(__name__)


LOG_DEPTH = log_path("job", 1, "execution").count("/")
_DECIDED = (State.COMMITTED, State.RELEASED, State.SUPERSEDED, State.EXPIRED)


class Step(StrEnum):
    """What the observer of a dispatcher hears of."""

    STARTED = "started"
    COMMITTED = "committed"
    FAILED = "failed"  # and will be tried again
    DEAD = "dead"
    CANCELLED = "cancelled"
    GIVEN_BACK = "given back"


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """One step of one job's attempt, for whoever shows it. `failure` and `log` (a blob path) where there are any.

    `began_s` and `ended_s` are the module's, as an executor's `Status` has them.
    """

    job: Job
    step: Step
    failure: Failure | None = None
    manifest: ManifestRef | None = None
    log: str = ""
    began_s: float = 0.0
    ended_s: float = 0.0

    @property
    def fault(self) -> Failure | None:
        """What went wrong: no attempt that a person ended, or that is given back, is at fault."""
        return self.failure if self.step in (Step.FAILED, Step.DEAD) else None


Observer = Callable[[Progress], None]


class Finish:
    """Settles ended attempts for one dispatcher. `committed` is handed the jobs whose results were decided here."""

    def __init__(
        self,
        ledger: Ledger,
        documents: Documents,
        blobs: Blobs,
        *,
        owner: str,
        observe: Observer,
        final: Callable[[Job], bool] = lambda _: False,
        committed: Callable[[Job], None] | None = None,
    ) -> None:
        self._ledger, self._documents, self._blobs = ledger, documents, blobs
        self._owner, self._observe, self._final = owner, observe, final
        self._committed = committed
        self._untold: dict[Handle, Progress] = {}
        self.giving_up = False

    async def finish(self, status: Status, executor: Executor, job: Job | None = None) -> bool:
        """Carries a final status into the ledger, then lets the executor forget the attempt. Waits for stores.

        `job` is the attempt's as it was claimed, where that is known; it spares a look.

        Returns:
            False if the attempt is another living dispatcher's to settle: then it is left as it is.
        """
        if ours := await self.settle(status, job):
            await self.clear(status, executor)
        return ours

    async def settle(self, status: Status, job: Job | None = None) -> bool:
        """The first half of `finish`."""
        ours = True

        async def decide_it() -> None:
            nonlocal ours
            ours = await self._decide(status, job)

        await persist(decide_it, f"settling job {status.handle.job}")
        return ours

    async def clear(self, status: Status, executor: Executor) -> None:
        """The second half of `finish`."""
        await persist(lambda: executor.remove(status.handle), f"clearing up after job {status.handle.job}")

    async def _decide(self, status: Status, known: Job | None) -> bool:
        """Whether the attempt is over, for whatever reason."""
        attempt = status.handle.attempt
        if known is not None and status.phase is Phase.SUCCEEDED:
            await self._commit(known, status, self._committed)
            return True
        try:
            job = await self._ledger.get(status.handle.job)
        except NotFoundError:
            log.warning("job %s is not in the ledger; what ran of it is cleared away", status.handle.job)
            return True
        if status.phase is Phase.SUCCEEDED:
            await self._commit(job, status)
            return True
        if _has_won(job, attempt):  # a double of it failed
            return True
        if status.log:  # of a late attempt as well: somebody may ask what it was doing
            uri = self._blobs.uri(status.log)
            record = module_logs(job.event, module=job.module, attempt=attempt, logs=uri, succeeded=False, run=job.run)
            await self._documents.put([record])
        if status.failure is not None and not _is_over(job, attempt):
            await self._settle(job, status, status.failure)
        after = await self._ledger.get(job.id)
        if not _is_over(after, attempt):
            self._untold.pop(status.handle, None)
            return False
        self._tell(status)
        # Nothing of it can win any more, so whatever it stored but its logs goes: somebody may have recorded them.
        await self._blobs.delete(f"{job.id}/{attempt}/", keep=_is_log)
        return True

    async def _commit(self, job: Job, status: Status, then: Callable[[Job], None] | None = None) -> None:
        manifest = status.manifest
        if manifest is None:
            raise UnavailableError(f"the executor told no manifest of job {job.id}")
        if await self._ledger.commit(job.id, status.handle.attempt, manifest, by=self._owner if then else ""):
            if then is not None:
                then(msgspec.structs.replace(job, state=State.COMMITTED, manifest=manifest, cursor=0, log=manifest.log))
            log.info("attempt %d of %s is committed", status.handle.attempt, job.module)
            self._observe(_progress(job, Step.COMMITTED, status, manifest.log))
            return
        log.warning("job %s: execution %s came too late; its results are dropped", job.id, manifest.execution)
        await self._blobs.delete(execution_prefix(job.id, status.handle.attempt, manifest.execution))

    async def _settle(self, job: Job, status: Status, failure: Failure) -> None:
        outcome = await self._outcome(job, failure)
        self._untold[status.handle] = _progress(job, step_of(outcome), status, status.log)
        if not await self._ledger.settle(job.id, job.attempt, self._owner, outcome, log=status.log):
            self._untold.pop(status.handle)  # somebody else did, and tells of it

    def _tell(self, status: Status) -> None:
        """Tells once of an attempt that was settled here, though the ledger's answer may have been lost."""
        if (progress := self._untold.pop(status.handle, None)) is not None:
            why = progress.failure.message if progress.failure else ""
            log.info("attempt %d of %s: %s: %s", status.handle.attempt, progress.job.module, progress.step.value, why)
            self._observe(progress)

    async def _outcome(self, job: Job, failure: Failure) -> Outcome:
        """What becomes of a job whose attempt failed so."""
        if job.cancelling:
            return Cancel(reason=failure.message)
        if self.giving_up and failure.kind is FailureClass.LOST:
            return GiveBack(reason=failure.message)
        if is_modules_own(failure) and self._final(job):
            return Bury(failure=failure)
        revision = await self._ledger.revision(job.module, job.revision)
        now = await self._ledger.now()
        return decide(job, failure, revision.module, now=now, chance=random.random())  # noqa: S311  jitter


def _progress(job: Job, step: Step, status: Status, log_path: str) -> Progress:
    return Progress(
        job=job,
        step=step,
        failure=status.failure,
        manifest=status.manifest,
        log=log_path,
        began_s=status.began_s,
        ended_s=status.ended_s,
    )


def _is_log(path: str) -> bool:
    """Whether a blob is an execution's log; a module's own file of that name lies deeper."""
    return path.endswith("/log.txt") and path.count("/") == LOG_DEPTH


def _has_won(job: Job, attempt: int) -> bool:
    """Whether this attempt's results are the job's."""
    return job.attempt == attempt and job.state in _DECIDED


def _is_over(job: Job, attempt: int) -> bool:
    """Whether this attempt can win no more."""
    return job.attempt != attempt or job.state not in (State.RUNNING, *_DECIDED)


def step_of(outcome: Outcome) -> Step:
    """How an attempt ended that is settled so."""
    match outcome:
        case Retry():
            return Step.FAILED
        case Bury():
            return Step.DEAD
        case Cancel():
            return Step.CANCELLED
        case GiveBack():
            return Step.GIVEN_BACK
