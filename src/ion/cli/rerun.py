"""`ion rerun`: computes results again on purpose."""

from collections.abc import Sequence
from datetime import datetime

import click

from ion.cli.context import Place, example, in_store
from ion.cli.output import remark
from ion.cli.when import when
from ion.errors import InvalidError
from ion.management.flows import find_flow
from ion.management.report_text import many
from ion.management.rerun import RERUNNABLE, Rerun, RerunFilter, chosen_reruns, named_reruns
from ion.management.rerun import rerun as run_again
from ion.model.job import State

OBSTACLES_SHOWN = 5


@click.command("rerun", epilog=example("ion rerun 3f2a91c0", "ion rerun --module detect --since 7d --dry-run"))
@click.argument("job_ids", metavar="[ID]...", nargs=-1)
@click.option("-n", "--module", default="", metavar="NAME", help="Jobs of this module.")
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
    from ion.wiring import actor

    async def work(place: Place) -> None:
        which = RerunFilter(
            module=module,
            correlation_id=(await find_flow(place.ledger, flow)).correlation_id if flow else "",
            since=since,
            states=tuple(State(state) for state in states) or (State.RELEASED,),
        )
        planned = await _planned(place, job_ids, which, narrowed=bool(module or flow or since or states))
        _left_out(planned)
        if dry_run:
            for one in planned:
                if not one.obstacle:
                    click.echo(f"{one.old} would run again as {one.new.id}")
            return
        count = 0
        async for one in run_again(place.ledger, planned, actor()):
            click.echo(f"{one.old} runs again as {one.new.id}")
            count += 1
        remark(f"{many(count, 'job')} queued; `ion run` or `ion up` runs them")

    in_store(work)


async def _planned(place: Place, job_ids: tuple[str, ...], which: RerunFilter, *, narrowed: bool) -> Sequence[Rerun]:
    if job_ids and narrowed:
        raise InvalidError("name jobs by their ids or choose them with filters, not both")
    if job_ids:
        return await named_reruns(place.ledger, job_ids)
    if not (which.module or which.correlation_id or which.since):
        raise InvalidError("say what to run again: ids, or one of --module, --flow and --since")
    return await chosen_reruns(place.ledger, which)


def _left_out(planned: Sequence[Rerun]) -> None:
    obstacles = [one.obstacle for one in planned if one.obstacle]
    for obstacle in obstacles[:OBSTACLES_SHOWN]:
        remark(f"left out: {obstacle}")
    if len(obstacles) > OBSTACLES_SHOWN:
        remark(f"left out: {many(len(obstacles) - OBSTACLES_SHOWN, 'more job')}")
