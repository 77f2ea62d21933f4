"""What goes into a ledger and comes out of it, beside jobs: requests, outcomes, owners, flows, filters."""

from datetime import datetime
from enum import Flag, StrEnum, auto

import msgspec

from ion.model.job import Failure, Job, State
from ion.model.module import Module, Revision, Subscription

DEFER_MOST_S = 300.0
"""No relay is put off for longer."""


class LedgerGuarantees(msgspec.Struct, frozen=True, kw_only=True):
    """What an adapter promises. `store` names the store it lives in (a bus with the same one publishes by admitting);
    `durable`: a change survives the death of the process that made it; `shared`: several processes may use it at once;
    `in_order`: what one process asks for takes effect in that order, also before the first is answered.
    """

    store: str
    durable: bool
    shared: bool
    in_order: bool = False


class Changes(Flag):
    """Kinds of news that `Ledger.listen` can wait for."""

    DUE = auto()  # a job may have become claimable
    COMMITTED = auto()  # a job waits for its relay
    ENDED = auto()  # a job left the open set
    CANCEL = auto()  # a running job is to be cancelled
    REGISTRY = auto()  # modules, controls
    ANY = DUE | COMMITTED | ENDED | CANCEL | REGISTRY


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """What a dispatcher asks for.

    At most `most` jobs of `module` that are due and not held, by priority, rotating between flows. Each gets attempt
    + 1, this owner and scope, a deadline `deadline_s` from now, and its revision: the one it had, else `revision`. With
    `gpus_each` each also gets so many of `devices` that no running job of the scope holds; without enough, no claim.
    `module_most` bounds how many jobs of the module may run at once over all owners (a probe, say); None is no bound.
    A job whose `not_before` is more than `delay_most_s` ahead is due as well: no back-off is so long, so the clock has
    been set back since. None trusts every `not_before`.
    Only jobs that are on one of `routes` are claimed, as one line; they are on `route` from then on, if it is not
    empty. The empty route is that of all jobs which were not put onto another.
    """

    module: str
    most: int
    owner: str
    scope: str
    revision: str
    deadline_s: float
    module_most: int | None = None
    delay_most_s: float | None = None
    gpus_each: int = 0
    devices: tuple[str, ...] = ()
    routes: tuple[str, ...] = ("",)
    route: str = ""


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """A waiting job is put from one route onto another; `note` says why, for its history."""

    job: str
    old: str
    new: str
    note: str = ""


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

    `modules` are those it serves (concurrency is divided among the owners that serve a module). `places` are
    `MODULE@PROVIDER`, for each module of them with rules and each provider on which it can run that.
    """

    id: str
    scope: str
    host: str
    pid: int
    beat: int = 0
    lock: str = ""
    modules: tuple[str, ...] = ()
    places: tuple[str, ...] = ()


class Health(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the breaker of a module looks at. Counted by `commit` (both become 0) and `settle`.

    `dead_in_row`: jobs that died since the last success; `trouble_in_row`: infrastructure failures likewise;
    `quiet_s`: seconds between now and the last of either, by the ledger's clock, on whichever side: a clock that is set
    back must not make the breaker wait for the old time.
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


class Load(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How many jobs of a module stand in each state, but for those that went well, and since when the oldest of those
    that wait does so, in seconds (None: none waits).
    """

    jobs: dict[State, int] = {}
    oldest_s: float | None = None


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


class Past(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A revision that a module once had: when it was applied and by whom; `removed`: that ended there."""

    revision: Revision | None = None
    at: datetime
    actor: str
    removed: bool = False


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the audit trail: who asked for which verb (`modules.apply`) of what, from where, with what outcome.

    `outcome` is empty for done, else the sentence of the refusal.
    """

    at: datetime
    actor: str
    role: str = ""
    verb: str
    about: str = ""
    peer: str = ""
    outcome: str = ""
