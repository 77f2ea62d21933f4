"""What a person does with whole flows: find one, see how it stands, hold it, let it go on, end it, draw its tree.

A flow is known by its correlation id, which may be any text that a client chose; people type the beginning of it.
"""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import msgspec

from ion.errors import ConflictError, InvalidError, NotFoundError
from ion.management.jobs import CANDIDATES_SHOWN, several
from ion.management.report_tree import Node, Tree, node
from ion.management.run import is_gateways, jobs_of
from ion.model.job import OPEN_STATES, Job, State
from ion.ports.ledger import Control, Flow, JobFilter, Ledger

SHORT = 8
"""So much of an id is shown in tables and used in file names."""


PRIORITY_MOST = 1000


class ModuleTally(msgspec.Struct, frozen=True, kw_only=True):
    """How many jobs of one module stand in each state."""

    module: str
    states: Mapping[State, int]


class FlowState(msgspec.Struct, frozen=True, kw_only=True):
    """A flow and how many of its jobs stand in each state, in all and by module."""

    flow: Flow
    states: Mapping[State, int]
    modules: tuple[ModuleTally, ...] = ()

    @property
    def open(self) -> int:
        """Jobs that have not ended; the flow is quiet at 0."""
        return sum(count for state, count in self.states.items() if state in OPEN_STATES)

    @property
    def standing(self) -> str:
        """In one word: what was asked of the flow, else whether it is still open."""
        return self.flow.control.value or ("open" if self.open else "quiet")


async def find_flow(ledger: Ledger, prefix: str) -> Flow:
    """The flow with that correlation id, or the only one whose id begins so.

    Raises:
        NotFoundError: there is none. InvalidError: there are several; the message names some.
    """
    if not prefix:
        raise InvalidError("a flow's id is empty: give the correlation id, or the beginning of one")
    try:
        return await ledger.flow(prefix)
    except NotFoundError:
        found = await _beginning_with(ledger, prefix)
    if not found:
        raise NotFoundError(f"there is no flow '{prefix}': `ion flow list` shows those there are")
    if len(found) > 1:
        raise InvalidError(several("flows", prefix, [flow.correlation_id for flow in found]))
    return found[0]


async def _beginning_with(ledger: Ledger, prefix: str) -> list[Flow]:
    found: list[Flow] = []
    async for flow in ledger.flows():
        if flow.correlation_id.startswith(prefix):
            found.append(flow)
            if len(found) > CANDIDATES_SHOWN:
                break
    return found


async def state_of(ledger: Ledger, flow: Flow) -> FlowState:
    """How a flow stands."""
    states: dict[State, int] = {}
    modules: dict[str, dict[State, int]] = {}
    for (module, state), count in (await ledger.tally(flow.correlation_id)).items():
        if count:
            states[state] = states.get(state, 0) + count
            modules.setdefault(module, {})[state] = count
    tallies = tuple(ModuleTally(module=name, states=modules[name]) for name in sorted(modules))
    return FlowState(flow=flow, states=states, modules=tallies)


async def latest_flows(ledger: Ledger, most: int) -> AsyncIterator[FlowState]:
    """How the newest flows stand, the newest first."""
    left = most
    async for flow in ledger.flows():
        if left <= 0:
            return
        left -= 1
        yield await state_of(ledger, flow)


async def control_flow(ledger: Ledger, prefix: str, control: Control, actor: str) -> Flow:
    """Pauses, frees or cancels a flow; asking for what it is already changes nothing.

    Raises:
        ConflictError: the flow is cancelled, which cannot be taken back.
    """
    flow = await find_flow(ledger, prefix)
    if flow.control is Control.CANCELLED and control is not Control.CANCELLED:
        raise ConflictError(
            f"flow {flow.correlation_id} is cancelled, which cannot be taken back: raise its event again in a new flow"
        )
    await ledger.control(flow.correlation_id, control, actor)
    return flow


async def prioritise_flow(ledger: Ledger, prefix: str, priority: int) -> Flow:
    """Gives a flow a priority; see `Ledger.prioritise`.

    Raises:
        InvalidError: no flow has such a priority.
    """
    if not -PRIORITY_MOST <= priority <= PRIORITY_MOST:
        raise InvalidError(
            f"the priority {priority} cannot be used: give one from {-PRIORITY_MOST:,} to {PRIORITY_MOST:,}; 0 is usual"
        )
    flow = await find_flow(ledger, prefix)
    await ledger.prioritise(flow.correlation_id, priority)
    return await ledger.flow(flow.correlation_id)


async def tree_of(ledger: Ledger, correlation_id: str) -> AsyncIterator[tuple[str, Job, str]]:
    """Every job of a flow below the job that raised its event, parents first: the rails to draw before it, the job, and
    the id of the job that it came of (empty: a root).

    Jobs that a later run superseded are left out. Only small nodes are held: each job is read again when its line is
    due.
    """
    nodes: list[Node] = []
    raised: dict[str, str] = {}
    now = await ledger.now()
    async for job in jobs_of(ledger, JobFilter(correlation_id=correlation_id)):
        if job.gave_way:
            continue
        nodes.append(node(job, now))
        if is_gateways(job):
            raised[job.event.id] = job.id
    tree = Tree(nodes, raised)
    due = [("", "", root, "") for root in reversed(tree.roots)]
    while due:
        before, rail, here, parent = due.pop()
        yield before + rail, await ledger.get(here.id), parent
        below = before + {"": "", "├─ ": "│  ", "└─ ": "   "}[rail]
        children = tree.children.get(here.id, [])
        due += [(below, "└─ " if child is children[-1] else "├─ ", child, here.id) for child in children][::-1]


def report_path(folder: Path, correlation_id: str) -> Path:
    """Where the report of a flow goes by default. A correlation id is foreign text, a file name is not."""
    short = "".join(c if c.isascii() and c.isalnum() else "-" for c in correlation_id[:SHORT])
    return folder / f"ion-flow-{short}.html"
