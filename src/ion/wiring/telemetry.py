"""Who hears of what a process does: its counts, and OpenTelemetry where a standard variable asks for it."""

import importlib.util
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from ion.dispatcher.finish import Progress
from ion.dispatcher.stores import Stores
from ion.management.telemetry.wanted import Wanted, wanted
from ion.management.telemetry.watching import Watching
from ion.messaging.loglines import JsonLines
from ion.model.job import Job

if TYPE_CHECKING:  # extras
    from ion.management.metrics.counts import Counts
    from ion.management.telemetry.records import Figures
    from ion.management.telemetry.telemetry import Telemetry

log = logging.getLogger("ion.telemetry")

PACKAGES = {
    "otlp": ("ion-events[otel]", ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http", "prometheus_client")),
    "console": ("ion-events[otel]", ("opentelemetry.sdk", "prometheus_client")),
    "azure": ("ion-events[azuremonitor]", ("azure.monitor.opentelemetry.exporter", "prometheus_client")),
}


class Watched:
    """What a dispatcher tells goes to those who hear it."""

    def __init__(self, counts: "Counts | None", lives: Watching | None) -> None:
        self._counts, self._lives = counts, lives

    def observe(self, progress: Progress) -> None:
        """See `Dispatcher`."""
        if self._counts is not None:
            self._counts.observe(progress)
        if self._lives is not None:
            self._lives.observe(progress)

    def released(self, job: Job) -> None:
        """See `Dispatcher`."""
        if self._lives is not None:
            self._lives.released(job)


@asynccontextmanager
async def watching(stores: Stores, counts: "Counts | None", environ: Mapping[str, str]) -> AsyncIterator[Watched]:
    """Counts and exports what is told while the context is open; what is left is exported at its end.

    Args:
        stores: The figures are asked of their ledger.
        counts: Of this process; None where nobody else reads them.
        environ: With OpenTelemetry's variables, or without.
    """
    asked = wanted(environ)
    if asked is not None and not _has_packages(asked):
        asked = None
    if asked is not None and counts is None:
        counts = _new_counts()
    async with AsyncExitStack() as stack:
        telemetry = await _telemetry(stack, asked, stores, counts, environ) if asked and counts else None
        listeners = [one.live for one in (counts, telemetry) if one is not None]
        lives = await stack.enter_async_context(Watching(*listeners)) if listeners else None
        yield Watched(counts, lives)


async def _telemetry(
    stack: AsyncExitStack, asked: Wanted, stores: Stores, counts: "Counts", environ: Mapping[str, str]
) -> "Telemetry":
    from ion.management.telemetry.telemetry import Telemetry

    as_json = any(isinstance(handler.formatter, JsonLines) for handler in logging.getLogger().handlers)
    made = Telemetry(asked, look=partial(_look, stores, counts), as_json=as_json, environ=environ)
    return await stack.enter_async_context(made)


async def _look(stores: Stores, counts: "Counts") -> "Figures":
    from ion.management.metrics.page import families
    from ion.management.telemetry.figures import figures

    return figures(await families(stores, counts), counts.since_ns)


def _new_counts() -> "Counts":
    from ion.management.metrics.counts import Counts

    return Counts()


def _has_packages(asked: Wanted) -> bool:
    """Whether what is wanted can be had; else says what to install, and the work goes on without."""
    for kind in sorted({kind for kinds in asked.exporters.values() for kind in kinds}):
        extra, packages = PACKAGES[kind]
        if not all(map(_is_here, packages)):
            log.warning("telemetry is not exported: it needs packages that are not here: install %s", extra)
            return False
    return True


def _is_here(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # not even what it lies in
        return False
