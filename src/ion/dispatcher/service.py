"""One dispatcher: the loops, opened and closed together."""

import asyncio
import contextlib
import functools
import logging
import os
import socket
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from ion.dispatcher.admit import Admissions
from ion.dispatcher.backoff import Backoff, persist
from ion.dispatcher.claim import Claims, Running
from ion.dispatcher.finish import Finish, Observer, Progress, Step
from ion.dispatcher.lull import Lull
from ion.dispatcher.ownership import LockFile, Ownership
from ion.dispatcher.reconcile import Reconciler
from ion.dispatcher.relay import Relay
from ion.dispatcher.slots import Slots
from ion.dispatcher.tasks import Tasks
from ion.errors import IonError, UnavailableError, UnsupportedError
from ion.model.ids import new_id
from ion.model.job import Failure, FailureClass, Job
from ion.model.module import Resources
from ion.ports.blobs import Blobs
from ion.ports.bus import Bus
from ion.ports.documents import Documents
from ion.ports.executor import Executor, Handle, Handler, Phase, Status
from ion.ports.ledger import Changes, Ledger, Owner, Registered

log = logging.getLogger(__name__)

ENDING_S = 30.0
"""How long attempts that are given up may take beyond their modules' grace (killing, keeping logs, settling), and what
is left to relay.
"""
UNSETTLED_S = 2.0
"""After how long an attempt that could not be settled is looked at again."""


class DispatcherSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`lease_s`: a beat that stands still for so long means death (a beat comes three times as often).

    `reconcile_s`: between two full comparisons. `stop_grace_s`: how long running jobs may end by themselves when the
    dispatcher stops. `max_hops`: jobs so many hops from the root are held. `locks`: a folder for lock files.
    """

    lease_s: float = 15.0
    reconcile_s: float = 10.0
    stop_grace_s: float = 30.0
    max_hops: int = 32
    locks: Path


class Stores(msgspec.Struct, frozen=True, kw_only=True):
    """The opened adapters that a dispatcher works on."""

    ledger: Ledger
    documents: Documents
    blobs: Blobs
    bus: Bus
    handler: Handler


@functools.cache
def this_host() -> str:
    """The machine, its boot, and which of its folders are seen: where all agree, a lock file means the same."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{socket.gethostname()}:{boot}:{Path('/proc/self/ns/mnt').readlink()}"


def _ignore(_: Progress) -> None:
    return None


