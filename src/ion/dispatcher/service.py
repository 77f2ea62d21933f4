"""One dispatcher: the loops, opened and closed together."""

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from ion.dispatcher.backoff import Backoff, persist
from ion.dispatcher.claim import Claims, Running
from ion.dispatcher.endings import Endings
from ion.dispatcher.finish import Finish, Observer, Progress, Step
from ion.dispatcher.lull import Lull
from ion.dispatcher.ownership import LockFile, Ownership, this_host
from ion.dispatcher.reconcile import Reconciler
from ion.dispatcher.relay import Relay
from ion.dispatcher.routing import Routing
from ion.dispatcher.served import Choice, Served, every
from ion.dispatcher.slots import Slots
from ion.dispatcher.stores import Stores
from ion.dispatcher.tasks import Tasks
from ion.errors import IonError, UnavailableError
from ion.messaging.spilled import restored
from ion.model.ids import new_id
from ion.model.job import Failure, FailureClass, Job
from ion.model.module import Resources
from ion.ports.executor import Executor, Handle, Phase, Status
from ion.ports.ledger import Changes, Owner

log = logging.getLogger(__name__)

ENDING_S = 30.0
"""How long attempts that are given up may take beyond their modules' grace (killing, keeping logs, settling), and what
is left to relay.
"""


class DispatcherSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`lease_s`: a beat that stands still for so long means death (a beat comes three times as often).

    `reconcile_s`: between two full comparisons. `sweep_s`: between two looks for what is left of attempts that are
    over, where attempts outlive their dispatcher. `stop_grace_s`: how long running jobs may end by themselves when the
    dispatcher stops. `max_hops`: jobs so many hops from the root are held. `locks`: a folder for lock files.
    """

    lease_s: float = 15.0
    reconcile_s: float = 10.0
    sweep_s: float = 60.0
    stop_grace_s: float = 30.0
    max_hops: int = 32
    locks: Path


def _ignore(_: Progress) -> None:
    return None


class Dispatcher:
    """Opened by `async with`; works until `stop`, or until the context is left.

    `observe` is told of each step and `released` of each job that is released, `spare` tells the free part of the disk
    (0 to 1), and `final` says for which jobs a module's own failure is not tried again, whatever its retries are.
    `serves` chooses the modules whose jobs it claims, `receives` those for which it admits what the bus brings (None:
    the same). What is committed it relays for all; without executors that is what it is for.

    Leaving it by an error or a second interrupt ends running jobs at once and gives them back.
    """

    def __init__(
        self,
        stores: Stores,
        executors: Mapping[str, Executor],
        settings: DispatcherSettings,
        *,
        observe: Observer = _ignore,
        released: Callable[[Job], None] = lambda _: None,
        spare: Callable[[], float] = lambda: 1.0,
        final: Callable[[Job], bool] = lambda _: False,
        serves: Choice = every,
        receives: Choice | None = None,
    ) -> None:
        self.id = new_id()
        self._stores, self._executors, self._settings = stores, executors, settings
        self._observe = observe
        self._running = Running()
        self._slots = {provider: Slots(executor.capacity) for provider, executor in executors.items()}
        self._lock = LockFile(settings.locks / f"{self.id}.lock")
        self._wake = asyncio.Event()
        self._lull, self._commits = Lull(), Lull()
        self._expected: set[str] = set()
        self._stale = self._due = True
        self._stopping = False
        self._claimed, self._beat_now = asyncio.Event(), asyncio.Event()
        self._hurry = asyncio.Event()
        self._adopted: list[Job] = []
        self._adopting = False
        self._loops: asyncio.Task[None] | None = None
        self._group: Tasks | None = None
        ledger = stores.ledger
        self._relay = Relay(
            ledger,
            stores.documents,
            stores.blobs,
            stores.bus,
            owner=self.id,
            max_hops=settings.max_hops,
            busy=lambda: bool(self._running.jobs),
            lull=self._commits,
            admitted=self._expect,
            released=released,
        )
        self._finish = Finish(
            ledger,
            stores.documents,
            stores.blobs,
            owner=self.id,
            observe=self._note,
            final=final,
            committed=self._relay.take,
        )
        self._claims = Claims(
            ledger,
            executors,
            self._running,
            self._slots,
            owner=self.id,
            spare=spare,
            started=lambda job: self._note(Progress(job=job, step=Step.STARTED)),
            failed=self._ended,
            routing=Routing(ledger, owner=self.id, seen=lambda event: restored(event, stores.blobs)),
            attends=lambda scope: scope in self._ownership.attended,
        )
        self._endings = Endings(
            self._finish,
            self._claims,
            self._running,
            self._slots,
            lull=self._lull,
            commits=self._commits,
            wake=self._wake,
        )
        self._reconciler = Reconciler(
            ledger,
            executors,
            self._running,
            stores.handler,
            owner=self.id,
            patience_s=settings.lease_s + 2 * settings.reconcile_s,
            finish=self._ended,
            observe=self._note,
            started=self._found_running,
            finishing=self._endings.__contains__,
            forget=self._endings.forget,
        )
        self._served = Served(
            ledger,
            stores.bus,
            stores.blobs,
            executors,
            serves=serves,
            receives=receives or serves,
            max_hops=settings.max_hops,
        )
        me = Owner(
            id=self.id,
            scope="",  # each beat says it: a cluster may not have been reached yet
            host=this_host(),
            pid=os.getpid(),
            lock=str(self._lock.path),
        )
        self._ownership = Ownership(ledger, me, lease_s=settings.lease_s, runs=bool(executors))

    async def __aenter__(self) -> Self:
        self._lock.__enter__()
        try:
            await self._read_registry()
            await self._beat()
        except BaseException:
            self._lock.__exit__(None, None, None)
            raise
        self._loops = asyncio.create_task(self._run(), name="dispatcher")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.stop(grace_s=0.0 if kind else None)
        finally:
            self._lock.__exit__(kind, error, trace)

    async def wait(self) -> None:
        """Until a fault of Ion's own breaks the dispatcher, which it raises; else for ever."""
        if self._loops is not None:
            await asyncio.shield(self._loops)

    async def stop(self, *, grace_s: float | None = None) -> None:
        """Claims no more, lets running jobs end for `grace_s` (None: as set), then gives them up, relays what is
        committed and leaves.
        """
        if self._loops is None:
            return
        loops, self._stopping = self._loops, True
        self._wake.set()
        try:
            if not loops.done():
                await self._claimed.wait()
                await self._drain(self._settings.stop_grace_s if grace_s is None else grace_s)
                await self._relay_rest()
        finally:
            self._loops = None
            await self._end(loops)
        await self._stores.ledger.retire(self.id)

    @property
    def running(self) -> Sequence[Job]:
        """The jobs whose attempts this dispatcher runs."""
        return [job for job, _ in self._running.jobs.values()]

    def hurry(self) -> None:
        """Lets `stop` wait no longer for running jobs: they are given up now."""
        self._hurry.set()
        self._running.freed.set()

    # ---- loops ------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        async with Tasks() as group:
            self._group = group
            self._endings.begin(group)
            for provider, executor in self._executors.items():
                self._spawn(self._watch(executor), f"watch {provider}")
            self._spawn(self._claim(), "claim")
            self._spawn(self._relay.run(), "relay")
            self._spawn(self._hear(), "hear")
            beating = self._every(self._settings.lease_s / 3, self._beat, "beating", now=self._beat_now)
            self._spawn(beating, "beat")
            self._spawn(self._every(self._settings.reconcile_s, self._reconcile, "reconciling"), "reconcile")
            if any(executor.guarantees.adopts for executor in self._executors.values()):
                self._spawn(self._every(self._settings.sweep_s, self._reconciler.sweep, "sweeping"), "sweep")

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        if self._group is None:
            raise RuntimeError("the dispatcher is not open")
        self._group.create_task(work, name=name)

    async def _claim(self) -> None:
        try:
            await self._claim_until_stopped()
        finally:
            self._claimed.set()

    async def _claim_until_stopped(self) -> None:
        backoff = Backoff("claiming jobs")
        while not self._stopping:
            self._wake.clear()
            self._running.freed.clear()
            try:
                if self._stale or self._claims.tripped:
                    await self._read_registry()
                if self._expected:
                    expected, self._expected = self._expected, set()
                    await self._claims.claim_of(expected)
                    await asyncio.sleep(0)  # what was claimed begins first
                due, self._due = self._due, False
                again_s = await self._claims.round(fresh=due)
                backoff.fine()
            except UnavailableError as error:
                self._due = True
                await backoff.wait(error)
                continue
            timer = asyncio.get_running_loop().call_later(again_s, self._look)
            try:
                await self._wake.wait()
            finally:
                timer.cancel()

    def _expect(self, modules: Collection[str]) -> None:
        """Children of these modules were admitted here: that is known before the ledger's news is read."""
        self._expected |= set(modules)
        self._wake.set()

    def _look(self) -> None:
        """More may be due than at the last look."""
        self._due = True
        self._wake.set()

    async def _hear(self) -> None:
        """Turns the ledger's news into looks."""
        async with self._stores.ledger.listen(Changes.DUE | Changes.REGISTRY | Changes.CANCEL) as news:
            self._stale = True  # what came before this was not heard
            self._look()
            while True:
                changes = await news.wait()
                if Changes.REGISTRY in changes:
                    self._stale = True
                if Changes.CANCEL in changes:
                    await persist(self._reconciler.cancel_marked, "cancelling jobs")
                self._look()

    async def _watch(self, executor: Executor) -> None:
        async for statuses in executor.watch():
            if not statuses:  # it has reached its place, say
                self._stale = True
                self._beat_now.set()  # nothing is claimed there before the ledger knows
            for status in statuses:
                if status.final:
                    self._ended(status, executor)
                elif status.phase is Phase.RUNNING and len(self._running.jobs) == 1:
                    self._lull.begin()

    async def _every(
        self,
        period_s: float,
        work: Callable[[], Coroutine[Any, Any, None]],
        doing: str,
        *,
        now: asyncio.Event | None = None,
    ) -> None:
        now = now or asyncio.Event()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(period_s):
                    await now.wait()
            now.clear()
            try:
                await persist(work, doing)
            except IonError as error:  # what one look met, the next one meets again if it is still there
                log.error("%s met something that it cannot use: %s", doing, error)

    # ---- steps ------------------------------------------------------------------------------------------------

    async def _beat(self) -> None:
        self._adopting = True
        self._ownership.attend(e.guarantees.scope for e in self._executors.values())
        self._adopted += await self._ownership.beat()
        for provider, executor in self._executors.items():
            scope = executor.guarantees.scope
            sharers = sum(1 for owner in self._ownership.owners if scope in owner.scope.split(","))
            self._slots[provider].share_with(sharers)
        self._claims.know(self._served.registered, self._ownership.owners)
        if self._adopted or self._loops is None:
            log.info("taking over %d running jobs of dispatchers that died", len(self._adopted))
            await self._reconciler.recover(self._adopted)
            self._adopted.clear()
        self._adopting = False
        self._look()

    async def _reconcile(self) -> None:
        if not self._adopting:  # else what the dead have left is being recovered, or will be with the next beat
            await self._reconciler.compare()
        await self._read_registry()
        await self._claims.follow()
        await self._reconciler.bury_orphaned()

    async def _read_registry(self) -> None:
        self._stale, self._due = False, True
        await self._served.read(self._group)
        self._ownership.serve(self._served.able, self._served.places)
        self._claims.know(self._served.registered, self._ownership.owners)

    def _found_running(self, job: Job, provider: str) -> None:
        """An attempt outlived its dispatcher, and takes room here now."""
        module = self._served.modules.get(job.module)
        self._slots[provider].take(job.id, job.attempt, module.resources if module else Resources())

    def _ended(self, status: Status, executor: Executor) -> None:
        self._endings.add(status, executor)

    def _note(self, progress: Progress) -> None:
        if progress.step in (Step.FAILED, Step.DEAD) or self._served.some_ail:
            self._stale = True  # the breaker's counts have changed
        self._observe(progress)

    # ---- stopping ---------------------------------------------------------------------------------------------

    async def _end(self, loops: asyncio.Task[None]) -> None:
        if self._group is None:  # they have not begun
            loops.cancel()
        else:
            await self._group.end()
        with contextlib.suppress(asyncio.CancelledError):
            await loops

    async def _drain(self, grace_s: float) -> None:
        await self._leave()
        if not await self._settled_within(grace_s, hurried=True):
            self._finish.giving_up = True
            modules = self._served.modules
            running = {job.module for job, _ in self._running.jobs.values()}
            longest_s = max((modules[name].grace_s for name in running if name in modules), default=0.0)
            for (job, attempt), (_, provider) in list(self._running.jobs.items()):
                executor = self._executors[provider]
                stopped = Failure(kind=FailureClass.LOST, message="its dispatcher stopped")
                await executor.cancel(Handle(scope=executor.guarantees.scope, job=job, attempt=attempt), stopped)
            await self._settled_within(longest_s + ENDING_S)

    async def _leave(self) -> None:
        """What goes on without a dispatcher is left to the next one."""
        for (job, attempt), (_, provider) in list(self._running.jobs.items()):
            executor = self._executors[provider]
            handle = Handle(scope=executor.guarantees.scope, job=job, attempt=attempt)
            if executor.guarantees.adopts and handle not in self._endings:
                await executor.leave(handle)
                self._endings.free(handle)

    async def _settled_within(self, seconds: float, *, hurried: bool = False) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while (self._running.jobs or self._endings) and not (hurried and self._hurry.is_set()):
                    self._running.freed.clear()
                    await self._running.freed.wait()
        return not self._running.jobs

    async def _relay_rest(self) -> None:
        try:
            async with asyncio.timeout(ENDING_S):
                await self._relay.drain()
        except TimeoutError:
            log.warning("what is committed will be released by the next dispatcher: it takes more than %g s", ENDING_S)
        except IonError as error:
            log.warning("what is committed will be released by the next dispatcher: %s", error)
