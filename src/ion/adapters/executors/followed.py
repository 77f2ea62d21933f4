"""An attempt that runs elsewhere and outlives whoever follows it, from the outside: what is the same wherever that is.

It ends in a final status, and before that its log is stored (R7). Each executor says in `_live` how one is followed.
"""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from ion.adapters.executors import ends
from ion.adapters.executors.backoff import Backoff
from ion.adapters.executors.growing import GrowingLog
from ion.errors import UnavailableError
from ion.model.ids import new_id
from ion.model.job import Failure, FailureClass
from ion.model.manifest import ManifestRef
from ion.ports.blobs import Blobs
from ion.ports.executor import Assignment, Handle, Handler, Phase, Status

T = TypeVar("T")
L = TypeVar("L", bound=GrowingLog)

NEVER = float("inf")
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What all attempts of one executor share. `pieces_s` is how often growing logs are stored, `work` where they are,
    `changed` hears how attempts stand.
    """

    handler: Handler
    blobs: Blobs
    work: Path
    pieces_s: Callable[[], float]
    changed: Callable[[Status], None]


class FollowedAttempt(ABC, Generic[L]):
    """`run` is its whole life, and raises nothing but its cancellation. `status` is how it stands."""

    def __init__(self, assignment: Assignment, handle: Handle, shared: Shared) -> None:
        self.status = Status(handle=handle, phase=Phase.PENDING)
        self.ended = asyncio.Event()
        self.log: L | None = None
        self._assignment, self._handle, self._shared = assignment, handle, shared
        self._module = assignment.revision.module
        self._moved = asyncio.Event()
        self._verdict: Failure | None = None
        self._adopted = False
        self._began_s = self._ended_s = 0.0

    def moved(self) -> None:
        """Something about it changed: look."""
        self._moved.set()

    def stop(self, failure: Failure) -> None:
        """Ends the attempt with this failure, unless it is ending with another."""
        if self._verdict is None:
            self._verdict = failure
            self._moved.set()

    async def run(self) -> None:
        try:
            status = await self._live()
        except Exception as error:  # noqa: BLE001 - a fault of Ion's own must still give the job an end
            status = await self._failed(self._verdict or ends.of_error(error))
        self._tell(msgspec.structs.replace(status, began_s=self._began_s, ended_s=self._ended_s))
        self.ended.set()

    @abstractmethod
    async def close(self) -> None:
        """Reads its log no further; the attempt itself goes on."""

    @abstractmethod
    async def _live(self) -> Status:
        """Makes it, or finds it, and follows it to its end."""

    @abstractmethod
    async def _keep_log(self) -> str:
        """Stores the whole log. Returns its blob path, empty if it never logged."""

    def _tell(self, status: Status) -> None:
        self.status = status
        self._shared.changed(status)

    def _log_file(self) -> Path:
        return self._shared.work / f"{self._handle.job}-{self._handle.attempt}-{new_id()[:8]}.log"

    async def _succeeded(self, lacking: Failure) -> Status:
        """It committed, so its manifest is there; else it has failed because that is `lacking`."""
        manifest, log = await asyncio.gather(self._manifest(), self._keep_log())
        if manifest is None:
            return Status(handle=self._handle, phase=Phase.FAILED, failure=lacking, log=log)
        return self._success(manifest, log)

    async def _failed(self, failure: Failure) -> Status:
        try:
            log = await self._keep_log()
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not hide how the attempt failed
            log, message = "", f"{failure.message} (its log could not be stored: {error})"
            failure = msgspec.structs.replace(failure, message=message)
        may_have_committed = self._verdict is None and failure.kind is not FailureClass.MODULE
        if may_have_committed and (manifest := await self._manifest()) is not None:
            return self._success(manifest, log)
        return Status(handle=self._handle, phase=Phase.FAILED, failure=failure, log=log)

    def _success(self, manifest: ManifestRef, log: str) -> Status:
        manifest = msgspec.structs.replace(manifest, log=log)
        return Status(handle=self._handle, phase=Phase.SUCCEEDED, manifest=manifest, log=log)

    async def _manifest(self) -> ManifestRef | None:
        return await persistently(partial(self._shared.handler.find_manifest, self._handle.job, self._handle.attempt))

    async def _sleep_until(self, when: float) -> None:
        """Until it is told to look, or `when` by the loop's clock."""
        try:
            async with asyncio.timeout_at(when if when != NEVER else None):
                await self._moved.wait()
        except TimeoutError:
            return


def loop_s() -> float:
    return asyncio.get_running_loop().time()


async def persistently(step: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Makes a step that may be repeated, until the store that it needs is there."""
    backoff = Backoff()
    while True:
        try:
            return await step()
        except UnavailableError as error:
            if not backoff.tries:
                _LOG.warning("the end of an attempt waits: %s", error)
            await asyncio.sleep(backoff.next_s(error))
