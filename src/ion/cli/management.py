"""`ion management`: the management API without a dispatcher beside it, and the audit trail."""

import asyncio
import os
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from ion.cli.context import example, manage, start_logging, store_and_settings
from ion.cli.extras import need_management
from ion.cli.hosting import Interrupts
from ion.cli.output import array, here, moment, plain, remark, table
from ion.cli.serving import PACKAGES, Api, port_or_off, with_ports
from ion.cli.when import when
from ion.config.settings import Served, Settings

if TYPE_CHECKING:
    from ion.management.verbs import Management
    from ion.ports.ledger import Entry

TRAIL = ("WHEN", "WHO", "ROLE", "FROM", "VERB", "OUTCOME", "ABOUT")


@click.group(epilog=example("ion management start", "ion management trail --since 7d"))
def management() -> None:
    """Serve the management API, which `--endpoint` and clients elsewhere speak to; show who changed what."""


@management.command(
    epilog=example(
        "ion management start",
        "ion management start ion.yaml --profile cluster",
        "ion management start --certfile server.pem --keyfile server.key --cacertfile ca.pem",
    )
)
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--profile", default="", envvar="ION_PROFILE", help="A profile of the pipeline file.")
@click.option("--host", default="", help="The address to bind; loopback only, unless there are TLS files.")
@click.option("--port", type=click.IntRange(0, 65_535), help="The port; 0 takes a free one.  [9000]")
@click.option("--metrics-port", type=port_or_off, metavar="PORT|off", help="The port of GET /metrics.  [9464]")
def start(*, file: Path | None, profile: str, host: str, port: int | None, metrics_port: int | None) -> None:
    """Serve the API of a store until stopped (SIGINT or SIGTERM).

    FILE is a pipeline file, whose settings hold; without one it is ion.yaml here, unless a store is named. With
    --certfile, --keyfile and --cacertfile it asks clients for a certificate of that CA. Running calls have ten seconds
    to end when it is stopped. `ion up` serves the same API by itself. What retention no longer keeps it collects once
    an hour. Where the file says `kubernetes: {dispatchers: ...}` it keeps a Deployment of dispatchers for every module
    of the cluster.
    """
    need_management(*PACKAGES)
    start_logging(serves=True)
    chosen = click.get_current_context().find_root().params
    store, settings = store_and_settings(file, profile)
    served = _told(settings.management if settings else Served(), host, chosen)
    served = with_ports(served, served.port if port is None else port, metrics_port)
    if served.port is None:
        served = msgspec.structs.replace(served, port=Served().port)
    asyncio.run(_serve(store, settings, served))


@management.command(epilog=example("ion management trail --since 7d", "ion management trail --json"))
@click.option("--since", type=when, metavar="WHEN", help="Since: 2026-11-24, or 7d ago.")
@click.option("--most", type=click.IntRange(1, 10_000), default=100, show_default=True, help="The last so many.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
def trail(*, since: datetime | None, most: int, as_json: bool) -> None:
    """Show who changed what: the audit trail, the newest last.

    Refused changes are in it too, with the reason.
    """

    async def work(management: "Management") -> None:
        entries = management.server.trail(since=since, most=most)
        if as_json:
            await array(entries)
            return
        table(TRAIL, [_line(entry) async for entry in entries])

    manage(work)


def _line(entry: "Entry") -> tuple[str, ...]:
    said = (entry.actor, entry.role or "-", entry.peer, entry.verb, entry.outcome or "done", entry.about)
    return moment(entry.at), *map(plain, said)


def _told(served: Served, host: str, chosen: dict[str, Path | None]) -> Served:
    """The settings with what was said on the command line."""
    names = {"certificate": "certfile", "key": "keyfile", "ca": "cacertfile"}
    said = {name: str(path.absolute()) for name, flag in names.items() if (path := chosen.get(flag))}
    return msgspec.structs.replace(served, host=host or served.host, **said)


async def _serve(store: Path, settings: Settings | None, served: Served) -> None:
    from ion.management.collect import collecting
    from ion.wiring import open_store
    from ion.wiring.control import controlled
    from ion.wiring.remembered import remembered
    from ion.wiring.telemetry import watching

    known = settings or remembered(store)
    api = Api(served, store, known.retention, tell=click.echo, asked=frozenset({"port", "metrics_port"}))
    interrupts = Interrupts()
    remark(f"store: {here(str(store))}")
    async with (
        open_store(store, settings) as stores,
        watching(stores, api.counts, os.environ) as watched,
        controlled(store, stores, known, watched) as kept,
        api.serving(stores, kept.control),
        collecting(stores, known.retention) as beside,
    ):
        if kept.task is not None:
            remark("dispatchers: kept in the cluster, for modules whose provider is kubernetes")
        await interrupts.wait(*([kept.task] if kept.task else []), *beside)
        remark("stopping")
