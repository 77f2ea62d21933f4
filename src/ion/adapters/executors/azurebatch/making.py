"""Making an attempt's task: its archive into the blobs, a link to that, and the task that fetches it.

The task is named after the attempt, in the one Batch job that all dispatchers of a ledger have for a pool. So whoever
makes it a second time finds the first.
"""

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING

from ion.adapters.executors.azurebatch.adding import Adding
from ion.adapters.executors.azurebatch.client import Batch
from ion.adapters.executors.azurebatch.names import batch_job_id, display_name, task_id
from ion.adapters.executors.azurebatch.settings import DAY_S, BatchSettings
from ion.adapters.executors.azurebatch.task import (
    ARCHIVE,
    COMMAND_LINE,
    archive,
    assignment_in,
    module_options,
    pool_of,
    seconds,
)
from ion.errors import UnavailableError
from ion.model.ids import new_id
from ion.model.manifest import attempt_prefix
from ion.model.module import Module
from ion.ports.blobs import Blobs
from ion.ports.executor import Assignment, Handle

if TYPE_CHECKING:
    from azure.batch.models import BatchTaskCreateOptions

LINK_MOST_S = 7 * 86_400.0 - 600.0
"""No store signs a link for longer than a week. Else it is good for a day more than an attempt lasts: Batch fetches the
archive again when it runs the task anew."""
Credentials = Callable[[Assignment], Awaitable[str]]
"""Grants what an attempt needs of the blobs, for as long as it can last, as JSON. Raises UnavailableError: whoever
grants it is away; InvalidError: nobody grants it for so long."""
Secrets = Callable[[str], str | None]
"""The value of a secret by its name; None where there is none."""


class Making:
    """Makes and deletes the tasks of attempts. Safe to call concurrently."""

    def __init__(self, batch: Batch, blobs: Blobs, settings: BatchSettings, ledger: str) -> None:
        self._batch, self._blobs, self._settings, self._ledger = batch, blobs, settings, ledger
        self._adding = Adding(batch)

    def place(self, assignment: Assignment) -> tuple[str, str]:
        """The Batch job and the task of an attempt."""
        pool = pool_of(assignment.revision.module, self._settings)
        job = assignment.job
        return batch_job_id(self._settings.instance, self._ledger, pool), task_id(job.id, job.attempt)

    async def make(self, assignment: Assignment, blobs: str, secrets: Mapping[str, str]) -> bool:
        """Makes an attempt's task if it is not there yet; whether it is new.

        Raises:
            UnavailableError: not now. InvalidError: it can never be.
        """
        job, _ = self.place(assignment)
        module = assignment.revision.module
        path = f"{_given(assignment.job.id, assignment.job.attempt)}{new_id()}.tar"
        await self._blobs.put_bytes(path, archive(assignment, self._settings, blobs, secrets))
        link = self._blobs.uri(path)
        if not self._settings.identity:
            link = await self._blobs.link(path, min(LINK_MOST_S, seconds(module, self._settings) + DAY_S))
        return await self._adding.add(job, pool_of(module, self._settings), self._task(assignment, link))

    async def delete(self, handle: Handle, job: str) -> None:
        """Deletes all of an attempt; its task in this Batch job last, for by that it is found again.

        Without a Batch job there is no task, but what its node should have been given.
        """
        await self._blobs.delete(_given(handle.job, handle.attempt))
        if job:
            await self._batch.delete(job, task_id(handle.job, handle.attempt))

    async def assignment(self, handle: Handle) -> Assignment | None:
        """What was assigned to an attempt, by what its node is given; None where that is gone."""
        async for blob in self._blobs.list(_given(handle.job, handle.attempt)):
            return assignment_in(await self._blobs.get_bytes(blob.path))
        return None

    async def close(self) -> None:
        await self._adding.close()

    def _task(self, assignment: Assignment, link: str) -> "BatchTaskCreateOptions":
        from azure.batch.models import (
            AutoUserScope,
            AutoUserSpecification,
            BatchNodeIdentityReference,
            BatchTaskConstraints,
            BatchTaskCreateOptions,
            ElevationLevel,
            ResourceFile,
            UserIdentity,
        )

        job, module = assignment.job, assignment.revision.module
        identity = self._settings.identity
        reference = BatchNodeIdentityReference(resource_id=identity) if identity else None
        given = ResourceFile(http_url=link, file_path=ARCHIVE, file_mode="0600", identity_reference=reference)
        admin = AutoUserSpecification(scope=AutoUserScope.POOL, elevation_level=ElevationLevel.ADMIN)
        return BatchTaskCreateOptions(
            id=task_id(job.id, job.attempt),
            display_name=display_name(module.name, job.id, job.attempt),
            command_line=COMMAND_LINE,
            resource_files=[given],
            constraints=BatchTaskConstraints(
                max_wall_clock_time=timedelta(seconds=seconds(module, self._settings)),
                retention_time=timedelta(seconds=self._settings.kept_s),
                max_task_retry_count=0,
            ),
            required_slots=module_options(module).slots,
            user_identity=UserIdentity(auto_user=admin),
        )


def module_secrets(module: Module, find: Secrets) -> dict[str, str]:
    """The values of a module's secrets, by variable. Raises UnavailableError, with what to do, where one is missing."""
    values: dict[str, str] = {}
    for variable, name in sorted(module.secrets.items()):
        if (value := find(name)) is None:
            raise UnavailableError(
                f"module {module.name} needs the secret {name!r} (as {variable}): set the variable {name}, or say where"
                " it is under `secrets`"
            )
        values[variable] = value
    return values


def _given(job: str, attempt: int) -> str:
    """The folder of what an attempt's node is given."""
    return f"{attempt_prefix(job, attempt)}given/"
