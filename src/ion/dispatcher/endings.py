"""Attempts that are over: each is finished in a task of its own, and the next has its room as early as may be."""

import asyncio
import logging
from collections.abc import Mapping

from ion.dispatcher.claim import Claims, Running
from ion.dispatcher.finish import Finish
from ion.dispatcher.lull import Lull
from ion.dispatcher.slots import Slots
from ion.dispatcher.tasks import Tasks
from ion.errors import IonError
from ion.messaging.concerning import concerning
from ion.model.job import FailureClass, Job
from ion.ports.executor import Executor, Handle, Status

log = logging.getLogger(__name__)

UNSETTLED_S = 2.0
"""After how long an attempt that could not be settled is looked at again."""


class Endings:
    """`lull` suits to clear up, `commits` to release; `wake` is set when there is room, or news of what is over."""

    def __init__(
        self,
        finish: Finish,
        claims: Claims,
        running: Running,
        slots: Mapping[str, Slots],
        *,
        lull: Lull,
        commits: Lull,
        wake: asyncio.Event,
    ) -> None:
        self._finish, self._claims, self._running, self._slots = finish, claims, running, slots
        self._lull, self._commits, self._wake = lull, commits, wake
        self._tasks: dict[Handle, asyncio.Task[None]] = {}
        self._early: list[tuple[Status, Executor]] = []
        self._group: Tasks | None = None

    def __contains__(self, handle: Handle) -> bool:
        return handle in self._tasks

    def __len__(self) -> int:
        return len(self._tasks)

    def begin(self, group: Tasks) -> None:
        """Finishes in this group, first what was over before the loops ran."""
        self._group = group
        for status, executor in self._early:
            self.add(status, executor)

    def add(self, status: Status, executor: Executor) -> None:
        """Finishes an attempt; a repeated final state is ignored meanwhile."""
        if status.handle in self._tasks:
            return
        if self._group is None:
            self._early.append((status, executor))
            return
        work = self._one(status, executor)
        self._tasks[status.handle] = self._group.create_task(work, name=f"finish {status.handle.job}")

    def free(self, handle: Handle) -> None:
        """Others may have its room; what it left is cleared away when they have begun."""
        self.forget(handle)
        self._freed()

    def forget(self, handle: Handle) -> None:
        self._running.drop(handle)
        for slots in self._slots.values():
            slots.give(handle.job, handle.attempt)

    async def _one(self, status: Status, executor: Executor) -> None:
        try:
            job, _ = self._running.jobs.get((status.handle.job, status.handle.attempt), (None, ""))
            early = status.failure is None and self._claims.some_wait
            if status.failure is None:  # what is to be released goes with its commit
                self._commits.begin()
            if early:  # it is over, whatever the ledger says: the next claim goes with its commit too
                self._lull.begin()
                self.free(status.handle)
            if await self._settle(status, job):
                if status.failure is None or status.failure.kind is not FailureClass.INFRASTRUCTURE:
                    if not early or self._claims.short:
                        self.free(status.handle)
                    await self._lull.wait()
                # Else it may run: its submission was not answered, say. Its room is free once that is cleared away.
                await self._finish.clear(status, executor)
            else:
                await asyncio.sleep(UNSETTLED_S)  # the executor tells it again until its owner has settled it
        except IonError as error:  # its state is told again, and it keeps its slot: nobody else will settle it better
            log.error("job %s cannot be settled: %s", status.handle.job, error)
            await asyncio.sleep(UNSETTLED_S)
        else:
            self.forget(status.handle)
        finally:
            del self._tasks[status.handle]
            self._freed()

    async def _settle(self, status: Status, job: Job | None) -> bool:
        with concerning(job):
            return await self._finish.settle(status, job)

    def _freed(self) -> None:
        self._running.freed.set()
        self._wake.set()
