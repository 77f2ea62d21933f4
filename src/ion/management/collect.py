"""Collecting what retention takes, over a whole store: flow by flow, and then what no row needs.

It may run beside dispatchers and beside another one of itself, be killed at any instruction and be repeated.
"""

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

import msgspec

from ion.dispatcher.stores import Stores
from ion.errors import IonError, NotFoundError
from ion.management.clearing import Clearing
from ion.management.expiry import Due, Expiry, Survey, due_at
from ion.management.strays import find_strays
from ion.model.job import State
from ion.model.retention import Retention
from ion.ports.ledger import Flow

log = logging.getLogger(__name__)

PERIOD_S = 3600.0


class Collected(msgspec.Struct, frozen=True, kw_only=True):
    """What went, or would go: jobs that expired, their blobs with their bytes, tombstones, and strays likewise."""

    jobs: int = 0
    blobs: int = 0
    size: int = 0
    forgotten: int = 0
    strays: int = 0
    strays_size: int = 0

    @property
    def anything(self) -> bool:
        return self != Collected()


class _Settled(msgspec.Struct, frozen=True):
    """How a flow was when all that was due of it had been taken; it holds `until`, in seconds since the epoch."""

    tally: int
    ended: float
    due: Due
    until: float

    def holds(self, tally: int, due: Due, now: float) -> bool:
        return self.tally == tally and self.due == due and now < self.until


class Collector:
    """Collects as often as it is asked to. It remembers which flows it is done with, some 100 bytes each."""

    def __init__(self, stores: Stores, retention: Retention, *, clock: Callable[[], float] = time.time) -> None:
        self._stores, self._retention, self._clock = stores, retention, clock
        self._settled: dict[str, _Settled] = {}

    async def collect(self, *, dry: bool = False) -> Collected:
        """One pass over everything. In a `dry` run nothing is changed."""
        stores = self._stores
        clearing = Clearing(stores.ledger, stores.documents, stores.blobs, dry=dry)
        expiry = Expiry(stores.ledger, clearing, self._retention, dry=dry)
        if self._retention.takes:
            now = (await stores.ledger.now()).timestamp()
            there: set[str] = set()
            async for flow in stores.ledger.flows():
                there.add(flow.correlation_id)
                try:
                    await self._flow(expiry, flow, now, dry=dry)
                except (NotFoundError, msgspec.DecodeError) as error:
                    log.error("flow %s keeps what it has, run `ion audit`: %s", flow.correlation_id, error)
                await asyncio.sleep(0)  # reading a flow's counts waits for nothing: others get their turn here
            # Another process may have taken the others away.
            self._settled = {flow: settled for flow, settled in self._settled.items() if flow in there}
        strays = size = 0
        async for stray in find_strays(stores.ledger, stores.documents, stores.blobs, self._clock):
            strays, size = strays + len(stray.paths), size + stray.size
            if not dry:
                await clearing.delete_only(stray.prefix, stray.paths)
        return Collected(
            jobs=expiry.jobs,
            blobs=clearing.blobs,
            size=clearing.size,
            forgotten=expiry.forgotten,
            strays=strays,
            strays_size=size,
        )

    async def _flow(self, expiry: Expiry, flow: Flow, now: float, *, dry: bool) -> None:
        first_s = self._retention.first_s
        if first_s is None or (flow.started_at and now - flow.started_at.timestamp() <= first_s):
            return  # it cannot have ended before it began
        key = flow.correlation_id
        tally = _hash(await self._stores.ledger.tally(key))
        known = self._settled.get(key)
        if known and known.holds(tally, due_at(self._retention, now - known.ended), now):
            return
        survey = await expiry.survey(key)
        if survey is None:
            return
        due = due_at(self._retention, now - survey.ended)
        until = math.inf
        if survey.only_tombstones:
            await expiry.forget(key, survey, now)
            until = math.inf if self._retention.ids_s is None else survey.expired + self._retention.ids_s
        elif due.anything and await expiry.take(key, survey, due):
            until = 0.0  # the next look finds out whether only tombstones are left, and since when
        if not dry:
            await self._settle(key, survey, due, until)

    async def _settle(self, flow: str, survey: Survey, due: Due, until: float) -> None:
        """Remembers that a flow need not be looked at until its counts change or another age has come."""
        after = await self._stores.ledger.tally(flow)
        if after:
            self._settled[flow] = _Settled(_hash(after), survey.ended, due, until)
        else:  # it is forgotten
            self._settled.pop(flow, None)


def _hash(tally: Mapping[tuple[str, State], int]) -> int:
    return hash(frozenset(tally.items()))


async def keep_collecting(collector: Collector, *, period_s: float = PERIOD_S) -> None:
    """Collects now and every hour, until cancelled. What fails is tried again the next time."""
    while True:
        try:
            collected = await collector.collect()
            if collected.anything:
                log.info("retention: %d jobs expired, %d bytes freed", collected.jobs, collected.size)
        except IonError as error:
            log.error("what has expired could not be collected, and will be tried again: %s", error)
        await asyncio.sleep(period_s)


@asynccontextmanager
async def collecting(stores: Stores, retention: Retention) -> AsyncIterator[Sequence[asyncio.Task[None]]]:
    """Collects in a task beside while the context is open, if anything is kept for a time only; gives that task."""
    if not retention.takes:
        yield ()
        return
    task = asyncio.create_task(keep_collecting(Collector(stores, retention)), name="collect")
    try:
        yield (task,)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
