"""`ion rerun`: computes results again on purpose."""

from datetime import datetime

import click

from ion.cli.completion import modules
from ion.cli.context import example, manage
from ion.cli.output import remark
from ion.cli.when import when
from ion.management.report_text import many
from ion.management.rerun import RERUNNABLE
from ion.management.verbs import Management
from ion.model.job import State

OBSTACLES_SHOWN = 5


@click.command("rerun", epilog=example("ion rerun 3f2a91c0", "ion rerun --module detect --since 7d --dry-run"))
@click.argument("job_ids", metavar="[ID]...", nargs=-1)
@click.option("-n", "--module", default="", metavar="NAME", shell_complete=modules, help="Jobs of this module.")
@click.option("-c", "--flow", "--correlation-id", "flow", default="", metavar="ID", help="Jobs of this flow.")
@click.option("--since", type=when, metavar="WHEN", help="Jobs that ended since: 2026-11-24, or 7d ago.")
@click.option(
    "-s",
    "--state",
    "states",
    multiple=True,
    type=click.Choice([state.value for state in RERUNNABLE]),
    help="Jobs in this state.  [released]",
)
@click.option("--dry-run", is_flag=True, help="Only say what would run again.")
def rerun(
    job_ids: tuple[str, ...], module: str, flow: str, since: datetime | None, states: tuple[str, ...], *, dry_run: bool
) -> None:
    """Compute results again: a new run of each job, and of all that comes of it, with modules as they are now.

    When a new run succeeds, the old one and what came of it are kept but no longer shown; if it fails, they stay.
    """

    async def work(ion: Management) -> None:
        wanted = tuple(State(state) for state in states)
        found = ion.jobs.rerun(jobs=job_ids, module=module, flow=flow, since=since, states=wanted, dry=dry_run)
        obstacles, count = 0, 0
        async for one in found:  # the obstacles come first
            if one.obstacle:
                obstacles += 1
                if obstacles <= OBSTACLES_SHOWN:
                    remark(f"left out: {one.obstacle}")
                continue
            if not count:
                _more_left_out(obstacles)
            click.echo(f"{one.old} would run again as {one.new}" if dry_run else f"{one.old} runs again as {one.new}")
            count += 1
        if not count:
            _more_left_out(obstacles)
        if not dry_run:
            remark(f"{many(count, 'job')} queued; `ion run` or `ion up` runs them")

    manage(work)


def _more_left_out(obstacles: int) -> None:
    if obstacles > OBSTACLES_SHOWN:
        remark(f"left out: {many(obstacles - OBSTACLES_SHOWN, 'more job')}")
