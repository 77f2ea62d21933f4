"""Verbs on whole flows. A flow is known by its correlation id."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator

import msgspec

from ion.management.flows import FlowState
from ion.model.job import Job
from ion.model.record import Record
from ion.ports.ledger import Control, Flow


class TreeLine(msgspec.Struct, frozen=True, kw_only=True):
    """A job of a flow's tree, parents first; `rails` are drawn before it. `parent`: the job it came of, if any.

    `silent`: it raised nothing although its module declares events.
    """

    rails: str = ""
    job: Job
    parent: str = ""
    silent: bool = False


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How a flow stands once no job of it is open, or (`stuck`, one sentence) none can go on."""

    state: FlowState
    stuck: str = ""


class FlowVerbs(ABC):
    @abstractmethod
    async def get(self, *, flow: str) -> FlowState:
        """Raises NotFoundError: there is none. InvalidError: several begin so; names some."""

    @abstractmethod
    async def list(self, *, most: int = 20) -> tuple[FlowState, ...]:
        """The newest first."""

    @abstractmethod
    async def control(self, *, flow: str, control: Control) -> Flow:
        """Pauses (`paused`), frees (empty) or cancels (`cancelled`) it. Raises ConflictError: it is cancelled."""

    @abstractmethod
    async def prioritise(self, *, flow: str, priority: int) -> Flow:
        """Its jobs, present and to come, are claimed before those of lower priority (-1,000 to 1,000; 0 is usual)."""

    @abstractmethod
    async def wait(self, *, flow: str) -> Ended:
        """Returns once the flow is quiet or stuck, however long that takes."""

    @abstractmethod
    def records(self, *, flow: str) -> AsyncIterator[Record]:
        """Every record of the flow in the order in which they were made, with links that can be opened."""

    @abstractmethod
    def tree(self, *, flow: str) -> AsyncIterator[TreeLine]:
        """Its jobs below the one that raised its event; superseded ones are left out."""

    @abstractmethod
    def report(self, *, flow: str) -> AsyncIterator[bytes]:
        """A page (HTML, UTF-8) that shows the flow whole."""
