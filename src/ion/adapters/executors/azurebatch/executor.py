"""The executor of an Azure Batch account; the package's other files each hold one part of what it does.

A task in the account is the attempt, and who follows it may change; one watch of all tasks wakes those that do.
"""

import asyncio
import hashlib
import logging
from collections.abc import Coroutine, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ion.adapters.executors.adopting import AdoptingExecutor
from ion.adapters.executors.azurebatch.attempt import Attempt, Place
from ion.adapters.executors.azurebatch.client import Batch
from ion.adapters.executors.azurebatch.making import Credentials, Making, Secrets, module_secrets
from ion.adapters.executors.azurebatch.names import jobs_prefix, task_id
from ion.adapters.executors.azurebatch.pools import Pools
from ion.adapters.executors.azurebatch.settings import BatchSettings
from ion.adapters.executors.azurebatch.task import check_mounts, check_variables, module_options, pool_of
from ion.adapters.executors.azurebatch.watch import Row, TaskWatch, row_of
from ion.adapters.executors.backoff import Backoff
from ion.errors import InvalidError, IonError, NotFoundError, UnavailableError, UnsupportedError
from ion.model.module import Revision
from ion.ports.blobs import Blobs
from ion.ports.executor import Assignment, Handle, Handler, Phase, Status

LEAST_PIECE_S, MOST_PIECE_S = 3.0, 60.0
"""How often the growing logs are read and stored; the more there are, the less often."""
_LOG = logging.getLogger(__name__)


