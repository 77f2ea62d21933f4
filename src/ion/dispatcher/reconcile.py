"""The reconciler: what the ledger says runs, and what the executors run, are made to agree (R4).

Level-triggered: it compares whole states, so news that was lost, a crash between two steps or a dispatcher that slept
past its lease are all mended the same way. Before it calls an attempt lost it looks for its manifest (R3).
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

from ion.dispatcher.claim import Running
from ion.dispatcher.deadlines import Deadlines, plausible_elapsed_s
from ion.dispatcher.retry import decide
from ion.model.job import Failure, FailureClass, Job, State
from ion.ports.executor import Executor, Handle, Handler, Phase, Status
from ion.ports.ledger import Cancel, JobFilter, Ledger, Outcome

log = logging.getLogger(__name__)

BATCH = 500
LATE = Failure(kind=FailureClass.TIMEOUT, message="the attempt did not end by its deadline")
LOST = Failure(kind=FailureClass.LOST, message="the attempt was lost with its dispatcher or host")


class Reconciler:
    """Compares for one dispatcher.

    What it finds ended is handed to `finish`, what it finds running to `started`, with its provider; `finishing` tells
    whether that is being done for an attempt already, and `forget` gives up what is not ours to watch. `patience_s` is
    how long an attempt of another's has to stay overdue.
    """

    def __init__(
        self,
        ledger: Ledger,
        executors: Mapping[str, Executor],
        running: Running,
        handler: Handler,
        *,
        owner: str,
        patience_s: float,
        finish: Callable[[Status, Executor], None],
        started: Callable[[Job, str], None] = lambda _job, _provider: None,
        finishing: Callable[[Handle], bool] = lambda _: False,
        forget: Callable[[Handle], None] | None = None,
    ) -> None:
        self._ledger, self._executors, self._running = ledger, executors, running
        self._handler, self._owner, self._finish = handler, owner, finish
        self._deadlines = Deadlines(ledger, running, owner=owner, patience_s=patience_s)
        self._started, self._finishing, self._forget = started, finishing, forget or running.drop

    async def recover(self, adopted: Sequence[Job]) -> None:
        """Settles what dead dispatchers left: first what the executors find, then what nobody knows of."""
        found: set[tuple[str, int]] = set()
        ours = {(job.id, job.attempt): job for job in adopted}
        for provider, executor in self._executors.items():
            for status in await executor.recover():
                key = (status.handle.job, status.handle.attempt)
                found.add(key)
                if status.final:
                    self._finish(status, executor)
                elif key in ours:
                    elapsed_s = plausible_elapsed_s(ours[key], await self._ledger.now())
                    self._running.add(ours[key], provider, elapsed_s=elapsed_s)
                    self._started(ours[key], provider)
        for job in adopted:
            if (job.id, job.attempt) not in found:
                await self._settle_unknown(job)

    async def compare(self) -> None:
        """One look at everything this dispatcher owns, and at what is overdue anywhere."""
        mine = {(job.id, job.attempt): job for job in await self._ledger.running(self._owner)}
        for key, job in mine.items():
            if key not in self._running.jobs:
                await self._settle_unknown(job)
            else:
                await self._check(job)
                if job.cancelling:
                    await self._cancel(job)
        for key, (job, provider) in list(self._running.jobs.items()):
            if key not in mine:
                await self._end_stray(job, self._executors[provider])
        await self._end_late(mine.values())

    async def cancel_marked(self) -> None:
        """Ends the attempts of jobs that a person cancelled."""
        for job in await self._ledger.running(self._owner):
            if job.cancelling and (job.id, job.attempt) in self._running.jobs:
                await self._cancel(job)

    async def bury_orphaned(self) -> None:
        """Waiting jobs of removed modules become dead letters."""
        waiting = await self._ledger.waiting()  # first, so that a module that comes just now is in the registry
        for module in waiting.keys() - {registered.module.name for registered in await self._ledger.modules()}:
            failure = Failure(
                kind=FailureClass.CONTRACT, message=f"module {module} was removed; apply it again and retry the job"
            )
            which = JobFilter(module=module, states=(State.WAITING,))
            while jobs := (await self._ledger.query(which, most=BATCH)).jobs:
                if not any([await self._ledger.bury(job.id, failure, actor="dispatcher") for job in jobs]):
                    break  # its module has come back

    async def _check(self, job: Job) -> None:
        """What was submitted has to be known to its executor until it is settled."""
        _, provider = self._running.jobs[job.id, job.attempt]
        handle = Handle(scope=job.scope, job=job.id, attempt=job.attempt)
        if (job.id, job.attempt) in self._running.submitting or self._finishing(handle):
            return
        if (await self._executors[provider].state(handle)).phase is not Phase.UNKNOWN:
            return
        current = await self._ledger.get(job.id)
        if current.state is State.RUNNING and current.attempt == job.attempt and not self._finishing(handle):
            self._forget(handle)
            await self._settle_unknown(job)

    async def _settle_for_owner(self, job: Job, failure: Failure) -> None:
        """Its owner beats but does not settle it. A late execution loses by the attempt's number."""
        manifest = await self._handler.find_manifest(job.id, job.attempt)
        if manifest is not None:
            await self._ledger.commit(job.id, job.attempt, manifest)
            return
        outcome: Outcome = Cancel(reason=failure.message)
        if not job.cancelling:
            revision = await self._ledger.revision(job.module, job.revision)
            outcome = decide(job, failure, revision.module, now=await self._ledger.now(), chance=0.5)
        await self._ledger.settle(job.id, job.attempt, job.owner, outcome)

    async def _settle_unknown(self, job: Job) -> None:
        """No executor here knows the attempt."""
        executor = self._executor_of(job)
        handle = Handle(scope=job.scope, job=job.id, attempt=job.attempt)
        manifest = await self._handler.find_manifest(job.id, job.attempt)
        if (job.id, job.attempt) in self._running.jobs:
            return  # claimed just as we looked, and submitted since
        if manifest is not None:
            self._finish(Status(handle=handle, phase=Phase.SUCCEEDED, manifest=manifest), executor)
            return
        self._finish(Status(handle=handle, phase=Phase.FAILED, failure=LOST), executor)

    def _executor_of(self, job: Job) -> Executor:
        matching = (e for e in self._executors.values() if e.guarantees.scope == job.scope)
        return next(matching, next(iter(self._executors.values())))

    async def _cancel(self, job: Job, failure: Failure | None = None) -> None:
        if (found := self._running.jobs.get((job.id, job.attempt))) is not None:
            await self._executors[found[1]].cancel(Handle(scope=job.scope, job=job.id, attempt=job.attempt), failure)

    async def _end_stray(self, job: Job, executor: Executor) -> None:
        """The ledger no longer gives us this attempt: we were taken for dead, or it is settled. It cannot win."""
        current = await self._ledger.get(job.id)
        handle = Handle(scope=job.scope, job=job.id, attempt=job.attempt)
        if current.state is State.RUNNING and current.attempt == job.attempt and current.owner == self._owner:
            return  # claimed since we looked
        status = await executor.state(handle)
        if status.final or self._finishing(handle):
            return
        # Gone, or, where attempts are adopted, watched by whoever has it now.
        if status.phase is Phase.UNKNOWN or executor.guarantees.adopts:
            self._forget(handle)
            return
        log.warning("job %s attempt %d is no longer ours; its processes are ended", job.id, job.attempt)
        await executor.cancel(handle)

    async def _end_late(self, mine: Iterable[Job]) -> None:
        for job in await self._deadlines.own_late(mine):
            await self._cancel(job, LATE)
        for job in await self._deadlines.others_late():
            await self._settle_for_owner(job, LATE)
