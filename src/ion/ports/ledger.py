"""The ledger: the system of record of jobs, owners, modules and flow controls.

Every verb on a job is one atomic, guarded change of one row: it names the state (and attempt, and owner where it
settles) that it expects, and answers False where another was faster, having changed nothing. All verbs are safe to call
concurrently, from several processes; none blocks longer than the store's own time limit (5 s), then it raises
`UnavailableError`. A cancelled call may or may not have taken effect; calling it again is safe.

Times that decide (`not_before`, `deadline`) are by the ledger's clock: callers give durations, never times. That clock
may be set. Ahead, what waits is due early; back, nothing waits longer than it may (`Claim.delay_most_s`,
`DEFER_MOST_S`); what a running attempt has left is for its owner to keep true (`Ledger.retime`).
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from types import TracebackType
from typing import Self

from ion.model.job import Failure, Job, State
from ion.model.manifest import ManifestRef
from ion.model.module import Revision
from ion.ports.ledger_data import (
    DEFER_MOST_S,
    Bury,
    Cancel,
    Changes,
    Claim,
    Control,
    Entry,
    Flow,
    GiveBack,
    Health,
    JobFilter,
    JobPage,
    LedgerGuarantees,
    Load,
    Move,
    Open,
    Outcome,
    Owner,
    Past,
    Registered,
    Retry,
    Subscriber,
)
from ion.ports.ledger_history import HistoryLedger
from ion.ports.ledger_keeping import KeepingLedger

__all__ = [
    "DEFER_MOST_S",
    "Bury",
    "Cancel",
    "Changes",
    "Claim",
    "Control",
    "Entry",
    "Flow",
    "GiveBack",
    "Health",
    "JobFilter",
    "JobPage",
    "Ledger",
    "LedgerGuarantees",
    "Listener",
    "Load",
    "Move",
    "Open",
    "Outcome",
    "Owner",
    "Past",
    "Registered",
    "Retry",
    "Subscriber",
]


class Listener(ABC):
    """News since the last look. Open it before reading the state it guards: no news is lost in between."""

    @abstractmethod
    async def wait(self, timeout_s: float | None = None) -> Changes:
        """Returns the kinds that changed since the last call (at once if any did), or none after `timeout_s`.

        News may be spurious, and may come late from other processes, so callers look again by themselves at times.
        """


class Ledger(KeepingLedger, HistoryLedger):
    """See the module's text for what holds of every verb; what becomes of jobs after their end is in one base, what
    was done to modules and who asked for what in the other.
    """

    @property
    @abstractmethod
    def guarantees(self) -> LedgerGuarantees: ...

    @abstractmethod
    async def __aenter__(self) -> Self: ...

    @abstractmethod
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    @abstractmethod
    async def now(self) -> datetime:
        """The ledger's clock."""

    @abstractmethod
    def listen(self, kinds: Changes) -> AbstractAsyncContextManager[Listener]:
        """News of these kinds, from this process and others, until the context is left."""

    # ---- jobs -------------------------------------------------------------------------------------------------

    @abstractmethod
    async def admit(self, jobs: Sequence[Job]) -> frozenset[str]:
        """Adds jobs, all or none; a job whose id is known is left as it is (R2).

        Each is `waiting`, `committed` with a manifest (a gateway's root), or `dead` with a failure (an event that
        cannot be read). Where the flow is paused it is held, where the flow is cancelled it is admitted `cancelled` (a
        committed one stays committed). It takes the flow's priority.
        A waiting job beyond `max_jobs` of its flow is held; a job that comes with a `hold` keeps it.

        Returns:
            The ids that were new.
        """

    @abstractmethod
    async def claim(self, claim: Claim) -> Sequence[Job]:
        """Makes due jobs `running` for an owner; see `Claim`. Two claims never get the same job."""

    @abstractmethod
    async def commit(self, job: str, attempt: int, manifest: ManifestRef, *, by: str = "") -> bool:
        """Decides the results (R3): `running → committed`, guarded by state and attempt alone.

        Listeners are told, but where the job's owner is `by`: it relays the job by itself.

        Returns:
            True if this execution's results are the job's: now, or already (the answer of an earlier call was lost).
            False if another execution won or the attempt is over: nothing changed.
        """

    @abstractmethod
    async def settle(self, job: str, attempt: int, owner: str, outcome: Outcome, *, log: str = "") -> bool:
        """Ends a running attempt without results. `log` is the blob path of its log.

        `Retry` and `Bury` count the failure by class. A `Retry` of a job that is to be cancelled, or whose flow is,
        becomes `cancelled`. `Cancel` makes it `cancelled`; `GiveBack` makes it `waiting` with the attempt kept.
        """

    @abstractmethod
    async def unreleased(self, most: int, owner: str) -> Sequence[Job]:
        """Committed jobs that are due for the relay, oldest first: the owner's own, and those without a living owner
        (`adopt` and `admit` leave them so), which become the owner's. One whose `not_before` is more than
        `DEFER_MOST_S` ahead is due as well: the clock has been set back.
        """

    @abstractmethod
    async def advance(self, job: str, owner: str, cursor: int) -> bool:
        """Keeps how many of a committed job's events were relayed; guarded by owner, and never goes back."""

    @abstractmethod
    async def released(self, job: str, owner: str) -> bool:
        """`committed → released`; repeating it for a released job answers True."""

    @abstractmethod
    async def defer(self, job: str, owner: str, delay_s: float, note: str) -> bool:
        """A committed job could not be relayed: due again after `delay_s`, at most `DEFER_MOST_S`; the note goes into
        its history.
        """

    @abstractmethod
    async def bury(self, job: str, failure: Failure, actor: str) -> bool:
        """`waiting → dead`, while its module is not registered. False if it is, or if the job does not wait."""

    @abstractmethod
    async def cancel(self, job: str, actor: str) -> bool:
        """`waiting → cancelled`; a running job is marked, and its owner ends it. False if it is neither."""

    @abstractmethod
    async def requeue(self, job: str, actor: str) -> bool:
        """`dead | cancelled → waiting`, due at once, failure counts at 0, with the module's current revision and on no
        route.

        A waiting job that a guard holds (`Hold.HOPS`, `Hold.JOBS`) is freed in the same way.

        Raises:
            ConflictError: its flow is cancelled, or its module is gone; says what to do.
        """

    @abstractmethod
    async def get(self, job: str) -> Job:
        """The job of that id. Raises NotFoundError."""

    @abstractmethod
    async def query(self, which: JobFilter, *, most: int = 100, after: str | None = None) -> JobPage:
        """A page of jobs; reads in short steps so that a long listing holds nobody up."""

    @abstractmethod
    async def open(self, correlation_id: str) -> Open:
        """The open jobs of a flow, from an index: does not grow with the jobs that ended."""

    @abstractmethod
    async def tally(self, correlation_id: str) -> Mapping[tuple[str, State], int]:
        """How many jobs of a flow stand in each state, by module: the whole flow at a glance."""

    @abstractmethod
    async def waiting(self) -> dict[str, float | None]:
        """Modules with waiting jobs, and in how many seconds the next is due (0: now; None: all of them are held).

        By `not_before` alone: whoever knows how long a back-off may be can tell that the clock was set back.
        """

    @abstractmethod
    async def routes(self, module: str, delay_most_s: float | None = None) -> frozenset[str]:
        """The routes on which jobs of a module are due; one index step a route, however many jobs wait.

        `delay_most_s` is as in `Claim`. Where the time of a crowd has come, it is put in line first, so that nobody is
        hidden behind it.
        """

    @abstractmethod
    async def on_route(self, module: str, route: str, most: int, delay_most_s: float | None = None) -> Sequence[Job]:
        """Those of its due jobs on a route that would be claimed first, in that order."""

    @abstractmethod
    async def reroute(self, moves: Sequence[Move], actor: str) -> int:
        """Puts waiting jobs onto other routes, each guarded by the route it is on; how many it has put.

        One that somebody else changes at this moment may be left where it is.
        """

    @abstractmethod
    async def load(self, module: str, most: int) -> Load:
        """The jobs of a module that wait, run, are committed, are dead or were cancelled, counted from indexes.

        A state's jobs are counted up to `most` at least, and perhaps not beyond; so the oldest that waits is looked for
        among as many of those that are claimed next. However many jobs there are, it takes no longer.
        """

    @abstractmethod
    async def overdue(self, most: int) -> Sequence[Job]:
        """Running jobs past their deadline."""

    @abstractmethod
    async def retime(self, job: str, attempt: int, owner: str, elapsed_s: float) -> bool:
        """A running attempt has gone on for `elapsed_s`, by a clock of its owner's that nobody can set.

        Moves its `started_at` to so long before now, and its `deadline` by as much. Guarded as `settle` is.
        """

    @abstractmethod
    async def running(self, owner: str) -> Sequence[Job]:
        """The running jobs of an owner."""

    @abstractmethod
    async def adopt(self, dead: Sequence[str], owner: str) -> Sequence[Job]:
        """Takes over everything open of owners that are dead: committed jobs become nobody's, running jobs `owner`'s.

        Returns:
            The running jobs taken over, for the caller to find again or to settle. The dead owners' rows are removed.
        """

    # ---- owners -----------------------------------------------------------------------------------------------

    @abstractmethod
    async def beat(self, owner: Owner) -> Sequence[Owner]:
        """Adds the owner or raises its beat by one, and gives every owner with its beat.

        A removed owner (taken for dead) that beats again is added anew: what it owned it has lost. One that runs jobs
        without a row (a claim of its took effect after that) is among them with its id, their scope and a beat of 0.
        """

    @abstractmethod
    async def owners(self) -> Sequence[Owner]:
        """Every owner that has a row, by id, with its beat; changes nothing. One that died may be among them still."""

    @abstractmethod
    async def retire(self, owner: str) -> None:
        """Removes an owner that stops of its own will; what it still owns is for others to adopt."""

    # ---- registry ---------------------------------------------------------------------------------------------

    @abstractmethod
    async def apply(self, revisions: Sequence[Revision], actor: str) -> Sequence[str]:
        """Registers modules, or gives them a new current revision; all or none.

        Returns:
            The names that changed. An unchanged module is left alone.

        Raises:
            ConflictError: a name belongs to another pipeline.
        """

    @abstractmethod
    async def remove(self, module: str, actor: str) -> bool:
        """Removes a module and its subscriptions; its history of revisions and its jobs stay."""

    @abstractmethod
    async def modules(self) -> Sequence[Registered]:
        """The registered modules, by name."""

    @abstractmethod
    async def revision(self, module: str, revision: str) -> Revision:
        """A revision that was once applied. Raises NotFoundError."""

    @abstractmethod
    async def subscribers(self, event_type: str) -> Sequence[Subscriber]:
        """Who subscribes to a type. Cheap: adapters may answer from a copy that the registry's version guards."""

    @abstractmethod
    async def pause_module(self, module: str, *, paused: bool, actor: str) -> None:
        """Stops or starts claims of a module. Starting resets its health. Raises NotFoundError."""

    # ---- flows ------------------------------------------------------------------------------------------------

    @abstractmethod
    async def control(self, correlation_id: str, control: Control, actor: str) -> None:
        """Pauses, cancels or frees a whole flow, jobs not born yet included.

        Once it returns, no waiting job of a paused or cancelled flow is claimed. Cancelling cannot be taken back.
        """

    @abstractmethod
    async def prioritise(self, correlation_id: str, priority: int) -> None:
        """Jobs of the flow, present and to come, are claimed before those of lower priority."""

    @abstractmethod
    async def flow(self, correlation_id: str) -> Flow:
        """Raises NotFoundError."""

    @abstractmethod
    def flows(self) -> AsyncIterator[Flow]:
        """All flows, newest first, read in short pages."""
