"""The ledger: the system of record of jobs, owners, modules and flow controls.

Every verb on a job is one atomic, guarded change of one row: it names the state (and attempt, and owner where it
settles) that it expects, and answers False where another was faster, having changed nothing. All verbs are safe to call
concurrently, from several processes; none blocks longer than the store's own time limit (5 s), then it raises
`UnavailableError`. A cancelled call may or may not have taken effect; calling it again is safe.

Times that decide (`not_before`, `deadline`) are by the ledger's clock: callers give durations, never times.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from enum import Flag, StrEnum, auto
from types import TracebackType
from typing import Self

import msgspec

from ion.model.job import Failure, Job, State
from ion.model.manifest import ManifestRef
from ion.model.module import Module, Revision, Subscription
from ion.ports.ledger_keeping import KeepingLedger


class LedgerGuarantees(msgspec.Struct, frozen=True, kw_only=True):
    """What an adapter promises. `store` names the store it lives in (a bus with the same one publishes by admitting);
    `durable`: a change survives the death of the process that made it; `shared`: several processes may use it at once.
    """

    store: str
    durable: bool
    shared: bool


class Changes(Flag):
    """Kinds of news that `Ledger.listen` can wait for."""

    DUE = auto()  # a job may have become claimable
    COMMITTED = auto()  # a job waits for its relay
    ENDED = auto()  # a job left the open set
    CANCEL = auto()  # a running job is to be cancelled
    REGISTRY = auto()  # modules, controls
    ANY = DUE | COMMITTED | ENDED | CANCEL | REGISTRY


class Listener(ABC):
    """News since the last look. Open it before reading the state it guards: no news is lost in between."""

    @abstractmethod
    async def wait(self, timeout_s: float | None = None) -> Changes:
        """Returns the kinds that changed since the last call (at once if any did), or none after `timeout_s`.

        News may be spurious, and may come late from other processes, so callers look again by themselves at times.
        """


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """What a dispatcher asks for.

    At most `most` jobs of `module` that are due and not held, by priority, rotating between flows. Each gets attempt
    + 1, this owner and scope, a deadline `deadline_s` from now, and its revision: the one it had, else `revision`. With
    `gpus_each` each also gets so many of `devices` that no running job of the scope holds; without enough, no claim.
    `module_most` bounds how many jobs of the module may run at once over all owners (a probe, say); None is no bound.
    """

    module: str
    most: int
    owner: str
    scope: str
    revision: str
    deadline_s: float
    module_most: int | None = None
    gpus_each: int = 0
    devices: tuple[str, ...] = ()


class Retry(msgspec.Struct, frozen=True, kw_only=True):
    """The attempt failed; the job waits again, due after `delay_s`. `counts` is False where no budget is burnt."""

    failure: Failure
    delay_s: float


class Bury(msgspec.Struct, frozen=True, kw_only=True):
    """The attempt failed and no budget is left, or it would not help: the job is dead."""

    failure: Failure


class Cancel(msgspec.Struct, frozen=True, kw_only=True):
    """The attempt was ended on request."""

    reason: str


class GiveBack(msgspec.Struct, frozen=True, kw_only=True):
    """The attempt was given up by its dispatcher (a graceful stop): due at once, nothing burnt, no failure kept."""

    reason: str


Outcome = Retry | Bury | Cancel | GiveBack


class Owner(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One incarnation of a dispatcher. `beat` only ever rises; `lock` is a file it holds locked on `host`.

    `modules` are those it serves (concurrency is divided among the owners that serve a module).
    """

    id: str
    scope: str
    host: str
    pid: int
    beat: int = 0
    lock: str = ""
    modules: tuple[str, ...] = ()


class Health(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the breaker of a module looks at. Counted by `commit` (both become 0) and `settle`.

    `dead_in_row`: jobs that died since the last success; `trouble_in_row`: infrastructure failures likewise;
    `quiet_s`: seconds since the last of either, by the ledger's clock.
    """

    dead_in_row: int = 0
    trouble_in_row: int = 0
    quiet_s: float = 0.0


class Registered(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A module in the registry with its current revision. `paused` by a person: nothing of it is claimed."""

    revision: Revision
    paused: bool = False
    health: Health = Health()

    @property
    def module(self) -> Module:
        return self.revision.module


class Subscriber(msgspec.Struct, frozen=True, kw_only=True):
    """A registered module's subscription."""

    module: str
    subscription: Subscription


class Control(StrEnum):
    """What a person asked of a whole flow."""

    NONE = ""
    PAUSED = "paused"
    CANCELLED = "cancelled"


class Flow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is kept of a flow: its control, its priority and how many jobs were ever admitted into it."""

    correlation_id: str
    control: Control = Control.NONE
    priority: int = 0
    jobs: int = 0
    started_at: datetime | None = None


class Open(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How many jobs of a flow are open. `held` ones are waiting too. The flow is quiet when `total` is 0."""

    waiting: int = 0
    running: int = 0
    committed: int = 0
    held: int = 0

    @property
    def total(self) -> int:
        return self.waiting + self.running + self.committed


class JobFilter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which jobs `query` gives; every field narrows. `id_prefix` is the beginning of an id, as people type it."""

    module: str = ""
    states: tuple[State, ...] = ()
    correlation_id: str = ""
    event_id: str = ""
    id_prefix: str = ""
    owner: str = ""


class JobPage(msgspec.Struct, frozen=True, kw_only=True):
    """Jobs in the order of their admission; `after` continues (None: that was all)."""

    jobs: tuple[Job, ...]
    after: str | None = None


class Ledger(KeepingLedger):
    """See the module's text for what holds of every verb; what becomes of jobs after their end is in the base."""

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
    async def commit(self, job: str, attempt: int, manifest: ManifestRef) -> bool:
        """Decides the results (R3): `running → committed`, guarded by state and attempt alone.

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
        (`adopt` and `admit` leave them so), which become the owner's.
        """

    @abstractmethod
    async def advance(self, job: str, owner: str, cursor: int) -> bool:
        """Keeps how many of a committed job's events were relayed; guarded by owner, and never goes back."""

    @abstractmethod
    async def released(self, job: str, owner: str) -> bool:
        """`committed → released`; repeating it for a released job answers True."""

    @abstractmethod
    async def defer(self, job: str, owner: str, delay_s: float, note: str) -> bool:
        """A committed job could not be relayed: due again after `delay_s`; the note goes into its history."""

    @abstractmethod
    async def bury(self, job: str, failure: Failure, actor: str) -> bool:
        """`waiting → dead`: its module was removed, or its event cannot be used."""

    @abstractmethod
    async def cancel(self, job: str, actor: str) -> bool:
        """`waiting → cancelled`; a running job is marked, and its owner ends it. False if it is neither."""

    @abstractmethod
    async def requeue(self, job: str, actor: str) -> bool:
        """`dead | cancelled → waiting`, due at once, failure counts at 0, with the module's current revision.

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
        """Modules with waiting jobs, and in how many seconds the next is due (0: now; None: all of them are held)."""

    @abstractmethod
    async def overdue(self, most: int) -> Sequence[Job]:
        """Running jobs past their deadline."""

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

        A removed owner (taken for dead) that beats again is added anew: what it owned it has lost.
        """

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
