"""Verbs on the whole of an Ion, done here."""

from collections.abc import AsyncIterator
from datetime import datetime

from ion import __version__
from ion.management.audit import Finding, audit
from ion.management.collect import Collected, Collector
from ion.management.local.census import take_census
from ion.management.local.doctor import examine
from ion.management.local.site import Site, closing, within
from ion.management.usage import By, usage
from ion.management.verbs.server import Information, Overview, ServerVerbs, Symptom, UsageRow
from ion.model.job import State
from ion.ports.ledger import Entry

TRAIL_MOST = 100_000
_KINDS = {"mongo": "mongodb", "objects": "object store"}


class LocalServer(ServerVerbs):
    """See `ServerVerbs`; on the ports of an open store."""

    def __init__(self, site: Site) -> None:
        self._site, self._stores = site, site.stores

    async def info(self) -> Information:
        stores = self._stores
        durable = stores.ledger.guarantees.durable
        return Information(
            version=__version__,
            place=self._site.place,
            ledger=kind_of(stores.ledger) if durable else "memory",
            documents=kind_of(stores.documents) if stores.documents.guarantees.durable else "memory",
            bus=kind_of(stores.bus) if stores.bus.guarantees.durable else "memory",
            blobs=kind_of(stores.blobs),
            now=await stores.ledger.now(),
            actor=self._site.actor,
        )

    async def overview(self) -> Overview:
        census = await take_census(self._stores.ledger)
        return Overview(
            now=census.now,
            modules=census.modules,
            dispatchers=census.dispatchers,
            open=census.open,
            unreleased=len(census.committed),
            oldest_unreleased_s=census.oldest_committed_s,
            dead=census.total(State.DEAD),
        )

    async def doctor(self) -> AsyncIterator[Symptom]:
        async with closing(examine(self._site)) as symptoms:
            async for symptom in symptoms:
                yield symptom

    async def audit(self) -> AsyncIterator[Finding]:
        stores = self._stores
        async with closing(audit(stores.ledger, stores.documents, stores.blobs)) as findings:
            async for finding in findings:
                yield finding

    async def usage(self, *, by: By) -> tuple[UsageRow, ...]:
        stores = self._stores
        sums = await usage(stores.ledger, stores.documents, stores.blobs, by)
        return tuple(
            UsageRow(key=key, blobs=one.blobs, bytes={part.value: size for part, size in one.bytes.items()})
            for key, one in sums.items()
        )

    async def collect(self, *, dry: bool = False) -> Collected:
        return await Collector(self._stores, self._site.retention).collect(dry=dry)

    async def trail(self, *, since: datetime | None = None, most: int = 1000) -> AsyncIterator[Entry]:
        within("the entries of the trail", most, 1, TRAIL_MOST)
        async with closing(self._stores.ledger.trail(since, most)) as entries:
            async for entry in entries:
                yield entry


def kind_of(port: object) -> str:
    """An adapter's kind, as a pipeline file writes it: adapters lie in modules of that name."""
    name = type(port).__module__.rpartition(".")[2]
    return _KINDS.get(name, name)
