"""A dispatcher in this process, for `ion run` and `ion up`: opened on a store, watched, and stopped by signals."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ion.cli.output import remark
from ion.config.pipeline import Pipeline
from ion.config.settings import Settings
from ion.dispatcher.finish import Progress
from ion.dispatcher.service import Dispatcher
from ion.dispatcher.stores import Stores
from ion.errors import InvalidError, UnavailableError
from ion.management.registry import apply_modules, lift_breakers
from ion.model.job import Job
from ion.model.module import revise
from ion.ports.executor import Executor
from ion.wiring import actor, check_module, open_dispatcher, open_executors, open_store
from ion.wiring.telemetry import watching

if TYPE_CHECKING:
    from ion.management.metrics.counts import Counts

T = TypeVar("T")

STOP_GRACE_S = 30.0
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """SIGINT and SIGTERM: the first asks to stop, a second hurries, and a third ends the process as the system does."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.number = 0
        """The signal that asked, 0 for none."""
        self.hurry: Callable[[], None] = lambda: None
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            loop.add_signal_handler(number, self._take, number)

    async def wait(self, *beside: asyncio.Task[None]) -> None:
        """Until somebody asks to stop. Raises what one of the tasks `beside` ends by, none of which ends by itself."""
        asked = asyncio.create_task(self.asked.wait(), name="signals")
        try:
            await asyncio.wait({asked, *beside}, return_when=asyncio.FIRST_COMPLETED)
            for task in beside:
                if task.done():
                    task.result()
        finally:
            asked.cancel()

    def _take(self, number: signal.Signals) -> None:
        if not self.number:
            self.number = number
            self.asked.set()
            return
        self.hurry()
        for one in SIGNALS:
            asyncio.get_running_loop().remove_signal_handler(one)


class Host:
    """What `hosting` opened. `steps` are the attempts' steps, for whoever shows them."""

    def __init__(
        self, stores: Stores, dispatcher: Dispatcher, steps: "asyncio.Queue[Progress]", interrupts: Interrupts
    ) -> None:
        self.stores, self.steps = stores, steps
        self._dispatcher, self._interrupts = dispatcher, interrupts

    @property
    def stopped_by(self) -> int:
        """The signal that asked this process to stop, 0 for none."""
        return self._interrupts.number

    @property
    def running(self) -> Sequence[Job]:
        """The jobs that run here now."""
        return self._dispatcher.running

    async def until(self, work: Coroutine[Any, Any, T], *beside: asyncio.Task[None]) -> T | None:
        """The result of `work`, or None if a SIGINT or SIGTERM came first.

        Raises what breaks the dispatcher, or one of the tasks `beside`, none of which ends by itself.
        """
        doing = asyncio.create_task(work, name="work")
        watching = asyncio.create_task(self._dispatcher.wait(), name="watch dispatcher")
        asked = asyncio.create_task(self._interrupts.asked.wait(), name="signals")
        tasks = (doing, watching, asked)
        try:
            await asyncio.wait({*tasks, *beside}, return_when=asyncio.FIRST_COMPLETED)
            for watched in (watching, *beside):
                if watched.done():
                    watched.result()
            return doing.result() if doing.done() else None
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def stop(self) -> None:
        """Ends the dispatcher's work in order, as leaving the context would; what it still does can be shown."""
        await self._dispatcher.stop()


@asynccontextmanager
async def hosting(
    store: Path,
    pipeline: Pipeline,
    *,
    grace_s: float,
    strict: bool,
    final: Callable[[Job], bool] = lambda _: False,
    counts: "Counts | None" = None,
) -> AsyncIterator[Host]:
    """Opens a store, registers the pipeline's modules and dispatches until the context is left.

    Args:
        store: Its folder; made when missing.
        pipeline: Its settings and modules; these take the place of those that it had.
        grace_s: How long running jobs may take to end when the context is left.
        strict: Refuse a module that cannot run now, instead of holding it until it can.
        final: For which jobs a module's own failure is not tried again.
        counts: Counts what happens here as well.

    Raises:
        UnsupportedError: a module can never run here.
        InvalidError: a module cannot run now, and `strict`.
    """
    _check(pipeline, store, strict=strict)
    interrupts = Interrupts()
    async with (
        open_store(store, pipeline.settings) as stores,
        open_executors(store, stores, pipeline.settings, os.environ) as executors,
    ):
        await _register(pipeline, stores)
        opened = dispatching(
            store, stores, executors, pipeline.settings, interrupts, counts=counts, final=final, stop_grace_s=grace_s
        )
        async with opened as host:
            yield host


@asynccontextmanager
async def dispatching(
    store: Path,
    stores: Stores,
    executors: Mapping[str, Executor],
    settings: Settings,
    interrupts: Interrupts,
    *,
    counts: "Counts | None",
    **more: Any,
) -> AsyncIterator[Host]:
    """Dispatches on what is open until the context is left; `counts` counts it, `more` is as for `open_dispatcher`."""
    steps: asyncio.Queue[Progress] = asyncio.Queue()

    async with watching(stores, counts, os.environ) as watched:

        def observe(step: Progress) -> None:
            steps.put_nowait(step)
            watched.observe(step)

        opened = open_dispatcher(store, stores, executors, settings, observe=observe, released=watched.released, **more)
        async with opened as dispatcher:
            interrupts.hurry = dispatcher.hurry
            yield Host(stores, dispatcher, steps, interrupts)


async def _register(pipeline: Pipeline, stores: Stores) -> None:
    changed = await apply_modules(stores.ledger, stores.bus, pipeline.modules, pipeline=pipeline.name, actor=actor())
    if changed:
        from ion.management.access.record import keep_applied

        await keep_applied(changed, actor(), stores.ledger)
    await lift_breakers(stores.ledger, [module.name for module in pipeline.modules], actor())


def _check(pipeline: Pipeline, store: Path, *, strict: bool) -> None:
    for module in pipeline.modules:
        try:
            check_module(revise(module), store, pipeline.settings, os.environ)
        except UnavailableError as error:
            if strict:
                raise InvalidError(str(error)) from error
            remark(f"held: {error}")
