"""The modules that a dispatcher is for: those of the registry, or some of them, as they come and go."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence

from ion.dispatcher.admit import Admissions
from ion.errors import UnavailableError, UnsupportedError
from ion.model.module import Module
from ion.ports.blobs import Blobs
from ion.ports.bus import Bus
from ion.ports.executor import Executor
from ion.ports.ledger import Ledger, Registered

Choice = Callable[[Module], bool]
"""Whether a module is among those that are meant."""


def every(_: Module) -> bool:
    return True


class Served:
    """`serves` says whose jobs are claimed, `receives` for whom deliveries of the bus are admitted."""

    def __init__(
        self,
        ledger: Ledger,
        bus: Bus,
        blobs: Blobs,
        executors: Mapping[str, Executor],
        *,
        serves: Choice,
        receives: Choice,
        max_hops: int,
    ) -> None:
        self._ledger, self._executors, self._serves, self._receives = ledger, executors, serves, receives
        # Where bus and ledger share a store, admission is the publication, and there is nothing to receive.
        shared = bus.guarantees.store == ledger.guarantees.store
        self._admissions = None if shared else Admissions(bus, ledger, blobs, max_hops=max_hops)
        self.registered: Sequence[Registered] = ()

    async def read(self, group: asyncio.TaskGroup | None) -> None:
        """Looks at the registry, and receives from now on for those that are there; without a group, not yet."""
        every_module = await self._ledger.modules()
        self.registered = [one for one in every_module if self._serves(one.module)]
        if group is not None and self._admissions is not None:
            await self._admissions.follow([one.module for one in every_module if self._receives(one.module)], group)

    @property
    def able(self) -> list[str]:
        """The modules whose concurrency is to be shared with this dispatcher."""
        return [one.module.name for one in self.registered if self._can_run(one)]

    @property
    def places(self) -> list[str]:
        """Where the modules with rules among those can run here, as an owner's row has it."""
        routed = [one for one in self.registered if one.module.route]
        return [f"{one.module.name}@{provider}" for one in routed for provider in self._executors_of(one)]

    @property
    def modules(self) -> Mapping[str, Module]:
        return {one.module.name: one.module for one in self.registered}

    @property
    def some_ail(self) -> bool:
        """Whether jobs of any of them died in a row."""
        return any(one.health.dead_in_row for one in self.registered)

    def _can_run(self, registered: Registered) -> bool:
        return any(provider in registered.module.providers for provider in self._executors_of(registered))

    def _executors_of(self, registered: Registered) -> Iterator[str]:
        for provider, executor in self._executors.items():
            try:
                executor.check(registered.revision)
            except (UnsupportedError, UnavailableError):  # said when there is something to claim
                continue
            yield provider
