"""A simulated place where attempts run, and the executor through which one dispatcher sees it.

The place outlives dispatchers, as a host or a cluster does. What happens to its attempts (they write results, fail by a
class, run twice, hang, vanish) is the schedule's choice; the executors only tell of it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from types import TracebackType
from typing import Self

from ion.errors import NotFoundError
from ion.model.job import Failure, FailureClass
from ion.model.manifest import ManifestRef
from ion.model.module import Resources, Revision
from ion.ports.executor import Assignment, Executor, ExecutorGuarantees, Handle, Phase, Status

RETELL_S = 7.0
CLUSTER = "cluster"
"""The scope of what is no host's."""
DEVICES = ("0", "1")


class Attempt:
    """One attempt at a place. `stored` are the manifests that its executions wrote."""

    def __init__(self, assignment: Assignment, handle: Handle, watcher: "PlaceExecutor") -> None:
        self.assignment, self.handle, self.watcher = assignment, handle, watcher
        self.hangs = False
        self.stored: list[ManifestRef] = []
        self.status = Status(handle=handle, phase=Phase.PENDING)
        self.stopping: Failure | None = None

    def succeed(self, manifest: ManifestRef) -> None:
        self._end(Status(handle=self.handle, phase=Phase.SUCCEEDED, manifest=manifest, log=manifest.log))

    def fail(self, failure: Failure, log: str = "") -> None:
        self._end(Status(handle=self.handle, phase=Phase.FAILED, failure=failure, log=log))

    def _end(self, status: Status) -> None:
        if not self.status.final:
            self.status = status
            self.watcher.woken.set()


class Place:
    """The attempts of one scope. Executions of `forgotten` ones may still come late."""

    def __init__(self, scope: str) -> None:
        self.scope = scope
        self.attempts: dict[Handle, Attempt] = {}
        self.forgotten: list[Attempt] = []


class PlaceExecutor(Executor):
    """What one dispatcher sees of a place. `lives` says whether its dispatcher does."""

    def __init__(self, place: Place, lives: Callable[[], bool]) -> None:
        self._place, self.lives = place, lives
        self.woken = asyncio.Event()

    @property
    def guarantees(self) -> ExecutorGuarantees:
        return ExecutorGuarantees(scope=self._place.scope, adopts=False)

    @property
    def capacity(self) -> Resources:
        return Resources(cpu=4.0, gpu=len(DEVICES))

    @property
    def devices(self) -> tuple[str, ...]:
        return DEVICES

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The schedule ends what runs."""

    def check(self, revision: Revision) -> None:
        """Everything can be run here."""

    async def submit(self, assignment: Assignment) -> Handle:
        handle = Handle(scope=self._place.scope, job=assignment.job.id, attempt=assignment.job.attempt)
        if handle not in self._place.attempts:
            self._place.attempts[handle] = Attempt(assignment, handle, self)
        return handle

    async def state(self, handle: Handle) -> Status:
        attempt = self._place.attempts.get(handle)
        return Status(handle=handle, phase=Phase.UNKNOWN) if attempt is None else attempt.status

    async def watch(self) -> AsyncIterator[Sequence[Status]]:
        while True:
            self.woken.clear()
            final = [one.status for one in self._watched() if one.status.final]
            if final:
                yield final
            try:
                async with asyncio.timeout(RETELL_S if final else None):
                    await self.woken.wait()
            except TimeoutError:
                continue

    async def logs(self, handle: Handle, *, start: int = 0) -> AsyncIterator[bytes]:
        raise NotFoundError("nobody logs here")
        yield b""

    async def cancel(self, handle: Handle, failure: Failure | None = None) -> None:
        """The schedule ends it when it likes: a module may take its grace."""
        if (attempt := self._place.attempts.get(handle)) is not None:
            attempt.stopping = failure or Failure(kind=FailureClass.LOST, message="it was cancelled")

    async def recover(self) -> Sequence[Status]:
        """Takes over what nobody watches; as at a host, it is ended, and told as lost unless its manifest is there."""
        for attempt in self._place.attempts.values():
            if not attempt.watcher.lives():
                attempt.watcher = self
                if attempt.stored:
                    attempt.succeed(attempt.stored[0])
                attempt.fail(Failure(kind=FailureClass.LOST, message="its dispatcher died"))
        return [one.status for one in self._watched() if one.status.final]

    async def remove(self, handle: Handle) -> None:
        """Forgets it, if it is not another living dispatcher's; an execution of it may still come late."""
        attempt = self._place.attempts.get(handle)
        if attempt is not None and (attempt.watcher is self or not attempt.watcher.lives()):
            del self._place.attempts[handle]
            self._place.forgotten.append(attempt)

    def _watched(self) -> list[Attempt]:
        return [one for one in self._place.attempts.values() if one.watcher is self]
