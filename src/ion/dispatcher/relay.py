"""The relay: makes a committed job's results known, in an order that can be repeated from any point.

Documents and children, publication, released. A job leaves the open set only after its children are in it, so a flow's
quiet is exact. All of it is a replay of the manifest: the same ids, so doing it twice changes nothing. Ten thousand
events go in chunks, with a cursor in the row. Before a further run is released, the earlier ones give way to it.

Nobody waits for the release but the end of a flow, nor for the documents of a job without children. So while anything
goes on, they come with the next commit: the children's claims come first, and one transaction serves several jobs.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Collection, Coroutine, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from ion.dispatcher.admit import as_seen, jobs_for
from ion.dispatcher.backoff import Backoff
from ion.dispatcher.lull import Lull
from ion.dispatcher.manifests import load_manifest
from ion.dispatcher.supersede import give_way
from ion.errors import IonError, UnavailableError
from ion.messaging.concerning import concerning
from ion.messaging.spilled import restored
from ion.model.event import Event
from ion.model.job import Job
from ion.model.manifest import Manifest
from ion.model.record import Record, event_meta, insight, module_logs
from ion.ports.blobs import Blobs
from ion.ports.bus import Bus
from ion.ports.documents import Documents
from ion.ports.ledger import DEFER_MOST_S, Changes, Ledger

log = logging.getLogger(__name__)

CHUNK = 500
BATCH = 64
SMALL = 8
"""Events."""
LOOK_AGAIN_S = 15.0
DEFER_FIRST_S = 1.0
AWAY_MOST_S = 8.0
"""A bus that is away is asked again at least so often, for it is not the job's fault."""


