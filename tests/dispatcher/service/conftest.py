"""Whole dispatchers on a store on disk, with the executor of this machine, and modules that are lines for `sh`.

Modules work in the folder `outside`, which they share: what they append to a file there shows who ran beside whom.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from ion.config.settings import Machine, Settings
from ion.dispatcher.finish import Progress
from ion.dispatcher.served import Choice, every
from ion.dispatcher.service import Dispatcher, DispatcherSettings
from ion.dispatcher.stores import Stores
from ion.management.events import RootEvent, RootFile, raise_events
from ion.model.event import Event
from ion.model.ids import job_id
from ion.model.job import Job, State
from ion.model.module import Module, Subscription, revise
from ion.ports.executor import Executor
from ion.ports.ledger import Changes, JobFilter
from ion.wiring import open_executors, open_store

PATIENCE_S = 120.0
"""How long a stopping dispatcher lets jobs end, and how long a test waits for what must come."""

FOUR_CORES = Machine(cpu=4.0, gpus=())


class Site:
    """A store, and what the tests do around the dispatchers on it."""

    def __init__(self, folder: Path, stores: Stores) -> None:
        self.store, self.stores = folder / ".ion", stores
        self.outside = folder / "outside"
        self.outside.mkdir()
        self.environ = {"PATH": "/usr/bin:/bin"}
        self.steps: list[Progress] = []
        """What the observers of all dispatchers heard."""
        self._watches: list[asyncio.Task[None]] = []

    @asynccontextmanager
    async def dispatching(
        self,
        *,
        machine: Machine = FOUR_CORES,
        stores: Stores | None = None,
        executor: Executor | None = None,
        executors: Mapping[str, Executor] | None = None,
        serves: Choice = every,
        receives: Choice | None = None,
        **settings: Any,
    ) -> AsyncIterator[Dispatcher]:
        """A dispatcher with an executor of its own, or with these, until the context is left."""
        chosen = {"reconcile_s": 0.5, "stop_grace_s": PATIENCE_S, "locks": self.store / "run", **settings}
        stores = stores or self.stores
        async with AsyncExitStack() as stack:
            if executors is None and executor is not None:
                executors = {"local": executor}
            if executors is None:
                opened = open_executors(self.store, stores, Settings(machine=machine), self.environ)
                executors = await stack.enter_async_context(opened)
            dispatcher = Dispatcher(
                stores,
                executors,
                DispatcherSettings(**chosen),
                observe=self.steps.append,
                serves=serves,
                receives=receives,
            )
            await stack.enter_async_context(dispatcher)
            watch = asyncio.create_task(dispatcher.wait(), name="watch a dispatcher")
            self._watches.append(watch)
            try:
                yield dispatcher
            finally:
                watch.cancel()
                await asyncio.wait([watch])

    async def module(
        self, name: str, script: str, *, on: str = "photo", emits: Sequence[str] = (), **fields: Any
    ) -> Module:
        """Registers a module, or gives it a new revision."""
        module = Module(
            **{
                "name": name,
                "on": (Subscription(type=on),),
                "emits": tuple(emits),
                "command": ("sh", "-c", script),
                "folder": str(self.outside),
                "grace_s": 5.0,
                **fields,
            }
        )
        await self.stores.ledger.apply([revise(module)], "test")
        return module

    async def raise_photos(
        self, number: int = 1, *, kind: str = "photo", file: str = "", flow: str = ""
    ) -> Sequence[Event]:
        """Root events of one flow, by default of a new one."""
        files: tuple[RootFile, ...] = ()
        if file:
            picture = self.outside / "photo.txt"
            picture.write_text(file)
            files = (RootFile(name="photo.txt", file=picture),)
        roots = [RootEvent(type=kind, files=files, correlation_id=flow) for _ in range(number)]
        raised = await raise_events(roots, gateway="test", ledger=self.stores.ledger, blobs=self.stores.blobs)
        return [one.event for one in raised]

    async def photo(self, **more: Any) -> Event:
        (event,) = await self.raise_photos(**more)
        return event

    async def job(self, event: Event, module: str = "detect") -> Job:
        """The job of a module for an event, once it is there."""
        wanted = job_id(event.id, module)
        which = JobFilter(event_id=event.id, module=module)

        async def admitted() -> bool:
            return bool((await self.stores.ledger.query(which)).jobs)

        await self.until(admitted)
        return await self.stores.ledger.get(wanted)

    async def reached(self, event: Event, state: State, module: str = "detect", *, attempt: int = 0) -> Job:
        """That job, once it is in a state, after at least so many attempts."""
        job = await self.job(event, module)

        async def met() -> bool:
            now = await self.stores.ledger.get(job.id)
            return now.state is state and now.attempt >= attempt

        await self.until(met)
        return await self.stores.ledger.get(job.id)

    async def quiet(self, event: Event) -> Mapping[tuple[str, State], int]:
        """How the jobs of modules ended, once the event's flow is quiet."""
        flow = event.correlation_id

        async def met() -> bool:
            return (await self.stores.ledger.open(flow)).total == 0

        await self.until(met)
        tally = await self.stores.ledger.tally(flow)
        return {(module, state): count for (module, state), count in tally.items() if module != "test"}

    async def until(self, met: Callable[[], Awaitable[bool]]) -> None:
        """Looks at every change, and every so often, until a condition is met; fails with what broke a dispatcher."""
        async with asyncio.timeout(PATIENCE_S), self.stores.ledger.listen(Changes.ANY) as news:
            while not await met():
                for watch in self._watches:
                    if watch.done() and not watch.cancelled():
                        watch.result()
                await news.wait(0.02)

    @staticmethod
    def beside(others: int) -> str:
        """A module that does not end before so many have begun; it writes down when it does either, and its devices."""
        return (
            'echo "begin $CUDA_VISIBLE_DEVICES" >> ran; '
            f'while [ "$(grep -c begin ran)" -lt {others} ]; do sleep 0.02; done; '
            'echo "end $CUDA_VISIBLE_DEVICES" >> ran'
        )

    def most_at_once(self, device: str = "") -> int:
        """How many of those ran at the same time, of all or of those with a device."""
        running = most = 0
        for line in self.lines("ran"):
            if line.endswith(device):
                running += 1 if line.startswith("begin") else -1
                most = max(most, running)
        assert running == 0
        return most

    def lines(self, name: str) -> list[str]:
        """What modules have written into a file outside."""
        file = self.outside / name
        return file.read_text().splitlines() if file.exists() else []

    async def until_lines(self, name: str, number: int) -> list[str]:
        async def met() -> bool:
            return len(self.lines(name)) >= number

        await self.until(met)
        return self.lines(name)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with open_store(tmp_path / ".ion") as stores:
        yield Site(tmp_path, stores)
