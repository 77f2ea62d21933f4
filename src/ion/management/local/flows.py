"""Verbs on whole flows, done here."""

from collections.abc import AsyncIterator

from ion.management.files import with_links
from ion.management.flows import (
    FlowState,
    control_flow,
    find_flow,
    latest_flows,
    prioritise_flow,
    state_of,
    tree_of,
)
from ion.management.jobs import raised_nothing
from ion.management.local.site import Site, closing, within
from ion.management.run import until_quiet
from ion.management.verbs.flows import Ended, FlowVerbs, TreeLine
from ion.model.record import Record
from ion.ports.ledger import Control, Flow

LIST_MOST = 10_000


class LocalFlows(FlowVerbs):
    def __init__(self, site: Site) -> None:
        self._stores, self._actor = site.stores, site.actor
        self._ledger = site.stores.ledger

    async def get(self, *, flow: str) -> FlowState:
        return await state_of(self._ledger, await find_flow(self._ledger, flow))

    async def list(self, *, most: int = 20) -> tuple[FlowState, ...]:
        within("the number of flows", most, 1, LIST_MOST)
        return tuple([one async for one in latest_flows(self._ledger, most)])

    async def control(self, *, flow: str, control: Control) -> Flow:
        found = await control_flow(self._ledger, flow, control, self._actor)
        return await self._ledger.flow(found.correlation_id)

    async def prioritise(self, *, flow: str, priority: int) -> Flow:
        return await prioritise_flow(self._ledger, flow, priority)

    async def wait(self, *, flow: str) -> Ended:
        found = (await find_flow(self._ledger, flow)).correlation_id
        stuck = await until_quiet(self._ledger, found)
        return Ended(state=await self.get(flow=found), stuck=stuck)

    async def records(self, *, flow: str) -> AsyncIterator[Record]:
        found = (await find_flow(self._ledger, flow)).correlation_id
        async with closing(self._stores.documents.flow(found)) as records:
            async for record in records:
                yield await with_links(record, self._stores.blobs)

    async def tree(self, *, flow: str) -> AsyncIterator[TreeLine]:
        found = (await find_flow(self._ledger, flow)).correlation_id
        async with closing(tree_of(self._ledger, found)) as lines:
            async for rails, job, parent in lines:
                silent = await raised_nothing(job, self._ledger)
                yield TreeLine(rails=rails, job=job, parent=parent, silent=silent)

    async def report(self, *, flow: str) -> AsyncIterator[bytes]:
        from ion.management.report import read_report

        found = (await find_flow(self._ledger, flow)).correlation_id
        stores = self._stores
        page = read_report(found, ledger=stores.ledger, documents=stores.documents, blobs=stores.blobs)
        async with closing(page):
            async for piece in page:
                yield piece
