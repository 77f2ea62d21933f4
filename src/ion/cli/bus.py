"""`ion bus`: what the bus carries."""

from datetime import datetime

import click

from ion.cli.completion import modules
from ion.cli.context import example, manage
from ion.cli.output import document, plain, remark, table
from ion.cli.when import when
from ion.management.verbs import Management


@click.group(epilog=example("ion bus depth", "ion bus replay --since 2h"))
def bus() -> None:
    """Show what waits in the bus; publish again what it may have lost."""


@bus.command(epilog=example("ion bus depth --json"))
@click.option("--json", "as_json", is_flag=True, help="One JSON array.")
def depth(*, as_json: bool) -> None:
    """Show how many events wait in the bus for each module.

    An event that a dispatcher has taken out of the bus is a job: `ion job list --state waiting`.
    """

    async def work(ion: Management) -> None:
        found = await ion.bus.depths()
        for note in found.notes:
            remark(note)
        if as_json:
            document(found.depths)
        else:
            rows = [(plain(one.module), plain(one.group), str(one.depth)) for one in found.depths]
            table(("MODULE", "GROUP", "DEPTH"), rows)

    manage(work)


@bus.command(epilog=example("ion bus replay --since 2h", "ion bus replay --since 2026-11-20 --module detect --dry-run"))
@click.option("--since", required=True, type=when, metavar="WHEN", help="What was raised since: 2026-11-24, or 7d ago.")
@click.option(
    "-n",
    "--module",
    default="",
    metavar="NAME",
    shell_complete=modules,
    help="For this module alone: one that came late, say.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be started.")
def replay(since: datetime, module: str, *, dry_run: bool) -> None:
    """Publish again what jobs raised, from their manifests.

    Jobs that are known already are not started again. With --module nothing is published: that module gets the jobs of
    the events that it has missed.
    """
    from ion.management.report_text import many

    async def work(ion: Management) -> None:
        done = await ion.bus.replay(since=since, module=module, dry=dry_run)
        would = "would start" if dry_run else "started"
        click.echo(f"{many(done.events, 'event')} {would} {many(done.started, 'new job')}")
        if done.started and not dry_run:
            remark("`ion run` or `ion up` runs them")

    manage(work)
