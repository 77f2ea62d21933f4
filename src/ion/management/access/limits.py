"""Which pipelines a job, a module, a flow, an event is of: what a role that is for some pipelines only is measured by.

A job is of its module's pipeline, a module that was removed of the one that it was last in. A flow is of the pipelines
of all modules that have jobs in it; so is the job by which a gateway raised its event. An event about to be raised is
of the pipelines of the modules that hear it. Whatever cannot be told to be the caller's, is not.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from ion.errors import DeniedError
from ion.management.access.around import Arguments
from ion.management.created import bare_name
from ion.management.flows import find_flow
from ion.management.jobs import find_job
from ion.management.run import is_gateways
from ion.management.verbs.events import NewEvent
from ion.model.job import Job
from ion.model.module import Module
from ion.ports.ledger import Ledger


class Limits:
    """For one call: what it has looked up stays known until it ends."""

    def __init__(self, actor: str, pipelines: frozenset[str], ledger: Ledger) -> None:
        self.pipelines = pipelines
        self._actor, self._ledger = actor, ledger
        self._known: dict[str, str | None] = {}

    # ---- what is named ----------------------------------------------------------------------------------------

    async def check(self, arguments: Arguments, *, narrows: bool = False) -> bool:
        """Whether the arguments name anything. Raises DeniedError: some of it is not the caller's.

        Where the answer `narrows` to what is, a flow may be shared with others.
        """
        named = False
        for name, value in arguments.items():
            if value:
                named |= await self._check(name, value, arguments, narrows=narrows)
        return named

    async def _check(self, name: str, value: Any, arguments: Arguments, *, narrows: bool) -> bool:
        match name:
            case "job":
                await self._check_jobs((value,))
            case "jobs":
                await self._check_jobs(value)
            case "flow" if not narrows and not arguments.get("module"):
                await self._check_flow(value)
            case "module" | "name":
                await self._check_modules((value,))
            case "modules":
                await self._check_applied(value, arguments.get("pipeline", ""))
            case "which":
                return await self.check({"module": value.module, "flow": value.correlation_id}, narrows=narrows)
            case "event":
                await self._check_event(value)
            case "group":
                await self._check_group(value, arguments["event_type"])
            case _:
                return False
        return True

    async def _check_jobs(self, prefixes: Sequence[str]) -> None:
        for prefix in prefixes:
            job = await find_job(self._ledger, prefix)
            if not (await self.has_job(job) or (is_gateways(job) and await self.has_flow(job.correlation_id))):
                self._refuse(f"job {job.id}")

    async def _check_flow(self, prefix: str) -> None:
        flow = (await find_flow(self._ledger, prefix)).correlation_id
        if not await self.has_flow(flow):
            self._refuse(f"flow {flow}")

    async def _check_modules(self, names: Iterable[str]) -> None:
        """A deployed name stands for the module that is meant by it, but it may be another's whole name as well."""
        known = {one.module.name: one for one in await self._ledger.modules()}
        for name in names:
            meant = await bare_name(self._ledger, name, known)
            if not await self.has_module(meant) or await self._pipeline(name) not in (None, *self.pipelines):
                self._refuse(f"module '{name}'")

    async def _check_applied(self, modules: Sequence[Module], pipeline: str) -> None:
        """Neither what they are to be nor what they were may be another's."""
        for name in {pipeline, *(module.pipeline for module in modules)}:
            if name not in self.pipelines:
                self._refuse(f"the pipeline '{name}'" if name else "what has no pipeline's name")
        for module in modules:
            if await self._pipeline(module.name) not in (None, *self.pipelines):
                self._refuse(f"module '{module.name}'")

    async def _check_event(self, event: NewEvent) -> None:
        hearing = {one.module for one in await self._ledger.subscribers(event.type)}
        if not hearing or not all([await self.has_module(name) for name in hearing]):
            self._refuse(f"an event of type '{event.type}', by the modules that hear it,")
        known = event.correlation_id and await self._ledger.tally(event.correlation_id)
        if known and not await self.has_flow(event.correlation_id):
            self._refuse(f"flow {event.correlation_id}")

    async def _check_group(self, group: str, event_type: str) -> None:
        """To look at a type that the module does not hear would subscribe it to that."""
        modules = {one.module.group: one.module for one in await self._ledger.modules()}
        module = modules.get(group)
        if module is None or module.pipeline not in self.pipelines or event_type not in {one.type for one in module.on}:
            self._refuse(f"the subscription '{group}' to '{event_type}'")

    def _refuse(self, what: str) -> None:
        theirs = ", ".join(sorted(self.pipelines))
        raise DeniedError(f"{what} is not of the pipelines of {self._actor} ({theirs}): ask for a role there")

    # ---- whose it is ------------------------------------------------------------------------------------------

    async def has_job(self, job: Job) -> bool:
        return await self.has_module(job.module)

    async def has_module(self, name: str) -> bool:
        return await self._pipeline(name) in self.pipelines

    async def has_flow(self, flow: str) -> bool:
        """Whether all modules with jobs in it are the caller's; that of a gateway, which was never applied, is not
        counted.
        """
        names = {name for (name, _), count in (await self._ledger.tally(flow)).items() if count}
        found = {await self._pipeline(name) for name in names} - {None}
        return bool(found) and found <= self.pipelines

    async def modules(self) -> list[str]:
        """The names of the caller's modules that are registered."""
        return [one.module.name for one in await self._ledger.modules() if one.module.pipeline in self.pipelines]

    async def _pipeline(self, module: str) -> str | None:
        """Of the module, or of what it last was; None for one that was never applied."""
        if not self._known:
            self._known = {one.module.name: one.module.pipeline for one in await self._ledger.modules()}
        if module not in self._known:
            self._known[module] = await self._last(module)
        return self._known[module]

    async def _last(self, module: str) -> str | None:
        async for past in self._ledger.revisions(module):
            if past.revision is not None:
                return past.revision.module.pipeline
        return None
