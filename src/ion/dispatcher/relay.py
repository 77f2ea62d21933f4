"""The relay: makes a committed job's results known, in an order that can be repeated from any point.

Documents, children, publication, released. A job leaves the open set only after its children are in it, so a flow's
quiet is exact. All of it is a replay of the manifest: the same ids, so doing it twice changes nothing. Ten thousand
events go in chunks, with a cursor in the row. Before a further run is released, the earlier ones give way to it.
"""

import asyncio
import logging
import random
from collections.abc import Sequence

import msgspec

from ion.dispatcher.admit import as_seen, jobs_for
from ion.dispatcher.backoff import Backoff
from ion.dispatcher.manifests import load_manifest
from ion.dispatcher.supersede import give_way
from ion.errors import IonError, UnavailableError
from ion.messaging.spilled import restored
from ion.model.event import Event
from ion.model.job import Job
from ion.model.manifest import Manifest
from ion.model.record import Record, event_meta, insight, module_logs
from ion.ports.blobs import Blobs
from ion.ports.bus import Bus
from ion.ports.documents import Documents
from ion.ports.ledger import Changes, Ledger

log = logging.getLogger(__name__)

CHUNK = 500
BATCH = 64
LOOK_AGAIN_S = 15.0
DEFER_FIRST_S = 1.0
DEFER_MOST_S = 300.0


class Relay:
    """Relays the committed jobs of one dispatcher."""

    def __init__(
        self, ledger: Ledger, documents: Documents, blobs: Blobs, bus: Bus, *, owner: str, max_hops: int
    ) -> None:
        self._ledger, self._documents, self._blobs, self._bus = ledger, documents, blobs, bus
        self._owner, self._max_hops = owner, max_hops
        self._deferred: dict[str, int] = {}

    async def run(self) -> None:
        """Until cancelled."""
        backoff = Backoff("looking for committed jobs")
        async with self._ledger.listen(Changes.COMMITTED) as news:
            while True:
                try:
                    await self.drain()
                    backoff.fine()
                except UnavailableError as error:
                    await backoff.wait(error)
                    continue
                await news.wait(min(LOOK_AGAIN_S, DEFER_FIRST_S) if self._deferred else LOOK_AGAIN_S)

    async def drain(self) -> None:
        """Relays until none is due."""
        while jobs := await self._ledger.unreleased(BATCH, self._owner):
            await asyncio.gather(*(self._relay(job) for job in jobs))

    async def _relay(self, job: Job) -> None:
        try:
            await self._replay(job)
            # Nothing of an earlier run is left when the flow is quiet.
            still_open = await give_way(job, self._ledger, self._blobs) if job.run else 0
            if still_open:
                await self._defer(job, f"open jobs of earlier runs, which end first: {still_open}")
                return
            await self._ledger.released(job.id, self._owner)
            self._deferred.pop(job.id, None)
        except (IonError, msgspec.DecodeError) as error:
            log.error("job %s of module %s cannot be released yet: %s", job.id, job.module, error)
            await self._defer(job, str(error))

    async def _defer(self, job: Job, note: str) -> None:
        """Never drops: the job stays committed, and its flow open, until its results are known."""
        times = self._deferred[job.id] = self._deferred.get(job.id, 0) + 1
        delay_s = min(DEFER_MOST_S, DEFER_FIRST_S * 2.0 ** min(times - 1, 16)) * random.uniform(0.5, 1.0)  # noqa: S311  jitter
        await self._ledger.defer(job.id, self._owner, delay_s, note)

    async def _replay(self, job: Job) -> None:
        if job.manifest is None:
            raise UnavailableError(f"job {job.id} is committed without a manifest; run `ion audit`")
        manifest = await load_manifest(job.manifest, self._blobs)
        findings = self._findings(job, manifest)
        if not manifest.events and findings:
            await self._documents.put(findings)
        for start in range(job.cursor, len(manifest.events), CHUNK):
            chunk = manifest.events[start : start + CHUNK]
            await self._hand_on(manifest.module, chunk, findings)
            if start + CHUNK < len(manifest.events):
                await self._ledger.advance(job.id, self._owner, start + CHUNK)

    def _findings(self, job: Job, manifest: Manifest) -> list[Record]:
        """The records of what the job found and logged; they go with those of its first events."""
        records: list[Record] = []
        if manifest.log:
            logs, run = self._blobs.uri(manifest.log.blob), job.run
            records.append(
                module_logs(job.event, module=job.module, attempt=manifest.attempt, logs=logs, succeeded=True, run=run)
            )
        if manifest.insights:
            records.append(insight(manifest))
        return records

    async def _hand_on(self, producer: str, events: Sequence[Event], findings: Sequence[Record]) -> None:
        small = [event_meta(event, producer, self._blobs.uri) for event in events if not event.dataref]
        if small or findings:
            await self._documents.put([*findings, *small])
        for event in events:
            if event.dataref:  # one at a time: its data may be large
                whole = await restored(event, self._blobs)
                await self._documents.put([event_meta(whole, producer, self._blobs.uri)])
        children: list[Job] = []
        for event in events:
            subscribers = await self._ledger.subscribers(event.type)
            seen = await as_seen(event, subscribers, self._blobs)
            children.extend(jobs_for(event, subscribers, max_hops=self._max_hops, seen=seen))
        if children:
            await self._ledger.admit(children)
        await self._bus.publish(events)
