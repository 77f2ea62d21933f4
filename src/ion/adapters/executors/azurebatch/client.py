"""The Batch account: a few verbs over the vendor's client, whose errors and manners are translated here.

It never tries again by itself. A service that is busy says for how long it wants to be left alone, and means the whole
account: until then no request is made. Who called is told, and tries later.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Self

from ion.adapters.executors.azurebatch.settings import BatchSettings
from ion.adapters.executors.backoff import RefusedError
from ion.errors import ConflictError, ExistsError, InvalidError, NotFoundError, UnavailableError

if TYPE_CHECKING:
    from azure.batch.aio import BatchClient
    from azure.batch.models import BatchJob, BatchPool, BatchTask, BatchTaskCreateOptions, BatchTaskCreateResult
    from azure.core.exceptions import HttpResponseError

TIMEOUT_S = 30.0
GROUP_MOST = 100
"""Tasks that can be added in one request."""
_AT_ONCE = 16
_BUSY = (408, 429, 500, 502, 503, 504)
_WAIT_MOST_S = 300.0
SHOWN = ("id", "displayName", "state", "stateTransitionTime", "previousState", "creationTime", "executionInfo")
"""What of a task is looked at; the rest does not travel."""


class TooLargeError(InvalidError):
    """More than fits into one request."""


class Batch:
    """One account. Opened by `async with`; safe to call concurrently.

    Every verb raises UnavailableError where the service does not answer or would not now, NotFoundError, ConflictError
    where the state of the thing forbids it, and InvalidError for what it will never take.
    """

    def __init__(self, settings: BatchSettings) -> None:
        self._settings = settings
        self._stack = AsyncExitStack()
        self._client: BatchClient | None = None
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._free_at = 0.0
        self._ahead_s = 0.0

    def now_s(self) -> float:
        """Seconds since the epoch by the service's clock, as its answers tell it: the times of tasks are by that."""
        return time.time() + self._ahead_s

    async def __aenter__(self) -> Self:
        self._client = await asyncio.to_thread(self._made)
        await self._stack.enter_async_context(self._client)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._client = None
        await self._stack.aclose()

    def _made(self) -> "BatchClient":
        """Importing the client takes a second. No line is opened yet."""
        from azure.batch.aio import BatchClient
        from azure.core.credentials import AzureNamedKeyCredential
        from azure.core.pipeline.policies import AsyncRetryPolicy

        for noisy in ("azure.core.pipeline.policies.http_logging_policy", "azure.batch._utils.model_base"):
            logging.getLogger(noisy).setLevel(logging.ERROR)  # each request; each answer without a body
        credential: Any
        if self._settings.key:
            credential = AzureNamedKeyCredential(self._settings.name, self._settings.key)
        else:
            from azure.identity.aio import DefaultAzureCredential

            credential = DefaultAzureCredential()
            self._stack.push_async_callback(credential.close)
        return BatchClient(
            self._settings.url,
            credential,
            retry_policy=AsyncRetryPolicy.no_retries(),
            connection_timeout=TIMEOUT_S,
            read_timeout=TIMEOUT_S,
            raw_response_hook=lambda answer: self._hear_date(answer.http_response.headers.get("Date", "")),
        )

    def _hear_date(self, date: str) -> None:
        with contextlib.suppress(ValueError):
            self._ahead_s = parsedate_to_datetime(date).timestamp() - time.time()

    # ---- verbs --------------------------------------------------------------------------------------------------

    async def pool(self, name: str) -> "BatchPool":
        async with self._asking(f"look at the pool {name}") as client:
            return await client.get_pool(name)

    async def make_job(self, name: str, pool: str) -> None:
        """Raises ExistsError."""
        from azure.batch.models import BatchJobCreateOptions, BatchPoolInfo

        async with self._asking(f"make the Batch job {name}") as client:
            await client.create_job(BatchJobCreateOptions(id=name, pool_info=BatchPoolInfo(pool_id=pool)))

    async def jobs(self, prefix: str) -> "list[BatchJob]":
        """The Batch jobs whose ids begin so."""
        async with self._asking("list its Batch jobs") as client:
            found = client.list_jobs(filter=f"startswith(id, '{prefix}')", select=["id", "state"])
            return [job async for job in found]

    async def add(self, job: str, tasks: "Sequence[BatchTaskCreateOptions]") -> "list[BatchTaskCreateResult]":
        """Adds up to `GROUP_MOST` tasks; how it went for each, in any order. Raises TooLargeError."""
        from azure.batch.models import BatchTaskGroup

        async with self._asking(f"add {len(tasks)} tasks to the Batch job {job}") as client:
            added = await client.create_task_collection(job, BatchTaskGroup(task_values=list(tasks)))
            return list(added.result_values or ())

    async def tasks(self, job: str, where: str = "") -> "list[BatchTask]":
        """The tasks of a Batch job for which an OData filter holds, in the columns `SHOWN`."""
        async with self._asking(f"list the tasks of the Batch job {job}") as client:
            found = client.list_tasks(job, filter=where or None, select=list(SHOWN))
            return [task async for task in found]

    async def task(self, job: str, task: str) -> "BatchTask":
        async with self._asking(f"look at the task {task}") as client:
            return await client.get_task(job, task, select=list(SHOWN))

    async def terminate(self, job: str, task: str) -> None:
        """Ends a task; one that has ended is left as it is."""
        try:
            async with self._asking(f"end the task {task}") as client:
                await client.terminate_task(job, task)
        except ConflictError:
            return

    async def delete(self, job: str, task: str) -> None:
        """Deletes a task with its files; one that is not there is deleted."""
        try:
            async with self._asking(f"delete the task {task}") as client:
                await client.delete_task(job, task)
        except NotFoundError:
            return

    async def size(self, job: str, task: str, path: str) -> int:
        """How many bytes a file of a task has. Raises NotFoundError: also where its node is gone."""
        async with self._asking_node(f"look at the file {path} of the task {task}") as client:
            return int((await client.get_task_file_properties(job, task, path)).content_length)

    async def read(self, job: str, task: str, path: str, first: int, last: int) -> AsyncGenerator[bytes]:
        """The bytes from `first` to `last`, which is one of them."""
        async with self._asking_node(f"read the file {path} of the task {task}") as client:
            found: Any = await client.download_task_file(
                job, task, path, ocp_range=f"bytes={first}-{last}", cls=lambda answer, pieces, _: (answer, pieces)
            )
            answer, pieces = found
            try:
                async for piece in pieces:
                    yield piece
            finally:  # who reads may have had enough, and the line is for others
                await answer.http_response.close()

    # ---- manners ------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _asking(self, what: str) -> "AsyncIterator[BatchClient]":
        if self._client is None:
            raise UnavailableError("the Batch account is not connected to")
        async with self._room:
            if (wait_s := self._free_at - _now()) > 0:
                raise RefusedError(f"cannot {what}: the account wants to be left alone", status=429, after_s=wait_s)
            with self._translated(what):
                yield self._client

    @asynccontextmanager
    async def _asking_node(self, what: str) -> "AsyncIterator[BatchClient]":
        """A node that starts again, or is unusable, cannot be asked now; which of these it is is not always said."""
        try:
            async with self._asking(what) as client:
                yield client
        except ConflictError as error:
            raise RefusedError(str(error), status=409) from error

    @contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        from azure.core.exceptions import AzureError, HttpResponseError

        where = f"Azure Batch ({self._settings.name}) cannot {what}"
        try:
            yield
        except HttpResponseError as error:
            raise self._of_answer(where, error) from error
        except AzureError as error:
            raise UnavailableError(f"{where}: {line_of(error.message)}") from error
        except (OSError, ValueError) as error:  # a line that broke, an answer that is none of Batch's
            raise UnavailableError(f"{where}: {type(error).__name__}: {line_of(error)}") from error

    def _of_answer(self, where: str, error: "HttpResponseError") -> Exception:
        status = error.status_code or 0
        if error.response is None:  # no identity was found, say
            return UnavailableError(f"{where}: {line_of(error.message)}")
        message = f"{where}: {_said(error)}"
        if status in _BUSY:
            after_s = _after_s(error)
            if status in (429, 503):
                self._free_at = max(self._free_at, _now() + after_s)
            return RefusedError(message, status=status, after_s=after_s)
        if status in (401, 403):
            return RefusedError(f"{message} (is the account's key or the identity's role right?)", status=status)
        if status == 404:
            return NotFoundError(message)
        if status == 409:
            return ExistsError(message) if code_of(error).endswith("Exists") else ConflictError(message)
        return TooLargeError(message) if status == 413 else InvalidError(message)


def code_of(error: "HttpResponseError") -> str:
    """The service's word for an error: `TaskExists`."""
    return str(getattr(error.model, "code", "") or "") or str(getattr(error.error, "code", "") or "")


def _said(error: "HttpResponseError") -> str:
    value = getattr(getattr(error.model, "message", None), "value", "") or error.message
    code = code_of(error)
    return f"{line_of(value)} ({code or error.status_code})"


def _after_s(error: "HttpResponseError") -> float:
    """The `Retry-After` of an answer: seconds, or a date."""
    headers: Mapping[str, str] = getattr(error.response, "headers", {})
    value = headers.get("Retry-After", "")
    if not value:
        return 0.0
    try:
        wait_s = float(value)
    except ValueError:
        try:
            wait_s = (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
        except ValueError:
            return 0.0
    return min(max(0.0, wait_s), _WAIT_MOST_S)


def line_of(text: object) -> str:
    """The first line: Batch adds lines with the request's id and time."""
    lines = str(text or "").strip().splitlines()
    return lines[0].rstrip(".") if lines else "it does not say why"


def _now() -> float:
    return asyncio.get_running_loop().time()
