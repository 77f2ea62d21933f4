"""Verbs on the bus, done here."""

from datetime import datetime

from ion.management.local.site import Site
from ion.management.replay import replay
from ion.management.verbs.bus import BusVerbs, Depth, Depths, Republished


class LocalBus(BusVerbs):
    def __init__(self, site: Site) -> None:
        self._stores = site.stores

    async def depths(self) -> Depths:
        bus = self._stores.bus
        depths = [
            Depth(module=one.module.name, group=one.module.group, depth=await bus.depth(one.module.group))
            for one in await self._stores.ledger.modules()
            if one.module.on
        ]
        return Depths(depths=tuple(depths), notes=self._notes())

    def _notes(self) -> tuple[str, ...]:
        bus, notes = self._stores.bus.guarantees, []
        if bus.store == self._stores.ledger.guarantees.store:
            notes.append(
                "the bus lies in the ledger's store: an event for a module becomes a job at once, and waits as one"
            )
        if not bus.depths_held:
            notes.append("this bus does not count what dispatchers have been given and have not yet taken in")
        return tuple(notes)

    async def replay(self, *, since: datetime, module: str = "", dry: bool = False) -> Republished:
        stores = self._stores
        done = await replay(since, module=module, ledger=stores.ledger, bus=stores.bus, blobs=stores.blobs, dry=dry)
        return Republished(events=done.events, started=done.started)
