"""How the tasks of all attempts stand: every Batch job listed whole, then asked for what has changed since.

One question a Batch job tells of all of its tasks. Times are compared with the service's own alone. Now and then all is
listed again, so whatever was missed, each attempt hears of the state that its task is in now.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from ion.adapters.executors.azurebatch.client import Batch
from ion.adapters.executors.azurebatch.names import handle_of
from ion.adapters.executors.backoff import Backoff
from ion.errors import IonError, NotFoundError
from ion.ports.executor import Handle

if TYPE_CHECKING:
    from datetime import datetime

    from azure.batch.models import BatchTask

WHOLE_S = 60.0
"""After so long all tasks of a Batch job are listed again."""
OVERLAP_S = 10.0
"""What is asked for again, for a change may become visible a little late."""
_LOG = logging.getLogger(__name__)


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A task. Times are in seconds since the epoch by the service's clock, 0 for not yet. `exit_code` is None where the
    command line did not end by itself; `category`, `code` and `message` say why it failed, in the service's words.
    `again`: it ran before, and waits for another node.
    """

    handle: Handle
    job: str
    task: str
    state: str
    created_s: float
    changed_s: float
    started_s: float = 0.0
    ended_s: float = 0.0
    exit_code: int | None = None
    category: str = ""
    code: str = ""
    message: str = ""
    again: bool = False

    @property
    def completed(self) -> bool:
        return self.state == "completed"

    @property
    def running(self) -> bool:
        return self.state == "running"


class TaskWatch:
    """`rows` is what is known, by attempt; `changed` is told of each attempt whose task changed, or is gone.

    `wanted` says whether anybody wants to know; nothing is asked while nobody does.
    """

    def __init__(
        self, batch: Batch, scope: str, poll_s: float, changed: Callable[[Handle], None], wanted: Callable[[], bool]
    ) -> None:
        self._batch, self._scope, self._poll_s = batch, scope, poll_s
        self._changed, self._wanted = changed, wanted
        self._poked = asyncio.Event()
        self._latest: dict[str, datetime] = {}
        self._whole_at: dict[str, float] = {}
        self.rows: dict[Handle, Row] = {}
        self.jobs: set[str] = set()

    def look(self) -> None:
        """Somebody wants to know now."""
        self._poked.set()

    def put(self, row: Row) -> None:
        """Something became known by other ways."""
        self.rows[row.handle] = row

    async def run(self) -> None:
        """Asks for ever."""
        backoff = Backoff()
        while True:
            wait_s = self._poll_s
            try:
                if self._wanted():
                    for job in sorted(self.jobs):
                        await self._ask(job)
                backoff.fine()
            except IonError as error:
                if not backoff.tries:
                    _LOG.warning("the tasks of jobs are not heard of for the moment: %s", error)
                wait_s = max(wait_s, backoff.next_s(error))
            await self._sleep(wait_s, hurried=not backoff.tries)

    async def whole(self, job: str) -> None:
        """Lists a Batch job. Raises UnavailableError."""
        try:
            found = await self._batch.tasks(job)
        except NotFoundError:  # nothing was made in it, or somebody deleted it
            found = []
        rows = {row.handle: row for task in found if (row := row_of(task, job, self._scope)) is not None}
        before = {handle for handle, row in self.rows.items() if row.job == job}
        for handle in before - rows.keys():
            del self.rows[handle]
            self._changed(handle)
        self._whole_at[job] = time.monotonic()
        self._hear(job, rows, found)

    async def _ask(self, job: str) -> None:
        latest = self._latest.get(job)
        if latest is None or time.monotonic() - self._whole_at[job] > WHOLE_S:
            await self.whole(job)
            return
        try:
            found = await self._batch.tasks(job, f"stateTransitionTime ge {_odata(latest)}")
        except NotFoundError:
            await self.whole(job)
            return
        self._hear(
            job, {row.handle: row for task in found if (row := row_of(task, job, self._scope)) is not None}, found
        )

    def _hear(self, job: str, rows: dict[Handle, Row], found: "list[BatchTask]") -> None:
        times = [task.state_transition_time for task in found]
        if job in self._latest:
            times.append(self._latest[job])
        if times:
            self._latest[job] = max(times)
        for handle, row in rows.items():
            if self.rows.get(handle) != row:
                self.rows[handle] = row
                self._changed(handle)

    async def _sleep(self, seconds: float, *, hurried: bool) -> None:
        self._poked.clear()
        if not hurried:
            await asyncio.sleep(seconds)
            return
        try:
            async with asyncio.timeout(seconds):
                await self._poked.wait()
        except TimeoutError:
            return


def row_of(task: "BatchTask", job: str, scope: str) -> Row | None:
    """What a task says; None if it is no attempt's."""
    handle = handle_of(task.display_name or "", scope)
    if handle is None:
        return None
    run = task.execution_info
    failure = run.failure_info if run is not None else None
    return Row(
        handle=handle,
        job=job,
        task=task.id,
        state=_word(task.state),
        created_s=_seconds(task.creation_time),
        changed_s=_seconds(task.state_transition_time),
        started_s=_seconds(run.start_time if run is not None else None),
        ended_s=_seconds(run.end_time if run is not None else None),
        exit_code=run.exit_code if run is not None else None,
        category=_word(failure.category) if failure is not None else "",
        code=(failure.code or "") if failure is not None else "",
        message=(failure.message or "") if failure is not None else "",
        again=task.state == "active" and bool(task.previous_state),
    )


def _word(value: object) -> str:
    """An enumeration of the client's as its word, in small letters: services differ in that."""
    return str(getattr(value, "value", value) or "").lower()


def _seconds(when: "datetime | None") -> float:
    return when.timestamp() if when is not None else 0.0


def _odata(when: "datetime") -> str:
    from datetime import timedelta

    since = when - timedelta(seconds=OVERLAP_S)
    return f"datetime'{since.isoformat(timespec='milliseconds').replace('+00:00', 'Z')}'"
