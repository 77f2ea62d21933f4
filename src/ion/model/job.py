"""One module's work for one event, from admission to its end. The states are those of docs/concepts.md."""

from datetime import datetime
from enum import StrEnum

import msgspec

from ion.model.event import Event
from ion.model.manifest import ManifestRef

HISTORY_LIMIT = 50


class State(StrEnum):
    WAITING = "waiting"
    RUNNING = "running"
    COMMITTED = "committed"
    RELEASED = "released"
    DEAD = "dead"
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"
    EXPIRED = "expired"


OPEN_STATES = frozenset({State.WAITING, State.RUNNING, State.COMMITTED})


class FailureClass(StrEnum):
    """Why an attempt failed; each class has a budget of its own (R5)."""

    MODULE = "module"
    CONTRACT = "contract"
    TIMEOUT = "timeout"
    MEMORY = "memory"
    LOST = "lost"
    INFRASTRUCTURE = "infrastructure"


class Hold(StrEnum):
    """Why a waiting job is not claimed although it is due. A held job is open: its flow is not quiet."""

    FLOW = "flow"  # its flow is paused
    HOPS = "hops"  # beyond max_hops
    JOBS = "jobs"  # beyond max_jobs of a flow


class Failure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How an attempt ended badly. `message` is one sentence; `exit_code` is negative for a signal."""

    kind: FailureClass
    message: str
    exit_code: int | None = None


class Change(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One entry of a job's history."""

    at: datetime
    state: State
    attempt: int
    actor: str
    note: str = ""


class Job(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One row of the ledger.

    `attempt` counts from 1 at the first claim. `owner` is the dispatcher that watches the job; `execution` the winner
    after commit, before that the last one known. `failures` counts failed attempts by class since the job was last
    queued by hand; `troubled_at` is when its present streak of infrastructure failures began. `not_before` and
    `deadline` are by the ledger's clock. `cursor` is how many of the manifest's events have been relayed. `devices` are
    the gpu devices of the running attempt. `log` is the blob path of the last attempt's log. `route` says where it is
    to run if its module has rules for that; see `ion.dispatcher.routing`.
    """

    id: str
    module: str
    event: Event
    run: int = 0
    state: State = State.WAITING
    attempt: int = 0
    hold: Hold | None = None
    priority: int = 0
    owner: str = ""
    scope: str = ""
    revision: str = ""
    execution: str = ""
    devices: tuple[str, ...] = ()
    route: str = ""
    failures: dict[FailureClass, int] = {}
    troubled_at: datetime | None = None
    failure: Failure | None = None
    manifest: ManifestRef | None = None
    cursor: int = 0
    log: str = ""
    cancelling: bool = False
    admitted_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    not_before: datetime | None = None
    deadline: datetime | None = None
    history: tuple[Change, ...] = ()

    @property
    def correlation_id(self) -> str:
        return self.event.correlation_id

    @property
    def gave_way(self) -> bool:
        """Whether a later run took its place; it may have expired since."""
        if self.state is State.EXPIRED:
            return any(change.state is State.SUPERSEDED for change in self.history)
        return self.state is State.SUPERSEDED
