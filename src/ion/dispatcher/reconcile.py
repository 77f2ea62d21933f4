"""The reconciler: what the ledger says runs, and what the executors run, are made to agree (R4).

Level-triggered: it compares whole states, so news that was lost, a crash between two steps or a dispatcher that slept
past its lease are all mended the same way. Before it calls an attempt lost it looks for its manifest (R3).
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from ion.dispatcher.claim import Running
from ion.dispatcher.deadlines import Deadlines, plausible_elapsed_s
from ion.dispatcher.finish import Observer, Progress, step_of
from ion.dispatcher.retry import decide
from ion.errors import NotFoundError
from ion.messaging.concerning import concerning
from ion.model.job import Failure, FailureClass, Job, State
from ion.ports.executor import Assignment, Executor, Handle, Handler, Phase, Status
from ion.ports.ledger import Cancel, JobFilter, Ledger, Outcome

log = logging.getLogger(__name__)

BATCH = 500
LATE = Failure(kind=FailureClass.TIMEOUT, message="the attempt did not end by its deadline")
LOST = Failure(kind=FailureClass.LOST, message="the attempt was lost with its dispatcher or host")


class Reconciler:
    """Compares for one dispatcher.

    What it finds ended is handed to `finish`, what it finds running to `started`, with its provider; `finishing` tells
    whether that is being done for an attempt already, and `forget` gives up what is not ours to watch. `observe` hears
    of attempts of another's that are settled here; `patience_s` is how long such a one has to stay overdue.
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
        observe: Observer = lambda _: None,
        started: Callable[[Job, str], None] = lambda _job, _provider: None,
        finishing: Callable[[Handle], bool] = lambda _: False,
        forget: Callable[[Handle], None] | None = None,
    ) -> None:
        self._ledger, self._executors, self._running = ledger, executors, running
        self._handler, self._owner, self._finish = handler, owner, finish
        self._patience_s, self._observe = patience_s, observe
        self._left_since: dict[Handle, float] = {}
        self._deadlines = Deadlines(ledger, running, owner=owner, patience_s=patience_s)
        self._started, self._finishing, self._forget = started, finishing, forget or running.drop

    async def recover(self, adopted: Sequence[Job]) -> None:
        """Settles what dead dispatchers left: first what the executors find, then what nobody knows of.

        What outlives dispatchers is gone on with: its attempt is submitted again, which finds it.
        """
        found: set[tuple[str, int]] = set()
        ours = {(job.id, job.attempt): job for job in adopted}
        for provider, executor in self._executors.items():
            if executor.guarantees.adopts and not ours:
                continue  # what else is there is somebody's, or will be swept
            for status in await executor.recover():
                key = (status.handle.job, status.handle.attempt)
                if not executor.guarantees.adopts:
                    found.add(key)
                    if status.final:
                        self._finish(status, executor)
                        continue
                if key in ours:
                    found.add(key)
                    await self._go_on(ours[key], provider)
        for job in adopted:
            if (job.id, job.attempt) not in found:
                await self._settle_unknown(job)

    async def _go_on(self, job: Job, provider: str) -> None:
        """Takes up an attempt that runs already."""
        self._running.add(job, provider, elapsed_s=plausible_elapsed_s(job, await self._ledger.now()))
        self._started(job, provider)
        if self._executors[provider].guarantees.adopts:
            revision = await self._ledger.revision(job.module, job.revision)
            with concerning(job):
                await self._executors[provider].submit(Assignment(job=job, revision=revision))

    async def sweep(self) -> None:
        """Clears away what is left of attempts that the ledger runs no more, where attempts outlive dispatchers.

        Whoever settled an attempt clears up after it, so only what was seen twice, `patience_s` apart, is a leftover.
        """
        now_s, left = self._running.clock(), {}
        for executor in self._executors.values():
            if not executor.guarantees.adopts:
                continue
            for status in await executor.recover():
                if await self._is_left(status.handle):
                    since_s = left[status.handle] = self._left_since.get(status.handle, now_s)
                    if now_s - since_s >= self._patience_s:
                        log.warning("what is left of job %s is cleared away", status.handle.job)
                        await executor.remove(status.handle)
        self._left_since = left

    async def _is_left(self, handle: Handle) -> bool:
        """Whether nobody wants this attempt any more."""
        if (handle.job, handle.attempt) in self._running.jobs or self._finishing(handle):
            return False
        try:
            job = await self._ledger.get(handle.job)
        except NotFoundError:
            return True
        return job.state is not State.RUNNING or job.attempt != handle.attempt

    async def compare(self) -> None:
        """One look at everything this dispatcher owns, and at what is overdue anywhere."""
        mine = {(job.id, job.attempt): job for job in await self._ledger.running(self._owner)}
        for key, job in mine.items():
            if key not in self._running.jobs:
                await self._find_again(job)
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

    async def _find_again(self, job: Job) -> None:
        """The ledger says that it is ours, and we do not know it: a take-over did not come to its end, say."""
        handle = Handle(scope=job.scope, job=job.id, attempt=job.attempt)
        if self._finishing(handle):
            return
        for provider, executor in self._executors.items():
            same = executor.guarantees.adopts and executor.guarantees.scope == job.scope
            if same and (await executor.state(handle)).phase is not Phase.UNKNOWN:
                await self._go_on(job, provider)
                return
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
        if await self._ledger.settle(job.id, job.attempt, job.owner, outcome):
            self._observe(Progress(job=job, step=step_of(outcome), failure=failure))

    async def _settle_unknown(self, job: Job) -> None:
        """No executor here knows the attempt."""
        executor = self._executor_of(job)
        handle = Handle(scope=job.scope, job=job.id, attempt=job.attempt)
        manifest = await self._handler.find_manifest(job.id, job.attempt)
        log_path = "" if manifest is not None and manifest.log else await self._handler.find_log(job.id, job.attempt)
        if (job.id, job.attempt) in self._running.jobs:
            return  # claimed just as we looked, and submitted since
        if manifest is not None:
            manifest = msgspec.structs.replace(manifest, log=manifest.log or log_path)
            self._finish(Status(handle=handle, phase=Phase.SUCCEEDED, manifest=manifest, log=manifest.log), executor)
            return
        self._finish(Status(handle=handle, phase=Phase.FAILED, failure=LOST, log=log_path), executor)

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
        if executor.guarantees.adopts and current.state is State.RUNNING and current.attempt == job.attempt:
            self._forget(handle)
            await executor.leave(handle)  # whoever has it now goes on with it
            return
        status = await executor.state(handle)
        if status.final or self._finishing(handle):
            return
        if status.phase is Phase.UNKNOWN:
            self._forget(handle)
            return
        log.warning("job %s attempt %d is no longer ours; its processes are ended", job.id, job.attempt)
        await executor.cancel(handle)

    async def _end_late(self, mine: Iterable[Job]) -> None:
        for job in await self._deadlines.own_late(mine):
            await self._cancel(job, LATE)
        for job in await self._deadlines.others_late():
            await self._settle_for_owner(job, LATE)
