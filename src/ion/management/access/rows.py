"""Answers narrowed to what is of the caller's pipelines.

Rows that are not are left out. Jobs by which gateways raised events are of no module: lists leave them out too, the
chain that led to a job keeps its root.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from ion.management.access.around import Arguments, Call
from ion.management.access.limits import Limits
from ion.management.flows import FlowState
from ion.management.run import is_gateways
from ion.management.verbs.bus import Depths
from ion.management.verbs.findings import Cause
from ion.management.verbs.jobs import LatestJobs
from ion.management.verbs.modules import ModuleState
from ion.management.verbs.server import Overview
from ion.model.job import OPEN_STATES, Job, State
from ion.ports.ledger import JobPage, Registered

replace = msgspec.structs.replace
LOOKED_AT_MOST = 10_000
"""Flows."""


async def has_row(row: Any, limits: Limits) -> bool:
    """Whether a row of a list is the caller's; one that says nothing of whose it is, is not."""
    match row:
        case Registered():
            return row.module.pipeline in limits.pipelines
        case FlowState():
            return await limits.has_flow(row.flow.correlation_id)
        case Cause() if is_gateways(row.job):
            return True
    job = row if isinstance(row, Job) else getattr(row, "job", None)
    module = job.module if isinstance(job, Job) else getattr(row, "module", None)
    return isinstance(module, str) and await limits.has_module(module)


async def narrowed(answer: Any, limits: Limits) -> Any:
    """What is the caller's of an answer. One that is not known has nothing that is."""
    match answer:
        case JobPage() | LatestJobs():
            return replace(answer, jobs=await _rows(answer.jobs, limits))
        case Depths():
            return replace(answer, depths=await _rows(answer.depths, limits))
        case Overview():
            return _overview(answer, tuple([m for m in answer.modules if await has_row(m.registered, limits)]))
        case tuple() | list():
            return await _rows(answer, limits)
        case _:
            raise TypeError(f"{type(answer).__name__} cannot be narrowed")


async def _rows(rows: Sequence[Any], limits: Limits) -> tuple[Any, ...]:
    return tuple([row for row in rows if await has_row(row, limits)])


def _overview(answer: Overview, modules: tuple[ModuleState, ...]) -> Overview:
    """The sums are those of the modules that are left."""

    def count(*states: State) -> int:
        return sum(module.jobs.get(state, 0) for module in modules for state in states)

    return replace(
        answer,
        modules=modules,
        open=count(*OPEN_STATES),
        unreleased=count(State.COMMITTED),
        oldest_unreleased_s=None,
        dead=count(State.DEAD),
    )


async def latest(arguments: Arguments, limits: Limits, go: Call) -> LatestJobs:
    """The last jobs of all the caller's modules: asked for module by module, so that those of others hide none."""
    which = arguments["which"]
    found: list[LatestJobs] = [
        await go({**arguments, "which": replace(which, module=name)}) for name in await limits.modules()
    ]
    jobs = sorted((job for one in found for job in one.jobs), key=lambda job: (_admitted(job), job.id))
    return LatestJobs(jobs=tuple(jobs[-arguments.get("most", 50) :]), total=sum(one.total for one in found))


async def newest(arguments: Arguments, limits: Limits, go: Call) -> tuple[FlowState, ...]:
    """The newest flows of the caller's: further back among all, until there are enough of them."""
    most = asked = arguments.get("most", 20)
    while True:
        found = await go({**arguments, "most": asked})
        theirs = await _rows(found, limits)
        if len(theirs) >= most or len(found) < asked or asked >= LOOKED_AT_MOST:
            return theirs[:most]
        asked = min(asked * 4, LOOKED_AT_MOST)


def _admitted(job: Job) -> datetime:
    return job.admitted_at or datetime.min.replace(tzinfo=UTC)
