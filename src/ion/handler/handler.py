"""The four verbs that executors call, over one blob store."""

from pathlib import Path

from ion.errors import ExistsError
from ion.handler import logs
from ion.handler.commit import commit
from ion.handler.manifests import find
from ion.handler.prepare import prepare
from ion.handler.workspace import clear
from ion.model.ids import new_id
from ion.model.manifest import ManifestRef, Usage, execution_prefix, log_path
from ion.ports.blobs import Blobs
from ion.ports.executor import Assignment, Workspace


class JobHandler:
    """The handler of `ion.ports.executor`. `host` is the name that manifests give to the place where the module ran."""

    def __init__(self, blobs: Blobs, *, host: str) -> None:
        self._blobs = blobs
        self._host = host

    async def prepare(
        self,
        assignment: Assignment,
        directory: Path,
        *,
        execution: str = "",
        sees: str = "",
        cleared: bool = False,
    ) -> Workspace:
        """See the port. A `directory` that exists is refused with ExistsError.

        Also raises ContractError for an event that no directory can hold: a file path that leaves `in/data`, say.
        """
        return await prepare(self._blobs, assignment, directory, execution or new_id(), sees, cleared=cleared)

    def begun(self, job: str, attempt: int, execution: str) -> None:
        self._blobs.expect(f"{execution_prefix(job, attempt, execution)}data/")

    def clear(self, directory: str) -> bool:
        return clear(directory)

    async def commit(
        self, assignment: Assignment, workspace: Workspace, *, log: Path | None, usage: Usage, started_at_s: float
    ) -> ManifestRef:
        """See the port. Every process of the module has ended. After UnavailableError it may be called again."""
        return await commit(
            self._blobs,
            assignment,
            workspace,
            host=self._host,
            log=log,
            usage=usage,
            started_at_s=started_at_s,
        )

    async def keep_log(self, job: str, attempt: int, execution: str, log: Path) -> str:
        blob = log_path(job, attempt, execution)
        try:
            await self._blobs.put(blob, log, move=True)
        except ExistsError:
            return blob  # an earlier call, or a commit that failed after it
        return blob

    async def find_manifest(self, job: str, attempt: int) -> ManifestRef | None:
        """See the port. Where several executions wrote one, the oldest is it, for whoever asks."""
        return await find(self._blobs, job, attempt)

    async def find_log(self, job: str, attempt: int) -> str:
        return await logs.find(self._blobs, job, attempt)
