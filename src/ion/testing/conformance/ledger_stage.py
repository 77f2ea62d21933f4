"""What the ledger's conformance tests act with: two ledgers on one store, a clock that is set, and jobs to admit."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from ion.model import ids
from ion.model.event import Event
from ion.model.job import Failure, FailureClass, Job, State
from ion.model.manifest import ManifestRef
from ion.model.module import Module, Revision, Subscription, revise
from ion.ports.ledger import Claim, Ledger

EPOCH = datetime(2030, 1, 1, tzinfo=UTC)
MAX_JOBS = 50_000
PATIENCE_S = 120.0
"""Within this a listener must have heard of a change."""


class SetClock:
    """A ledger's clock that moves only when it is told to; seconds since the epoch."""

    def __init__(self) -> None:
        self._now = EPOCH.timestamp()

    def __call__(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        self._now += seconds


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """Two ledgers on one store, as two processes would have them, and the clock of both."""

    ledger: Ledger
    other: Ledger
    clock: SetClock

    async def admitted(self, number: int = 1, **fields: Any) -> Sequence[Job]:
        """Admits so many waiting jobs of one flow; see `waiting_job`."""
        fields.setdefault("flow", ids.new_id())
        jobs = [waiting_job(**fields) for _ in range(number)]
        await self.ledger.admit(jobs)
        return jobs

    async def running(self, number: int = 1, *, owner: str = "one", **fields: Any) -> Sequence[Job]:
        """Admits and claims so many jobs."""
        await self.admitted(number, **fields)
        return await self.ledger.claim(claim(number, owner=owner, module=fields.get("module", "detect")))

    async def committed(self, *, owner: str = "one", **fields: Any) -> Job:
        """Admits, claims and commits a job."""
        (job,) = await self.running(owner=owner, **fields)
        assert await self.ledger.commit(job.id, job.attempt, manifest())
        return await self.ledger.get(job.id)

    async def dead(self, **fields: Any) -> Job:
        """Admits a dead job."""
        (job,) = await self.admitted(state=State.DEAD, failure=failure(), **fields)
        return await self.ledger.get(job.id)

    async def state(self, job: Job) -> State:
        """The state of a job as the other process sees it."""
        return (await self.other.get(job.id)).state


class LedgerStage(ABC):
    """What an adapter gives to the suite."""

    many: int = 10_000
    """How many jobs of one flow its store is given at once; more than it takes or gives in one go."""

    @abstractmethod
    def open_ledgers(self, clock: SetClock, max_jobs: int) -> AbstractAsyncContextManager[tuple[Ledger, Ledger]]:
        """Two ledgers on one new and empty store, as independent of each other as the adapter allows."""

    @pytest.fixture
    async def stage(self) -> AsyncIterator[Stage]:
        clock = SetClock()
        async with self.open_ledgers(clock, MAX_JOBS) as (ledger, other):
            yield Stage(ledger=ledger, other=other, clock=clock)


def event(flow: str) -> Event:
    """An event of a flow."""
    return Event(
        id=ids.new_id(),
        type="photo",
        source="/test",
        correlation_id=flow,
        parent_id="frontapi",
        time=EPOCH,
        data={"ü": "\0 '\"", "n": [1, None]},
    )


def waiting_job(*, flow: str, module: str = "detect", **fields: Any) -> Job:
    """A waiting job for a new event of a flow."""
    cause = event(flow)
    return Job(id=ids.job_id(cause.id, module), module=module, event=cause, **fields)


def claim(most: int = 1, *, owner: str = "one", module: str = "detect", **fields: Any) -> Claim:
    """What a dispatcher `owner` asks for; the deadline is 100 s away."""
    defaults = {"scope": "here", "revision": "current", "deadline_s": 100.0}
    return Claim(module=module, most=most, owner=owner, **{**defaults, **fields})


def manifest(execution: str = "") -> ManifestRef:
    """The manifest of an execution, by default of a new one."""
    execution = execution or ids.new_id()
    return ManifestRef(
        blob=f"x/{execution}/manifest.json",
        sha256="0" * 64,
        execution=execution,
        events=3,
        inline='{"a": 1}',
        log=f"x/{execution}/log.txt",
        started_at=EPOCH,
        ended_at=EPOCH,
    )


def failure(kind: FailureClass = FailureClass.MODULE, message: str = "It exited with 1.") -> Failure:
    """How an attempt ended badly."""
    return Failure(kind=kind, message=message, exit_code=1)


def revision(name: str = "detect", *types: str, pipeline: str = "media", **fields: Any) -> Revision:
    """A revision of a module that subscribes to these types."""
    subscriptions = tuple(Subscription(type=kind) for kind in types)
    return revise(Module(name=name, pipeline=pipeline, on=subscriptions, **fields))
