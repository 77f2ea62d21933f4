"""Lets a caller through to the verbs that its roles allow, on the pipelines that they are for."""

from collections.abc import AsyncGenerator
from typing import Any

import msgspec

from ion.errors import DeniedError
from ion.management.access.around import Arguments, Around, Call, Stream, wrapped
from ion.management.access.callers import Caller
from ion.management.access.limits import Limits
from ion.management.access.needs import Reach, need
from ion.management.access.rows import has_row, latest, narrowed, newest
from ion.management.verbs import Management
from ion.management.verbs.server import Information
from ion.ports.ledger import Ledger


def guarded(management: Management, caller: Caller, ledger: Ledger) -> Management:
    """The same verbs, each of which raises DeniedError where the caller may not do it."""
    return wrapped(management, _Gate(caller, ledger))


class _Gate(Around):
    def __init__(self, caller: Caller, ledger: Ledger) -> None:
        self._caller, self._ledger = caller, ledger

    async def call(self, verb: str, arguments: Arguments, go: Call) -> Any:
        limits = await self._enter(verb, arguments)
        if limits is not None and verb == "jobs.latest" and not arguments["which"].module:
            return await latest(arguments, limits, go)
        if limits is not None and verb == "flows.list":
            return await newest(arguments, limits, go)
        answer = await go(arguments)
        if isinstance(answer, Information):
            return msgspec.structs.replace(answer, actor=self._caller.actor, role=self._caller.role)
        narrows = limits is not None and need(verb, arguments).reach is Reach.ROWS
        return await narrowed(answer, limits) if limits is not None and narrows else answer

    async def stream(self, verb: str, arguments: Arguments, go: Stream) -> AsyncGenerator[Any]:
        limits = await self._enter(verb, arguments)
        narrows = need(verb, arguments).reach is Reach.ROWS
        rows = go(arguments)
        try:
            async for row in rows:
                if limits is None or not narrows or await has_row(row, limits):
                    yield row
        finally:
            await rows.aclose()

    async def _enter(self, verb: str, arguments: Arguments) -> Limits | None:
        """Raises DeniedError. Gives the limits of a caller who has any."""
        needed = need(verb, arguments)
        pipelines = self._caller.pipelines(needed.role)
        if pipelines is None:
            return None
        limits, theirs = Limits(self._caller.actor, pipelines, self._ledger), ", ".join(sorted(pipelines))
        if needed.reach is Reach.WHOLE:
            raise DeniedError(f"{verb} is about the whole of this Ion, and {self._caller.actor} may see {theirs} only")
        named = await limits.check(arguments, narrows=needed.reach is Reach.ROWS)
        if not named and needed.reach is Reach.NAMED:
            raise DeniedError(f"{self._caller.actor} may work on {theirs} only: name a job, a flow or a module of it")
        return limits
