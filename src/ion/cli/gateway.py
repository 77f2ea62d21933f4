"""`ion gateway`: the front API by itself."""

import asyncio
import os
from pathlib import Path

import click
import msgspec

from ion.cli.context import example, start_logging, store_and_settings
from ion.cli.hosting import Interrupts
from ion.cli.output import here, remark
from ion.config.settings import Front, Settings


@click.group(epilog=example("ion gateway start /etc/ion/ion.yaml"))
def gateway() -> None:
    """Serve the front API, without the dispatcher and the management API of `ion up`."""


@gateway.command(epilog=example("ion gateway start", "ion gateway start /etc/ion/ion.yaml --port 9001"))
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--profile", default="", envvar="ION_PROFILE", help="A profile of the pipeline file.")
@click.option("--port", type=click.IntRange(0, 65_535), help="Port of the front API; 0 takes a free one.  [9001]")
def start(*, file: Path | None, profile: str, port: int | None) -> None:
    """Take root events in until stopped (SIGINT or SIGTERM).

    FILE is a pipeline file, whose settings hold; without one it is ion.yaml here, unless a store is named. Modules in
    it do not count: who hears an event is asked of the registry. GET /healthz answers 200 while the ledger does.
    """
    start_logging(serves=True)
    store, settings = store_and_settings(file, profile)
    front = settings.front if settings else Front()
    asyncio.run(_serve(store, settings, front if port is None else msgspec.structs.replace(front, port=port)))


async def _serve(store: Path, settings: Settings | None, front: Front) -> None:
    from ion.gateway.front import front_api
    from ion.gateway.limits import bind_host
    from ion.gateway.serve import bound, serving
    from ion.wiring import open_store
    from ion.wiring.telemetry import watching

    name = bind_host(front)
    interrupts = Interrupts()
    remark(f"store: {here(str(store))}")
    with bound(name, front.port) as listening:
        async with open_store(store, settings) as stores, watching(stores, None, os.environ):
            app = front_api(ledger=stores.ledger, blobs=stores.blobs, settings=front, spool=store / "spool")
            async with serving(app, listening) as port:
                click.echo(f"front API: http://{name}:{port}/")
                await interrupts.wait()
                remark("stopping")