class Dispatcher:
    """Opened by `async with`; works until `stop`, or until the context is left.

    `observe` is told of each step, `spare` tells the free part of the disk (0 to 1), and `final` says for which jobs a
    module's own failure is not tried again, whatever the module's retries are.

    Leaving it by an error or a second interrupt ends running jobs at once and gives them back.
    """

    def __init__(
        self,
        stores: Stores,
        executors: Mapping[str, Executor],
        settings: DispatcherSettings,
        *,
        observe: Observer = _ignore,
        spare: Callable[[], float] = lambda: 1.0,
        final: Callable[[Job], bool] = lambda _: False,
    ) -> None:
        self.id = new_id()
        self._stores, self._executors, self._settings = stores, executors, settings
        self._observe = observe
        self._running = Running()
        self._slots = {provider: Slots(executor.capacity) for provider, executor in executors.items()}
        self._lock = LockFile(settings.locks / f"{self.id}.lock")
        self._registered: Sequence[Registered] = ()
        self._wake = asyncio.Event()
        self._lull, self._commits = Lull(), Lull()
        self._expected: set[str] = set()
        self._stale = self._due = True
        self._stopping = False
        self._claimed = asyncio.Event()
        self._hurry = asyncio.Event()
        self._finishing: dict[Handle, asyncio.Task[None]] = {}
        self._adopted: list[Job] = []
        self._adopting = False
        self._early: list[tuple[Status, Executor]] = []
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
        )
        self._reconciler = Reconciler(
            ledger,
            executors,
            self._running,
            stores.handler,
            owner=self.id,
            patience_s=settings.lease_s + 2 * settings.reconcile_s,
            finish=self._ended,
            started=self._found_running,
            finishing=self._finishing.__contains__,
            forget=self._forget,
        )
        self._admissions = Admissions(stores.bus, ledger, stores.blobs, max_hops=settings.max_hops)
        me = Owner(
            id=self.id,
            scope=",".join(sorted(e.guarantees.scope for e in executors.values())),
            host=this_host(),
            pid=os.getpid(),
            lock=str(self._lock.path),
        )
        self._ownership = Ownership(ledger, me, lease_s=settings.lease_s)

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
            for status, executor in self._early:
                self._ended(status, executor)
            for provider, executor in self._executors.items():
                self._spawn(self._watch(executor), f"watch {provider}")
            self._spawn(self._claim(), "claim")
            self._spawn(self._relay.run(), "relay")
            self._spawn(self._hear(), "hear")
            self._spawn(self._every(self._settings.lease_s / 3, self._beat, "beating"), "beat")
            self._spawn(self._every(self._settings.reconcile_s, self._reconcile, "reconciling"), "reconcile")

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
            for status in statuses:
                if status.final:
                    self._ended(status, executor)
                elif status.phase is Phase.RUNNING and len(self._running.jobs) == 1:
                    self._lull.begin()

    async def _every(self, period_s: float, work: Callable[[], Coroutine[Any, Any, None]], doing: str) -> None:
        while True:
            await asyncio.sleep(period_s)
            try:
                await persist(work, doing)
            except IonError as error:  # what one look met, the next one meets again if it is still there
                log.error("%s met something that it cannot use: %s", doing, error)

    # ---- steps ------------------------------------------------------------------------------------------------

    async def _beat(self) -> None:
        self._adopting = True
        self._adopted += await self._ownership.beat()
        for provider, executor in self._executors.items():
            scope = executor.guarantees.scope
            sharers = sum(1 for owner in self._ownership.owners if scope in owner.scope.split(","))
            self._slots[provider].share_with(sharers)
        self._claims.know(self._registered, self._ownership.owners)
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
        await self._reconciler.bury_orphaned()

    async def _read_registry(self) -> None:
        self._stale, self._due = False, True
        self._registered = await self._stores.ledger.modules()
        self._ownership.serve([r.module.name for r in self._registered if self._can_run(r)])
        self._claims.know(self._registered, self._ownership.owners)
        if self._group is not None and not self._shares_store():
            await self._admissions.follow([r.module for r in self._registered], self._group)

    def _can_run(self, registered: Registered) -> bool:
        """Whether its concurrency is to be shared with this dispatcher."""
        executor = self._executors.get(registered.module.provider)
        try:
            if executor is not None:
                executor.check(registered.revision)
        except (UnsupportedError, UnavailableError):  # said when there is something to claim
            return False
        return executor is not None

    def _shares_store(self) -> bool:
        """Where bus and ledger share a store, admission is the publication, and there is nothing to receive."""
        return self._stores.bus.guarantees.store == self._stores.ledger.guarantees.store

    def _found_running(self, job: Job, provider: str) -> None:
        """An attempt outlived its dispatcher, and takes room here now."""
        needs = next((r.module.resources for r in self._registered if r.module.name == job.module), Resources())
        self._slots[provider].take(job.id, job.attempt, needs)

    def _ended(self, status: Status, executor: Executor) -> None:
        """Finishes an attempt in a task of its own; a repeated final state is ignored meanwhile."""
        if status.handle in self._finishing:
            return
        if self._group is None:  # recovered before the loops run
            self._early.append((status, executor))
            return
        work = self._finish_one(status, executor)
        self._finishing[status.handle] = self._group.create_task(work, name=f"finish {status.handle.job}")

    async def _finish_one(self, status: Status, executor: Executor) -> None:
        try:
            job, _ = self._running.jobs.get((status.handle.job, status.handle.attempt), (None, ""))
            early = status.failure is None and self._claims.some_wait
            if status.failure is None:  # what is to be released goes with its commit
                self._commits.begin()
            if early:  # it is over, whatever the ledger says: the next claim goes with its commit too
                self._lull.begin()
                self._free(status.handle)
            if await self._finish.settle(status, job):
                if status.failure is None or status.failure.kind is not FailureClass.INFRASTRUCTURE:
                    if not early or self._claims.short:
                        self._free(status.handle)
                    await self._lull.wait()
                # Else it may run: its submission was not answered, say. Its room is free once that is cleared away.
                await self._finish.clear(status, executor)
            else:
                await asyncio.sleep(UNSETTLED_S)  # the executor tells it again until its owner has settled it
        except IonError as error:  # its state is told again, and it keeps its slot: nobody else will settle it better
            log.error("job %s cannot be settled: %s", status.handle.job, error)
            await asyncio.sleep(UNSETTLED_S)
        else:
            self._forget(status.handle)
        finally:
            del self._finishing[status.handle]
            self._freed()

    def _free(self, handle: Handle) -> None:
        """Others may have its room; what it left is cleared away when they have begun."""
        self._forget(handle)
        self._freed()

    def _freed(self) -> None:
        self._running.freed.set()
        self._wake.set()

    def _forget(self, handle: Handle) -> None:
        self._running.drop(handle)
        for slots in self._slots.values():
            slots.give(handle.job, handle.attempt)

    def _note(self, progress: Progress) -> None:
        if progress.step in (Step.FAILED, Step.DEAD) or any(r.health.dead_in_row for r in self._registered):
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
        if not await self._settled_within(grace_s, hurried=True):
            self._finish.giving_up = True
            modules = {registered.module.name: registered.module for registered in self._registered}
            running = {job.module for job, _ in self._running.jobs.values()}
            longest_s = max((modules[name].grace_s for name in running if name in modules), default=0.0)
            for (job, attempt), (_, provider) in list(self._running.jobs.items()):
                executor = self._executors[provider]
                stopped = Failure(kind=FailureClass.LOST, message="its dispatcher stopped")
                await executor.cancel(Handle(scope=executor.guarantees.scope, job=job, attempt=attempt), stopped)
            await self._settled_within(longest_s + ENDING_S)

    async def _settled_within(self, seconds: float, *, hurried: bool = False) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while (self._running.jobs or self._finishing) and not (hurried and self._hurry.is_set()):
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
