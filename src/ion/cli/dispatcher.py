"""`ion dispatcher`: a dispatcher by itself, for the modules that somebody registered."""

import asyncio
import os
from pathlib import Path

import click

from ion.cli.context import example, start_logging, store_and_settings
from ion.cli.hosting import STOP_GRACE_S, Interrupts, dispatching
from ion.cli.live import PlainLines
from ion.cli.output import here, remark
from ion.cli.serving import Api, port_or_off, with_ports
from ion.cli.show import Show
from ion.config.settings import Served, Settings
from ion.model.module import Module


@click.group(epilog=example("ion dispatcher start", "ion dispatcher start /etc/ion/ion.yaml --module detect"))
def dispatcher() -> None:
    """Serve the modules that are registered, without the management API and the front API of `ion up`."""


@dispatcher.command(
    epilog=example(
        "ion dispatcher start ion.yaml",
        "ion dispatcher start /etc/ion/ion.yaml --module detect --module crop --stop-grace 600",
    )
)
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--profile", default="", envvar="ION_PROFILE", help="A profile of the pipeline file.")
@click.option("--module", "modules", multiple=True, metavar="NAME", help="Serve this module; else all there are.")
@click.option("--metrics-port", type=port_or_off, metavar="PORT|off", envvar="ION_METRICS_PORT",
              help="Port of GET /metrics and GET /healthz; 0 takes a free one.  [9464]")  # fmt: skip
@click.option("--stop-grace", "grace_s", type=float, default=STOP_GRACE_S, metavar="SECONDS", show_default=True,
              help="How long running jobs may take to end when it is stopped; then they are given up.")  # fmt: skip
def start(
    *, file: Path | None, profile: str, modules: tuple[str, ...], metrics_port: int | None, grace_s: float
) -> None:
    """Run the jobs of registered modules until stopped (SIGINT or SIGTERM).

    FILE is a pipeline file, whose settings hold; without one it is ion.yaml here, unless a store is named. Modules in
    it do not count: nothing is registered. A module that is not registered yet is served once it is. Jobs in a
    cluster go on when it stops.
    """
    start_logging(serves=True)
    store, settings = store_and_settings(file, profile)
    asyncio.run(_serve(store, settings, frozenset(modules), metrics_port, grace_s))


async def _serve(
    store: Path, told: Settings | None, modules: frozenset[str], metrics_port: int | None, grace_s: float
) -> None:
    from ion.wiring import open_executors, open_store
    from ion.wiring.remembered import remembered

    def serves(module: Module) -> bool:
        return not modules or module.name in modules

    settings = told or remembered(store)
    asked = frozenset({"metrics_port"} if metrics_port is not None else ())
    api = Api(_page(settings.management, metrics_port), store, settings.retention, tell=click.echo, asked=asked)
    interrupts = Interrupts()
    remark(f"store: {here(str(store))}")
    async with (
        open_store(store, told) as stores,
        open_executors(store, stores, settings, os.environ) as executors,
        dispatching(
            store, stores, executors, settings, interrupts, counts=api.counts, serves=serves, stop_grace_s=grace_s
        ) as host,
        api.serving(stores),
        Show(host, PlainLines({})) as show,
    ):
        remark(f"serving {', '.join(sorted(modules)) or 'all registered modules'}")
        await host.until(asyncio.Event().wait(), *show.tasks)
        remark(f"stopping: running jobs have {grace_s:g} s to end; once more gives them up now")
        await host.stop()
        await show.finish(())


def _page(served: Served, metrics_port: int | None) -> Served:
    """Only the page of figures."""
    page = Served(host=served.host, port=None, metrics_port=served.metrics_port)
    return with_ports(page, None, metrics_port)
