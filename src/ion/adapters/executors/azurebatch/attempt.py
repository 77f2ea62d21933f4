"""One attempt as a task of Batch, from its making to its last state.

It sleeps until the watch tells that its task changed, or until a time limit; then it looks at the task as it stands,
never at what changed. So the same code follows an attempt that another dispatcher made, and one that Batch runs anew
after its node went away: that is a second execution of the same attempt (R3). It ends in a final status, and before
that its log is stored (R7).
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec

from ion.adapters.executors.azurebatch.client import Batch
from ion.adapters.executors.azurebatch.ending import Report, failure_of, lost, read_report, trouble, vanished
from ion.adapters.executors.azurebatch.log import TaskLog
from ion.adapters.executors.azurebatch.making import Credentials, Making, Secrets, module_secrets
from ion.adapters.executors.azurebatch.settings import BatchSettings
from ion.adapters.executors.azurebatch.task import REPORT
from ion.adapters.executors.azurebatch.watch import Row, TaskWatch, row_of
from ion.adapters.executors.backoff import Backoff, RefusedError
from ion.adapters.executors.followed import NEVER, FollowedAttempt, Shared, T, loop_s, persistently
from ion.errors import IonError, NotFoundError, UnavailableError
from ion.model.job import Failure, FailureClass
from ion.model.manifest import attempt_prefix, piece_path, pieces_prefix
from ion.ports.executor import Assignment, Handle, Phase, Status

MAKING_S = 30.0
"""How long adding a task is tried again, before the ledger is told that it is not possible now."""
ENDED_S = 120.0
"""How long Batch may take to end a task that it was told to end, before it counts as gone with its node."""
UNSEEN_S = 20.0
"""After so long a task that was added and is in no list is asked for."""
NODE_S = 300.0
"""A node that its account cannot reach for so long counts as gone, with its files."""
_REPORT_MOST = 256 * 1024
_RUN = "run-"
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Place(Shared):
    """What all attempts of one executor share."""

    batch: Batch
    settings: BatchSettings
    scope: str
    making: Making
    watch: TaskWatch
    credentials: Credentials
    secrets: Secrets


class Attempt(FollowedAttempt[TaskLog]):
    """One attempt; see `FollowedAttempt`."""

    def __init__(self, assignment: Assignment, handle: Handle, place: Place) -> None:
        super().__init__(assignment, handle, place)
        self._place = place
        self._job, self._task = place.making.place(assignment)
        self._report = Report()
        self._run_s = 0.0
        self._again = False
        self._unseen_by = self._end_by = NEVER

    def stop(self, failure: Failure) -> None:
        """One that took too long because its node went away is lost: its module may have had time enough."""
        late = self._again and failure.kind is FailureClass.TIMEOUT
        super().stop(lost(f"its node went away, and {failure.message}") if late else failure)

    async def close(self) -> None:
        """Reads its log no further; the attempt itself goes on."""
        if self.log is not None:
            self.log.close()
            self.log.file.unlink(missing_ok=True)

    # ---- its life -----------------------------------------------------------------------------------------------

    async def _live(self) -> Status:
        await self._made()
        reading = asyncio.create_task(self._store_pieces(), name=f"log of {self._handle.job}")
        try:
            failure = await self._followed()
        finally:
            reading.cancel()
            await asyncio.wait({reading})
        self._began_s, self._ended_s = self._report.began_s, self._report.ended_s
        if failure is not None:
            return await self._failed(failure)
        message = "commit ended well, but its manifest is not here: its node writes to other blobs than Ion reads"
        return await self._succeeded(trouble(message))

    async def _made(self) -> None:
        """Adds its task, or finds it; what is refused now is tried again for a while, and as long as it is there."""
        place, backoff, until = self._place, Backoff(), loop_s() + MAKING_S
        place.watch.jobs.add(self._job)
        while True:
            self._moved.clear()
            try:
                if row := place.watch.rows.get(self._handle):  # perhaps of settings that named another pool
                    self._adopted, self._job, self._task = True, row.job, row.task
                secrets = self._secrets()
                if self.log is None:
                    self.log = self._new_log(tuple(secrets.values()))
                if not self._adopted:
                    blobs = await place.credentials(self._assignment)
                    self._adopted = not await place.making.make(self._assignment, blobs, secrets)
            except UnavailableError as error:
                if self._verdict is not None or (loop_s() > until and not self._adopted):
                    raise
                await self._sleep_until(loop_s() + backoff.next_s(error))
            else:
                place.watch.look()
                return

    def _secrets(self) -> dict[str, str]:
        """Those of the module. Raises UnavailableError: one is missing, or the attempt is not to be made any more."""
        if self._verdict is not None and not self._adopted:
            raise UnavailableError(self._verdict.message)
        return module_secrets(self._module, self._place.secrets)

    def _new_log(self, secrets: tuple[str, ...]) -> TaskLog:
        file, limit = self._log_file(), self._module.log_limit
        return TaskLog(self._place.batch, self._job, self._task, file, limit=limit, secrets=secrets)

    async def _followed(self) -> Failure | None:
        """Until it has ended: how it failed, None if it committed."""
        self._unseen_by = loop_s() + UNSEEN_S
        while True:
            self._moved.clear()
            row = self._place.watch.rows.get(self._handle)
            if row is None and await self._is_gone():
                return self._verdict or vanished()
            look_at = self._look(row) if row is not None else self._unseen_by
            if row is not None and row.completed:
                await self._read_report()
                return self._verdict or failure_of(row, self._report, self._module, self._place.settings)
            if self._verdict is not None and self._end_by == NEVER:
                await self._end()
            if loop_s() >= self._end_by:
                return self._verdict
            await self._sleep_until(min(look_at, self._end_by))

    async def _is_gone(self) -> bool:
        """Whether its task, which is in no list, is not there: it is asked for alone. A new one has time to appear."""
        if self._unseen_by != NEVER and loop_s() < self._unseen_by:
            return False
        try:
            row = row_of(await self._place.batch.task(self._job, self._task), self._job, self._place.scope)
        except NotFoundError:
            return True
        except UnavailableError as error:
            _LOG.warning("job %s attempt %d cannot be looked at yet: %s", self._handle.job, self._handle.attempt, error)
            self._unseen_by = loop_s() + UNSEEN_S
            return False
        if row is not None:
            self._place.watch.put(row)
            self._moved.set()
        return row is None

    def _look(self, row: Row) -> float:
        """Notes that it runs, and what it waits for too long; when to look again by the loop's clock."""
        self._unseen_by = NEVER
        if self._run_s and row.started_s not in (0.0, self._run_s):
            self._again = True
        if self.log is not None and row.started_s:
            self.log.see(row.started_s)
        self._run_s = row.started_s or self._run_s
        if row.running and self.status.phase is Phase.PENDING:
            self._tell(msgspec.structs.replace(self.status, phase=Phase.RUNNING))
        if row.running or row.completed:
            return NEVER
        left_s = row.changed_s + self._module.start_timeout_s - self._place.batch.now_s()
        if left_s > 0:
            return loop_s() + left_s
        if row.again:
            self.stop(lost(f"its node went away, and no other took it within {self._module.start_timeout_s:g} s"))
        else:
            self.stop(trouble(f"no node took its task within {self._module.start_timeout_s:g} s: has the pool any?"))
        return NEVER

    async def _end(self) -> None:
        """Tells Batch to end its task; where that is not heard it is told again."""
        await self._read_on()
        try:
            await self._place.batch.terminate(self._job, self._task)
        except NotFoundError:
            self._place.watch.rows.pop(self._handle, None)
            self._unseen_by = loop_s()
            self._moved.set()
        except IonError as error:
            _LOG.warning("job %s attempt %d cannot be ended yet: %s", self._handle.job, self._handle.attempt, error)
            asyncio.get_running_loop().call_later(1.0, self._moved.set)
            return
        self._end_by = loop_s() + self._module.grace_s + ENDED_S
        self._place.watch.look()

    # ---- its end ------------------------------------------------------------------------------------------------

    async def _read_report(self) -> None:
        """What the node says; nothing if it is gone."""

        async def read() -> bytes:
            batch = self._place.batch
            try:
                if not (size := min(await batch.size(self._job, self._task, REPORT), _REPORT_MOST)):
                    return b""
                pieces = batch.read(self._job, self._task, REPORT, 0, size - 1)
                return b"".join([piece async for piece in pieces])
            except NotFoundError:
                return b""

        self._report = read_report(await _of_node(read) or b"")

    async def _keep_log(self) -> str:
        """Stores the whole log. Returns its blob path, empty if it never logged."""
        handle = self._handle
        if self.log is not None:
            fault = await _of_node(self.log.complete)
            if fault := self.log.close() if fault is None else fault:
                _LOG.error("%s", fault)
        if self.log is None or not self.log.begun:  # its node is gone
            return await persistently(partial(self._place.handler.find_log, handle.job, handle.attempt))
        execution = self._report.execution or self._run
        keep = partial(self._place.handler.keep_log, handle.job, handle.attempt, execution, self.log.file)
        path = await persistently(keep)
        if self.log.in_pieces or self._adopted:
            await self._drop_pieces()
        return path

    @property
    def _run(self) -> str:
        """The name of what runs now, for all who follow it. It is no execution's: which that is the node tells last."""
        return f"{_RUN}{self._run_s * 1e6:.0f}"

    async def _drop_pieces(self) -> None:
        """The whole log is stored; what is left of its pieces, of all runs, only takes room."""
        handle, blobs = self._handle, self._place.blobs
        prefix = attempt_prefix(handle.job, handle.attempt)
        try:
            found = {blob.path.removeprefix(prefix).partition("/")[0] async for blob in blobs.list(prefix)}
            for run in sorted(name for name in found if name.startswith(_RUN)):
                await blobs.delete(pieces_prefix(handle.job, handle.attempt, run))
        except IonError as error:
            _LOG.warning("the pieces of the log of job %s cannot be deleted and stay: %s", handle.job, error)

    # ---- beside -------------------------------------------------------------------------------------------------

    async def _store_pieces(self) -> None:
        """Reads what the growing log has new, and stores it, every few seconds."""
        while True:
            await asyncio.sleep(self._place.pieces_s())
            if self.log is None or self.status.phase is not Phase.RUNNING:
                continue
            await self._read_on()
            path = partial(piece_path, self._handle.job, self._handle.attempt, self._run)
            try:
                await self.log.store_piece(self._place.blobs, path)
            except IonError as error:
                _LOG.warning("a piece of the log of job %s cannot be stored yet: %s", self._handle.job, error)

    async def _read_on(self) -> None:
        """Reads what the log has new, if the node tells."""
        try:
            if self.log is not None:
                await self.log.read_on()
        except IonError as error:
            _LOG.warning("the log of job %s cannot be read for the moment: %s", self._handle.job, error)


async def _of_node(step: Callable[[], Coroutine[Any, Any, T]]) -> T | None:
    """Makes a step that asks a node; None if the account says for `NODE_S` that it cannot reach it.

    While the account itself is away, or wants to be left alone, that says nothing about the node.
    """
    backoff, gone_at = Backoff(), NEVER
    while True:
        try:
            return await step()
        except UnavailableError as error:
            refused = isinstance(error, RefusedError) and error.status not in (0, 401, 403, 429)
            gone_at = min(gone_at, loop_s() + NODE_S) if refused else NEVER
            if not backoff.tries or loop_s() >= gone_at:
                _LOG.warning("the end of an attempt waits for its node: %s", error)
            if loop_s() >= gone_at:
                return None
            await asyncio.sleep(backoff.next_s(error))
