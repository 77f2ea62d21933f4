"""A dispatcher in this process, for `ion run` and `ion up`: opened on a store, watched, and stopped by signals."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from ion.cli.output import remark
from ion.config.pipeline import Pipeline
from ion.dispatcher.finish import Observer, Progress
from ion.dispatcher.service import Dispatcher, Stores
from ion.errors import InvalidError, UnavailableError
from ion.management.registry import apply_modules, lift_breakers
from ion.model.job import Job
from ion.model.module import revise
from ion.wiring import actor, check_module, open_dispatcher, open_executors, open_store

T = TypeVar("T")

STOP_GRACE_S = 30.0
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Host:
    """What `hosting` opened. `steps` are the attempts' steps, for whoever shows them."""

    def __init__(self, stores: Stores, dispatcher: Dispatcher, steps: "asyncio.Queue[Progress]") -> None:
        self.stores, self.steps = stores, steps
        self._dispatcher = dispatcher
        self.stopped_by = 0
        """The signal that asked this process to stop, 0 for none."""

    async def until(self, work: Coroutine[Any, Any, T], *beside: asyncio.Task[None]) -> T | None:
        """The result of `work`, or None if a SIGINT or SIGTERM came first.

        Raises what breaks the dispatcher, or one of the tasks `beside`, none of which ends by itself.

        After it a second signal gives running jobs up at once, and a third ends the process as the system does.
        """
        asked = asyncio.Event()
        self._on_signals(asked)
        doing = asyncio.create_task(work, name="work")
        watching = asyncio.create_task(self._dispatcher.wait(), name="watch dispatcher")
        tasks = (doing, watching, asyncio.create_task(asked.wait(), name="signals"))
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

    def _on_signals(self, asked: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()

        def take(number: signal.Signals) -> None:
            if not self.stopped_by:
                self.stopped_by = number
                asked.set()
                return
            self._dispatcher.hurry()
            for one in SIGNALS:
                loop.remove_signal_handler(one)

        for number in SIGNALS:
            loop.add_signal_handler(number, take, number)


@asynccontextmanager
async def hosting(
    store: Path, pipeline: Pipeline, *, grace_s: float, strict: bool, final: Callable[[Job], bool] = lambda _: False
) -> AsyncIterator[Host]:
    """Opens a store, registers the pipeline's modules and dispatches until the context is left.

    Args:
        store: Its folder; made when missing.
        pipeline: Its settings and modules; these take the place of those that it had.
        grace_s: How long running jobs may take to end when the context is left.
        strict: Refuse a module that cannot run now, instead of holding it until it can.
        final: For which jobs a module's own failure is not tried again.

    Raises:
        UnsupportedError: a module can never run here.
        InvalidError: a module cannot run now, and `strict`.
    """
    _check(pipeline, store, strict=strict)
    steps: asyncio.Queue[Progress] = asyncio.Queue()
    observe: Observer = steps.put_nowait
    async with (
        open_store(store, pipeline.settings) as stores,
        open_executors(store, stores, pipeline.settings, os.environ) as executors,
    ):
        await apply_modules(stores.ledger, stores.bus, pipeline.modules, pipeline=pipeline.name, actor=actor())
        await lift_breakers(stores.ledger, [module.name for module in pipeline.modules], actor())
        opened = open_dispatcher(
            store, stores, executors, pipeline.settings, observe=observe, final=final, stop_grace_s=grace_s
        )
        async with opened as dispatcher:
            yield Host(stores, dispatcher, steps)


def _check(pipeline: Pipeline, store: Path, *, strict: bool) -> None:
    for module in pipeline.modules:
        try:
            check_module(revise(module), store, pipeline.settings, os.environ)
        except UnavailableError as error:
            if strict:
                raise InvalidError(str(error)) from error
            remark(f"held: {error}")