class Relay:
    """Relays the committed jobs of one dispatcher.

    `busy` tells whether anything runs, `lull` when there is time; `admitted` hears which modules have got jobs, and
    `released` of each job that is released, a moment after.
    """

    def __init__(
        self,
        ledger: Ledger,
        documents: Documents,
        blobs: Blobs,
        bus: Bus,
        *,
        owner: str,
        max_hops: int,
        busy: Callable[[], bool] = lambda: False,
        lull: Lull | None = None,
        admitted: Callable[[Collection[str]], None] = lambda _: None,
        released: Callable[[Job], None] = lambda _: None,
    ) -> None:
        self._ledger, self._documents, self._blobs, self._bus = ledger, documents, blobs, bus
        self._owner, self._max_hops = owner, max_hops
        self._busy, self._lull, self._admitted, self._released = busy, lull or Lull(), admitted, released
        self._deferred: dict[str, int] = {}
        self._in_hand: set[str] = set()
        self._group: asyncio.TaskGroup | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._bus_is_away = False
        self._hidden = False
        """Whether those in hand filled the last look, so that there may be more."""

    def take(self, job: Job) -> None:
        """Relays a job that was committed just now, and is this owner's. Where nothing runs, the next look finds it.

        In a task of its own: one that waits for a bus that does not answer keeps no other's children from starting.
        """
        if self._group is None:
            return
        self._in_hand.add(job.id)
        task = self._group.create_task(self._relay_one(job), name=f"relay {job.id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                await self._look()
            finally:
                self._group = None

    async def drain(self) -> None:
        """Relays and releases what is due now."""
        await self._relay_due()
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _look(self) -> None:
        backoff = Backoff("looking for committed jobs")
        async with self._ledger.listen(Changes.COMMITTED) as news:
            while True:
                try:
                    await self._relay_due()
                    backoff.fine()
                except UnavailableError as error:
                    await backoff.wait(error)
                    continue
                again = self._deferred or self._hidden
                await news.wait(min(LOOK_AGAIN_S, DEFER_FIRST_S) if again else LOOK_AGAIN_S)

    async def _relay_one(self, job: Job) -> None:
        with suppress(UnavailableError):  # the ledger has what could not even be put off; the next look finds it
            await self._relay(job)

    async def _relay_due(self) -> None:
        while True:
            due = await self._ledger.unreleased(BATCH, self._owner)
            ours = [job for job in due if job.id not in self._in_hand]
            self._in_hand |= {job.id for job in ours}
            handed_on = await self._hand_on_together([job for job in ours if _is_small(job)])
            await _each(lambda job: self._relay(job, handed_on=job.id in handed_on), ours)  # noqa: B023 - it is awaited
            self._hidden = len(due) == BATCH
            if not self._hidden or not ours:
                return

    async def _hand_on_together(self, jobs: Sequence[Job]) -> Collection[str]:
        """Makes the results of several jobs known at once, and gives their ids; of none where that cannot be."""
        if len(jobs) < 2 or self._bus_is_away:
            return ()
        try:
            found = [(job, await load_manifest(job.manifest, self._blobs)) for job in jobs if job.manifest]
            findings = [record for job, manifest in found for record in self._findings(job, manifest)]
            await self._hand_on(
                [(manifest.module, event) for _, manifest in found for event in manifest.events], findings
            )
        except (IonError, msgspec.DecodeError):  # each is tried by itself then, and the one at fault put off
            return ()
        return {job.id for job in jobs}

    async def _relay(self, job: Job, *, handed_on: bool = False) -> None:
        with concerning(job):
            await self._relay_it(job, handed_on=handed_on)

    async def _relay_it(self, job: Job, *, handed_on: bool) -> None:
        try:
            children = handed_on or await self._replay(job)
            # Nothing of an earlier run is left when the flow is quiet.
            still_open = await give_way(job, self._ledger, self._blobs) if job.run else 0
            if still_open:
                await self._defer(job, f"open jobs of earlier runs, which end first: {still_open}")
                return
            await self._when_there_is_time(begins=bool(children))
            if await self._ledger.released(job.id, self._owner):
                self._released(job)
            self._deferred.pop(job.id, None)
        except (IonError, msgspec.DecodeError) as error:
            await self._put_off(job, error)
        finally:
            self._in_hand.discard(job.id)

    async def _put_off(self, job: Job, error: Exception) -> None:
        if self._bus_is_away and isinstance(error, UnavailableError):  # that was said once, for all jobs
            await self._defer(job, str(error), AWAY_MOST_S)
            return
        log.error("job %s of module %s cannot be released yet: %s", job.id, job.module, error)
        await self._defer(job, str(error))

    async def _defer(self, job: Job, note: str, most_s: float = DEFER_MOST_S) -> None:
        """Never drops: the job stays committed, and its flow open, until its results are known."""
        times = self._deferred[job.id] = self._deferred.get(job.id, 0) + 1
        delay_s = min(most_s, DEFER_FIRST_S * 2.0 ** min(times - 1, 16)) * random.uniform(0.5, 1.0)  # noqa: S311  jitter
        await self._ledger.defer(job.id, self._owner, delay_s, note)

    async def _replay(self, job: Job) -> int:
        """Makes all results known but the release; how many children that were."""
        if job.manifest is None:
            raise UnavailableError(f"job {job.id} is committed without a manifest; run `ion audit`")
        manifest = await load_manifest(job.manifest, self._blobs)
        findings = self._findings(job, manifest)
        if not manifest.events and findings:
            await self._when_there_is_time()
            await self._documents.put(findings)
        children = 0
        for start in range(job.cursor, len(manifest.events), CHUNK):
            chunk = manifest.events[start : start + CHUNK]
            children += await self._hand_on([(manifest.module, event) for event in chunk], findings)
            if start + CHUNK < len(manifest.events):
                await self._ledger.advance(job.id, self._owner, start + CHUNK)
        return children

    def _findings(self, job: Job, manifest: Manifest) -> list[Record]:
        """The records of what the job found and logged; they go with those of its first events."""
        records: list[Record] = []
        if job.manifest and job.manifest.log:  # the row's: a pod's log is whole only when its manifest is written
            logs, run = self._blobs.uri(job.manifest.log), job.run
            records.append(
                module_logs(job.event, module=job.module, attempt=manifest.attempt, logs=logs, succeeded=True, run=run)
            )
        if manifest.insights:
            records.append(insight(manifest))
        return records

    async def _hand_on(self, produced: Sequence[tuple[str, Event]], findings: Sequence[Record]) -> int:
        """Makes events known, each with its producer; how many children that were."""
        children: list[Job] = []
        records = list(findings)
        for producer, event in produced:
            if event.dataref:  # one at a time: its data may be large
                whole = await restored(event, self._blobs)
                await self._documents.put([event_meta(whole, producer, self._blobs.uri)])
            else:
                records.append(event_meta(event, producer, self._blobs.uri))
            subscribers = await self._ledger.subscribers(event.type)
            seen = await as_seen(event, subscribers, self._blobs)
            children.extend(jobs_for(event, subscribers, max_hops=self._max_hops, seen=seen))
        if children:  # both at once: where one fails, both are made again before the job is released
            both = asyncio.gather(self._documents.put(records), self._ledger.admit(children))
            # Where it takes effect in order, their claims are asked for before it is answered: one transaction for all.
            await (asyncio.sleep(0) if self._ledger.guarantees.in_order else both)
            self._admitted({child.module for child in children})
            await both
        else:
            await self._when_there_is_time()
            await self._documents.put(records)
        await self._publish([event for _, event in produced])
        return len(children)

    async def _when_there_is_time(self, *, begins: bool = False) -> None:
        """No job begins with what comes next; with `begins`, one does with what has just been done."""
        if begins or self._busy():
            await self._lull.wait()

    async def _publish(self, events: Sequence[Event]) -> None:
        """Says once that the bus is away, and once that it is back."""
        try:
            await self._bus.publish(events)
        except UnavailableError as error:
            if not self._bus_is_away:
                log.warning("publishing failed and will be tried again: %s", error)
            self._bus_is_away = True
            raise
        if self._bus_is_away:
            log.warning("publishing works again")
        self._bus_is_away = False


def _is_small(job: Job) -> bool:
    """Whether what the job found is in its row, and is little enough to be relayed with others'."""
    manifest = job.manifest
    return (
        manifest is not None and bool(manifest.inline) and manifest.events <= SMALL and not job.run and not job.cursor
    )


async def _each(step: Callable[[Job], Coroutine[Any, Any, None]], jobs: Sequence[Job]) -> None:
    if len(jobs) == 1:
        await step(jobs[0])
    else:
        await asyncio.gather(*(step(job) for job in jobs))