class BatchExecutor(AdoptingExecutor[Attempt]):
    """Attempts as tasks of one Batch account.

    `credentials` grants what an attempt needs of the blobs, `secrets`
    finds those of modules, `ledger` names the ledger whose attempts they are.
    """

    def __init__(
        self,
        work: Path,
        handler: Handler,
        blobs: Blobs,
        settings: BatchSettings,
        *,
        credentials: Credentials,
        secrets: Secrets,
        ledger: str,
    ) -> None:
        super().__init__(work, handler, blobs)
        self._settings = settings
        self._credentials, self._secrets, self._ledger = credentials, secrets, ledger
        self._batch = Batch(settings)
        self._pools = Pools(self._batch)
        self._place: Place | None = None
        self._beside: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._open = True
        self._start(self._reach(), "azurebatch")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """What runs in the account goes on there."""
        self._open = False
        for handle in list(self._attempts):
            await self.leave(handle)
        for task in list(self._beside):
            task.cancel()
        if self._beside:
            await asyncio.wait(self._beside)
        if self._place is not None:
            await self._place.making.close()
        await self._batch.__aexit__(kind, error, trace)
        await asyncio.to_thread(self._work.close)
        self._news.tell()

    def check(self, revision: Revision) -> None:
        if revision.id not in self._checked:
            check(revision, self._settings)
            self._checked.add(revision.id)
        check_variables(revision.module, module_secrets(revision.module, self._secrets))
        self._connected()
        pool = pool_of(revision.module, self._settings)
        if self._pools.is_due(pool):
            self._start(self._look(pool), f"pool {pool}")
        if fault := self._pools.fault(pool, module_options(revision.module).slots):
            raise UnavailableError(f"module {revision.module.name} waits: {fault}")

    def _attempt(self, assignment: Assignment) -> Attempt:
        handle = Handle(scope=self._scope, job=assignment.job.id, attempt=assignment.job.attempt)
        return Attempt(assignment, handle, self._connected())

    async def state(self, handle: Handle) -> Status:
        """One that is followed elsewhere is never more than running here: how it ended is its follower's to say."""
        if (attempt := self._attempts.get(handle)) is not None:
            return attempt.status
        row = await self._find(handle)
        return Status(handle=handle, phase=Phase.UNKNOWN) if row is None else _unfollowed(row)

    async def recover(self) -> Sequence[Status]:
        if self._place is None:
            return ()
        await self._list(self._place)
        rows = [row for handle, row in self._place.watch.rows.items() if handle not in self._attempts]
        return [*(attempt.status for attempt in self._attempts.values()), *(_unfollowed(row) for row in rows)]

    async def remove(self, handle: Handle) -> None:
        place = self._connected()
        row = await self._find(handle)
        if handle not in self._attempts and row is not None and (work := await place.making.assignment(handle)):
            place.watch.put(row)
            await self.submit(work)  # nobody here followed it, so its log is not stored yet
        await self._ended(handle)
        row = place.watch.rows.pop(handle, None) or row
        await place.making.delete(handle, row.job if row is not None else "")
        await self.leave(handle)

    # ---- the account --------------------------------------------------------------------------------------------

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)

    def _connected(self) -> Place:
        """Raises UnavailableError until the account is reached."""
        if self._place is None:
            raise UnavailableError(self._why or "the Azure Batch account is being connected to")
        return self._place

    async def _reach(self) -> None:
        """Reaches for the account until it answers, then listens to it for ever."""
        backoff = Backoff()
        while self._place is None:
            try:
                place = await self._opened()
                await self._list(place)
                if self._settings.pool:
                    await self._pools.look(self._settings.pool)
                self._place, self._scope = place, place.scope
            except IonError as error:
                if not backoff.tries:
                    _LOG.warning("the Azure Batch account is not reached yet: %s", error)
                self._why = str(error)
                await asyncio.sleep(backoff.next_s(error))
        self._news.nudge()
        await self._place.watch.run()

    async def _opened(self) -> Place:
        await self._batch.__aexit__()
        await self._batch.__aenter__()
        await asyncio.to_thread(self._work.open)
        ledger = hashlib.sha256(self._ledger.encode()).hexdigest()[:12]
        scope = f"azurebatch:{self._settings.name}/{self._settings.instance}/{ledger}"
        return Place(
            batch=self._batch,
            settings=self._settings,
            scope=scope,
            making=Making(self._batch, self._blobs, self._settings, self._ledger),
            watch=TaskWatch(self._batch, scope, self._settings.poll_s, self._moved, lambda: bool(self._attempts)),
            credentials=self._credentials,
            secrets=self._secrets,
            handler=self._handler,
            blobs=self._blobs,
            work=self._work.path,
            pieces_s=lambda: min(MOST_PIECE_S, max(LEAST_PIECE_S, len(self._attempts) / 4)),
            changed=self._news.tell,
        )

    async def _look(self, pool: str) -> None:
        if await self._pools.look(pool):
            self._news.nudge()

    async def _list(self, place: Place) -> None:
        """Lists what is there of this ledger, whoever made it."""
        prefix = jobs_prefix(self._settings.instance, self._ledger)
        place.watch.jobs |= {job.id for job in await self._batch.jobs(prefix)}
        for job in sorted(place.watch.jobs):
            await place.watch.whole(job)

    async def _find(self, handle: Handle) -> Row | None:
        """The task of an attempt, as it stands now."""
        place = self._place
        if place is None or handle.scope != self._scope:
            return None
        known = place.watch.rows.get(handle)
        for job in [known.job] if known is not None else sorted(place.watch.jobs):
            try:
                return row_of(await self._batch.task(job, task_id(handle.job, handle.attempt)), job, self._scope)
            except NotFoundError:
                continue
        return None

    def _moved(self, handle: Handle) -> None:
        if (attempt := self._attempts.get(handle)) is not None:
            attempt.moved()


def _unfollowed(row: Row) -> Status:
    begun = row.running or row.completed
    return Status(handle=row.handle, phase=Phase.RUNNING if begun else Phase.PENDING)


def check(revision: Revision, settings: BatchSettings) -> None:
    """Whether a module can be a task, as far as can be told without the account. Raises UnsupportedError."""
    module = revision.module
    if not module.image:
        raise UnsupportedError(f"module {module.name} has no image, and Azure Batch runs containers: give it one")
    try:
        module_options(module)
    except InvalidError as error:
        raise UnsupportedError(f"module {module.name}: {error}") from error
    if not pool_of(module, settings):
        raise UnsupportedError(
            f"module {module.name} is for Azure Batch, and no pool is named: set `azurebatch: {{pool: ...}}`, for all "
            "modules at the top or for this one"
        )
    check_mounts(module)
    check_variables(module, {})
