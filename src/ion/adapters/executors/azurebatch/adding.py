"""Adding tasks, those of a moment together: up to a hundred travel in one request.

What the service says of each task goes to whoever wanted it added. It may say it in any order, so it is told apart by
the task's id.
"""

import asyncio
import contextlib
from collections import defaultdict
from typing import TYPE_CHECKING

from ion.adapters.executors.azurebatch.client import GROUP_MOST, Batch, TooLargeError, line_of
from ion.adapters.executors.backoff import RefusedError
from ion.errors import ConflictError, ExistsError, InvalidError, NotFoundError, UnavailableError

if TYPE_CHECKING:
    from azure.batch.models import BatchTaskCreateOptions, BatchTaskCreateResult

GATHER_S = 0.02
"""For so long others are waited for who want something added as well."""


class Adding:
    """Adds tasks to Batch jobs, which are made where they are missing. Safe to call concurrently."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self._made: set[str] = set()
        self._making = asyncio.Lock()
        self._waiting: dict[tuple[str, str], dict[str, _Wanted]] = defaultdict(dict)
        self._flushing: set[asyncio.Task[None]] = set()

    async def add(self, job: str, pool: str, task: "BatchTaskCreateOptions") -> bool:
        """Whether the task is new; False if it is there already.

        Raises:
            UnavailableError: not now. InvalidError: it can never be.
        """
        waiting = self._waiting[job, pool]
        if not waiting:
            flush = asyncio.create_task(self._flush(job, pool), name=f"add tasks to {job}")
            self._flushing.add(flush)
            flush.add_done_callback(self._flushing.discard)
        wanted = waiting.setdefault(task.id, _Wanted(task))
        return await asyncio.shield(wanted.told)

    async def close(self) -> None:
        for flush in list(self._flushing):
            flush.cancel()
        if self._flushing:
            await asyncio.wait(self._flushing)

    async def _flush(self, job: str, pool: str) -> None:
        await asyncio.sleep(GATHER_S)
        wanted = list(self._waiting.pop((job, pool)).values())
        try:
            await self._ensure(job, pool)
        except ConflictError as error:  # the account has no room for another, or the last of this name is still going
            _tell_all(wanted, UnavailableError(str(error)))
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, they wait for it
            _tell_all(wanted, error)
            return
        for first in range(0, len(wanted), GROUP_MOST):
            await self._group(job, wanted[first : first + GROUP_MOST])

    async def _group(self, job: str, wanted: "list[_Wanted]") -> None:
        try:
            results = await self._batch.add(job, [one.task for one in wanted])
        except TooLargeError as error:
            if len(wanted) == 1:
                _tell_all(wanted, error)
                return
            await self._group(job, wanted[: len(wanted) // 2])
            await self._group(job, wanted[len(wanted) // 2 :])
        except (NotFoundError, ConflictError) as error:  # somebody deleted or ended the Batch job
            self._made.discard(job)
            _tell_all(wanted, _ended(job, str(error)))
        except Exception as error:  # noqa: BLE001 - whatever it is, they wait for it
            _tell_all(wanted, error)
        else:
            _tell(job, wanted, results)

    async def _ensure(self, job: str, pool: str) -> None:
        async with self._making:
            if job in self._made:
                return
            with contextlib.suppress(ExistsError):
                await self._batch.make_job(job, pool)
            self._made.add(job)


class _Wanted:
    """A task that is to be added, and how that went."""

    def __init__(self, task: "BatchTaskCreateOptions") -> None:
        self.task = task
        self.told: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.told.add_done_callback(lambda done: done.cancelled() or done.exception())  # who wanted it may have gone

    def tell(self, outcome: bool | Exception) -> None:
        if self.told.done():
            return
        if isinstance(outcome, Exception):
            self.told.set_exception(outcome)
        else:
            self.told.set_result(outcome)


def _tell_all(wanted: list[_Wanted], error: Exception) -> None:
    for one in wanted:
        one.tell(error)


def _tell(job: str, wanted: list[_Wanted], results: "list[BatchTaskCreateResult]") -> None:
    by_id = {result.task_id.lower(): result for result in results}
    for one in wanted:
        one.tell(_outcome(job, by_id.get(one.task.id.lower())))


def _outcome(job: str, result: "BatchTaskCreateResult | None") -> bool | Exception:
    if result is None:
        return UnavailableError("Azure Batch did not say whether a task was added")
    status = str(getattr(result.status, "value", result.status)).lower()
    if status == "success":
        return True
    code = (result.error.code if result.error is not None else "") or ""
    said = result.error.message.value if result.error is not None and result.error.message is not None else ""
    if code == "TaskExists":
        return False
    message = f"Azure Batch does not take the task {result.task_id}: {line_of(said)} ({code})"
    if code.startswith("Job"):
        return _ended(job, message)
    return InvalidError(message) if status == "clienterror" else RefusedError(message)


def _ended(job: str, message: str) -> Exception:
    """A task is not added because of its Batch job."""
    return UnavailableError(f"{message}; the Batch job {job} is Ion's, delete it if it was ended")
