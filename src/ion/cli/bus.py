"""`ion bus`: what the bus carries."""

from datetime import datetime

import click

from ion.cli.context import Place, example, in_store
from ion.cli.output import document, plain, remark, table
from ion.cli.when import when


@click.group(epilog=example("ion bus depth", "ion bus replay --since 2h"))
def bus() -> None:
    """Show what waits in the bus; publish again what it may have lost."""


@bus.command(epilog=example("ion bus depth --json"))
@click.option("--json", "as_json", is_flag=True, help="One JSON array.")
def depth(*, as_json: bool) -> None:
    """Show how many events wait in the bus for each module.

    An event that a dispatcher has taken out of the bus is a job: `ion job list --state waiting`.
    """

    async def work(place: Place) -> None:
        carrier = place.stores.bus
        if carrier.guarantees.store == place.ledger.guarantees.store:
            remark("the bus lies in the ledger's store: an event for a module becomes a job at once, and waits as one")
        if not carrier.guarantees.depths_held:
            remark("this bus does not count what dispatchers have been given and have not yet taken in")
        rows = [
            {"module": one.module.name, "group": one.module.group, "depth": await carrier.depth(one.module.group)}
            for one in await place.ledger.modules()
            if one.module.on
        ]
        if as_json:
            document(rows)
        else:
            table(
                ("MODULE", "GROUP", "DEPTH"),
                [(plain(str(row["module"])), plain(str(row["group"])), str(row["depth"])) for row in rows],
            )

    in_store(work)


@bus.command(epilog=example("ion bus replay --since 2h", "ion bus replay --since 2026-11-20 --module detect --dry-run"))
@click.option("--since", required=True, type=when, metavar="WHEN", help="What was raised since: 2026-11-24, or 7d ago.")
@click.option("-n", "--module", default="", metavar="NAME", help="For this module alone: one that came late, say.")
@click.option("--dry-run", is_flag=True, help="Only say what would be started.")
def replay(since: datetime, module: str, *, dry_run: bool) -> None:
    """Publish again what jobs raised, from their manifests.

    Jobs that are known already are not started again. With --module nothing is published: that module gets the jobs of
    the events that it has missed.
    """
    from ion.config.settings import Guards
    from ion.management.replay import replay as publish_again
    from ion.management.report_text import many

    async def work(place: Place) -> None:
        done = await publish_again(
            since,
            module=module,
            ledger=place.ledger,
            bus=place.stores.bus,
            blobs=place.blobs,
            max_hops=Guards().max_hops,
            dry=dry_run,
        )
        would = "would start" if dry_run else "started"
        click.echo(f"{many(done.events, 'event')} {would} {many(done.started, 'new job')}")
        if done.started and not dry_run:
            remark("`ion run` or `ion up` runs them")

    in_store(work)
