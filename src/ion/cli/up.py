"""`ion up`: serves a pipeline until it is stopped: the front API takes events in, a dispatcher runs what they start."""

import asyncio
import os
from pathlib import Path

import click
import msgspec

from ion.cli.context import example, serving_store, start_logging
from ion.cli.hosting import STOP_GRACE_S, hosting
from ion.cli.live import PlainLines
from ion.cli.output import here, remark
from ion.cli.roots import warn
from ion.cli.serving import Api, port_or_off, with_ports
from ion.cli.show import Show
from ion.config.load import load_pipeline
from ion.config.pipeline import Pipeline
from ion.config.settings import Front
from ion.management.collect import collecting
from ion.management.graph import Graph


@click.command(epilog=example("ion up", "ion up ion.yaml --port 0 --stop-grace 600"))
@click.argument("file", type=click.Path(path_type=Path), default="ion.yaml")
@click.option("--profile", default="", envvar="ION_PROFILE", help="A profile of the pipeline file.")
@click.option("--port", type=click.IntRange(0, 65_535), help="Port of the front API; 0 takes a free one.  [9001]")
@click.option("--management-port", type=port_or_off, metavar="PORT|off", envvar="ION_MANAGEMENT_PORT",
              help="Port of the management API; 0 takes a free one.  [9000]")  # fmt: skip
@click.option("--metrics-port", type=port_or_off, metavar="PORT|off", envvar="ION_METRICS_PORT",
              help="Port of GET /metrics for Prometheus; 0 takes a free one.  [9464]")  # fmt: skip
@click.option("--stop-grace", "grace_s", type=float, default=STOP_GRACE_S, metavar="SECONDS", show_default=True,
              help="How long running jobs may take to end when it is stopped; then they are given up.")  # fmt: skip
def up(
    *,
    file: Path,
    profile: str,
    port: int | None,
    management_port: int | None,
    metrics_port: int | None,
    grace_s: float,
) -> None:
    """Serve a pipeline until stopped (SIGINT or SIGTERM).

    What is not done then goes on with the next `ion up` or `ion run`. If the port of the management API or of the
    metrics is taken and was not asked for here, it does without.
    """
    start_logging(serves=True)
    pipeline = load_pipeline(file, profile=profile, environ=os.environ)
    store = serving_store(pipeline.folder)
    warn(Graph.of(pipeline.modules))
    front = pipeline.settings.front
    ports = {"port": management_port, "metrics_port": metrics_port}
    api = Api(
        with_ports(pipeline.settings.management, management_port, metrics_port),
        store,
        pipeline.settings.retention,
        tell=remark,
        asked=frozenset(name for name, said in ports.items() if said is not None),
    )
    api.check_ports()
    front = front if port is None else msgspec.structs.replace(front, port=port)
    asyncio.run(_serve(pipeline, store, front, api, grace_s))


async def _serve(pipeline: Pipeline, store: Path, front: Front, api: Api, grace_s: float) -> None:
    from ion.gateway.front import front_api
    from ion.gateway.limits import bind_host
    from ion.gateway.serve import bound, serving

    name = bind_host(front)
    remark(f"store: {here(str(store))}")
    # The port comes first: if it is taken, nothing of the store has been changed.
    with bound(name, front.port) as listening:
        opened = hosting(store, pipeline, grace_s=grace_s, strict=False, counts=api.counts)
        async with opened as host, api.serving(host.stores):
            app = front_api(ledger=host.stores.ledger, blobs=host.stores.blobs, settings=front, spool=store / "spool")
            async with Show(host, PlainLines({module.name: module for module in pipeline.modules})) as show:
                async with serving(app, listening) as port:
                    click.echo(f"front API: http://{name}:{port}/")
                    async with collecting(host.stores, pipeline.settings.retention) as beside:
                        await host.until(asyncio.Event().wait(), *show.tasks, *beside)
                remark(f"stopping: running jobs have {grace_s:g} s to end; once more gives them up now")
                await host.stop()
                await show.finish(())
