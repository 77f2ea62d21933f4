"""An executor whose attempts run elsewhere and outlive their dispatcher: what is the same wherever that is.

Every followed attempt is a task of asyncio here. The connection is made in the background, so a place that is away
keeps nobody from their other work.
"""

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from ion.adapters.executors.followed import FollowedAttempt
from ion.adapters.executors.logfolder import LogFolder
from ion.adapters.executors.news import News
from ion.errors import NotFoundError
from ion.model.job import Failure, FailureClass
from ion.model.module import Resources
from ion.ports.blobs import Blobs
from ion.ports.executor import Assignment, Executor, ExecutorGuarantees, Handle, Handler, Status

A = TypeVar("A", bound=FollowedAttempt[Any])


class AdoptingExecutor(Executor, Generic[A]):
    """`work` is a folder for logs while they grow."""

    def __init__(self, work: Path, handler: Handler, blobs: Blobs) -> None:
        self._work = LogFolder(work)
        self._handler, self._blobs = handler, blobs
        self._scope = ""
        self._why = ""
        self._attempts: dict[Handle, A] = {}
        self._tasks: dict[Handle, asyncio.Task[None]] = {}
        self._open = False
        self._checked: set[str] = set()
        self._news = News(lambda: [attempt.status for attempt in self._attempts.values()], lambda: self._open)

    @property
    def guarantees(self) -> ExecutorGuarantees:
        """The scope is empty until the place has been reached."""
        return ExecutorGuarantees(scope=self._scope, adopts=True)

    @property
    def capacity(self) -> Resources:
        return Resources()

    @property
    def devices(self) -> tuple[str, ...]:
        return ()

    @abstractmethod
    def _attempt(self, assignment: Assignment) -> A:
        """One to be followed. Raises UnavailableError until the place is reached."""

    async def submit(self, assignment: Assignment) -> Handle:
        attempt = self._attempt(assignment)
        handle = attempt.status.handle
        if handle not in self._attempts:
            self._attempts[handle] = attempt
            self._tasks[handle] = asyncio.create_task(attempt.run(), name=f"attempt {handle.job} {handle.attempt}")
            self._news.tell(attempt.status)
        return handle

    def watch(self) -> AsyncIterator[Sequence[Status]]:
        return self._news.watch()

    async def logs(self, handle: Handle, *, start: int = 0) -> AsyncIterator[bytes]:
        attempt = self._attempts.get(handle)
        if attempt is None or attempt.log is None:
            raise NotFoundError(f"attempt {handle.attempt} of job {handle.job} has no log here")
        stored = bool(attempt.status.log) and not attempt.log.file.exists()
        pieces = self._blobs.read(attempt.status.log, start=start) if stored else attempt.log.stream(start)
        async for piece in pieces:
            yield piece

    async def cancel(self, handle: Handle, failure: Failure | None = None) -> None:
        if (attempt := self._attempts.get(handle)) is not None and not attempt.ended.is_set():
            attempt.stop(failure or Failure(kind=FailureClass.LOST, message="it was cancelled"))

    async def leave(self, handle: Handle) -> None:
        attempt, task = self._attempts.pop(handle, None), self._tasks.pop(handle, None)
        if task is not None:
            task.cancel()
            await asyncio.wait({task})
        if attempt is not None:
            await attempt.close()

    async def _ended(self, handle: Handle) -> None:
        """Ends an attempt that is followed here, and waits until its log is stored."""
        if (attempt := self._attempts.get(handle)) is not None and not attempt.ended.is_set():
            await self.cancel(handle)
            await attempt.ended.wait()
