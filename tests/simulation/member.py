"""One dispatcher of the simulation: the real one, on real adapters, with a line between it and every port."""

import asyncio
import os
from enum import StrEnum
from pathlib import Path
from typing import Any, cast

import msgspec
from tests.simulation.blobs import MemoryBlobs
from tests.simulation.line import Line, Over
from tests.simulation.pipeline import AWAY, HERE
from tests.simulation.place import Place, PlaceExecutor

from ion.adapters.documents.sqlite import SqliteDocuments
from ion.adapters.ledger.sqlite import SqliteLedger
from ion.adapters.sqlite.database import Database
from ion.dispatcher.service import Dispatcher, DispatcherSettings
from ion.dispatcher.stores import Stores
from ion.errors import UnavailableError
from ion.handler import JobHandler
from ion.ports.blobs import Blobs
from ion.ports.bus import Bus
from ion.ports.documents import Documents
from ion.ports.executor import Executor
from ion.ports.ledger import Ledger

LEASE_S, RECONCILE_S, STOP_GRACE_S = 30.0, 25.0, 20.0


class Phase(StrEnum):
    STARTING = "starting"
    LIVE = "live"
    STOPPING = "stopping"
    GONE = "gone"


class Member:
    """A dispatcher with its line, at a place; it may reach another one beside. It starts at once; `phase` tells how far
    it is.
    """

    def __init__(
        self,
        line: Line,
        place: Place,
        away: Place | None,
        *,
        database: Database,
        ledger: SqliteLedger,
        bus: Bus,
        blobs: MemoryBlobs,
        max_hops: int,
        locks: Path,
    ) -> None:
        self.line, self.place, self.away = line, place, away
        self.phase = Phase.STARTING
        reached = {HERE: place} if away is None else {HERE: place, AWAY: away}
        stores = Stores(
            ledger=cast("Ledger", Over(ledger, line)),
            documents=cast("Documents", Over(SqliteDocuments(database), line)),
            blobs=cast("Blobs", Over(blobs, line)),
            bus=cast("Bus", Over(bus, line)),
            handler=JobHandler(cast("Blobs", Over(blobs, line)), host=place.scope),
        )
        settings = DispatcherSettings(
            lease_s=LEASE_S, reconcile_s=RECONCILE_S, stop_grace_s=STOP_GRACE_S, max_hops=max_hops, locks=locks
        )
        executors = {
            provider: cast("Executor", Over(PlaceExecutor(one, lambda: self.phase is not Phase.GONE), line))
            for provider, one in reached.items()
        }
        self.dispatcher = Dispatcher(stores, executors, settings)
        self._loop = asyncio.get_running_loop()
        ownership = self.dispatcher._ownership
        ownership._clock = self.dispatcher._running.clock = self._loop.time
        ownership.me = msgspec.structs.replace(ownership.me, host=place.scope)
        self.fault = ""
        self._tasks: list[asyncio.Task[Any]] = []
        self._do(self._start(), "start")

    @property
    def id(self) -> str:
        return self.dispatcher.id

    def stop(self) -> None:
        """Begins a graceful stop."""
        self.phase = Phase.STOPPING
        self._do(self._stop(), "stop")

    def kill(self) -> None:
        """Everything in its memory is gone, and its lock is free; nothing is cleaned up."""
        if self.phase is Phase.LIVE:  # while it starts or stops, the end of that lets go of the lock
            self._unlock()
        self.phase = Phase.GONE
        self.line.cut = True
        for held in tuple(self.line.held):
            held.fate.cancel()
        for task in (*self._tasks, self.dispatcher._loops):
            if task is not None:
                task.cancel()

    def broken(self) -> str:
        """What ended its loops or its start, other than a kill."""
        loops = self.dispatcher._loops
        if self.phase is Phase.LIVE and loops is not None and loops.done():
            return f"the loops of {self.line.name} ended: {loops.exception()!r}"
        return self.fault

    def knows_of(self) -> list[tuple[str, tuple[str, ...]]]:
        """The members that share the modules, as this one's claims see it."""
        return [(owner.id, owner.modules) for owner in self.dispatcher._claims._owners]

    def _do(self, work: Any, name: str) -> None:
        self._tasks.append(self._loop.create_task(work, name=f"{name} {self.line.name}"))

    async def _start(self) -> None:
        try:
            await self.dispatcher.__aenter__()
            self.phase = Phase.LIVE
        except UnavailableError:  # its program ends with that; another may be started
            self._gone()
        except Exception as error:  # noqa: BLE001  it is told by `broken`
            self._gone(f"{self.line.name} cannot start: {error!r}")

    async def _stop(self) -> None:
        try:
            await self.dispatcher.__aexit__(None, None, None)
        except UnavailableError:  # its program ends with that; what it leaves is for others
            self._gone()
        except Exception as error:  # noqa: BLE001  it is told by `broken`
            self._gone(f"{self.line.name} cannot stop: {error!r}")
        else:
            self._gone()

    def _gone(self, fault: str = "") -> None:
        self.phase, self.line.cut, self.fault = Phase.GONE, True, fault

    def _unlock(self) -> None:
        """As the kernel does at death: the file stays."""
        os.close(self.dispatcher._lock._fd)
