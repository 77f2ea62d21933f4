"""What the parts of the PostgreSQL ledger share: how a verb is run, and how news of it is told."""

from collections.abc import Sequence
from typing import Any

from ion.adapters.ledger.rows import job_from
from ion.adapters.postgres.database import Postgres
from ion.errors import ConflictError
from ion.model.job import Job
from ion.ports.ledger import Changes

_DISOWN = 5000


class PostgresVerbs:
    """A ledger's way to its schema."""

    def __init__(self, database: Postgres) -> None:
        self._database = database

    @property
    def _clock(self) -> float | None:
        return self._database.clock()

    async def _value(self, statement: str, *values: Any) -> Any:
        """The one value of a statement's one row."""
        ((value,),) = await self._database.run(statement, values)
        return value

    async def _jobs(self, statement: str, *values: Any) -> Sequence[Job]:
        """The jobs of a statement that gives `postgres_rows.JOB`."""
        return [job_from(row) for row in await self._database.run(statement, values)]

    def _tell(self, changes: Changes | None) -> None:
        if changes:
            self._database.announce(changes)

    async def _disown(self, owner: str) -> None:
        """Makes an owner's committed jobs nobody's, in portions: after an outage of the bus there may be many."""
        freed = _DISOWN
        while freed == _DISOWN:
            freed = await self._value("SELECT disown(%s, %s)", owner, _DISOWN)
            self._tell(Changes.COMMITTED if freed else None)


def check_runnable(outcome: str, job: str, flow: str, module: str) -> None:
    """Raises ConflictError where a function of the schema found that no such job may be queued by hand."""
    if outcome == "cancelled":
        raise ConflictError(f"job {job} belongs to the cancelled flow {flow}; raise its root event anew instead")
    if outcome == "gone":
        raise ConflictError(f"job {job} is for the module {module}, which is gone; apply that module first")
