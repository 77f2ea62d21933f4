"""A place that is reached only after the dispatcher began, as a cluster may be."""

from pathlib import Path
from typing import TYPE_CHECKING

from ion.adapters.executors.local import LocalExecutor
from ion.errors import UnavailableError
from ion.model.job import State
from ion.model.module import Revision
from ion.ports.executor import Assignment, ExecutorGuarantees, Handle
from ion.ports.ledger import Ledger
from ion.testing.local import MACHINE, no_secret

if TYPE_CHECKING:
    from tests.dispatcher.service.conftest import Site

SCOPE = "cluster:far"


class Far(LocalExecutor):
    """Its scope is empty until it is reached. Keeps what the ledger says of its dispatcher as each attempt begins."""

    ledger: Ledger
    reached = False
    said: tuple[str, ...] = ()

    @property
    def guarantees(self) -> ExecutorGuarantees:
        return ExecutorGuarantees(scope=SCOPE if self.reached else "", adopts=False)

    def check(self, revision: Revision) -> None:
        if not self.reached:
            raise UnavailableError("it is being connected to")

    def reach(self) -> None:
        self.reached = True
        self._news.nudge()

    async def submit(self, assignment: Assignment) -> Handle:
        self.said += tuple(o.scope for o in await self.ledger.owners() if o.id == assignment.job.owner)
        return await super().submit(assignment)


async def test_nothing_is_claimed_in_a_place_before_the_ledger_knows_who_attends_it(
    site: "Site", tmp_path: Path
) -> None:
    """Else whoever took over from a dispatcher that died then would not know where to look, and call its jobs lost."""
    await site.module("detect", "true")
    executor = Far(
        tmp_path / "far",
        site.stores.handler,
        machine=MACHINE,
        devices=(),
        secrets=no_secret,
        environ=site.environ,
        guard_links=False,
    )
    executor.ledger = site.stores.ledger
    async with executor, site.dispatching(executor=executor, lease_s=3600.0):
        event = await site.photo()
        assert (await site.job(event)).state is State.WAITING
        executor.reach()
        assert await site.quiet(event) == {("detect", State.RELEASED): 1}
    assert executor.said == (SCOPE,)
