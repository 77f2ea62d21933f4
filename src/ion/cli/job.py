"""`ion job`: single jobs. How one looks is in job_view.py."""

import click

from ion.cli.context import Place, example, in_store
from ion.cli.job_view import listing, show_job, view
from ion.cli.output import document, raw, remark, short
from ion.management.flows import find_flow
from ion.management.jobs import (
    cancel_jobs,
    find_job,
    follow_log,
    latest_jobs,
    raised_nothing,
    read_log,
    results_of,
    retry_jobs,
)
from ion.model.job import State
from ion.ports.ledger import JobFilter

LIMIT = 50


@click.group(epilog=example("ion job list --state dead", "ion job logs 3f2a91c0"))
def job() -> None:
    """List, show, retry and cancel jobs; read their logs.

    A job is named by its id or the beginning of it.
    """


@job.command(
    "list", epilog=example("ion job list --state dead --state cancelled", "ion job list -c 81d0 --module detect --json")
)
@click.option("-n", "--module", default="", metavar="NAME", help="Jobs of this module.")
@click.option(
    "-s", "--state", "states", multiple=True, type=click.Choice([s.value for s in State]), help="Jobs in this state."
)
@click.option("-c", "--flow", "--correlation-id", "flow", default="", metavar="ID", help="Jobs of this flow.")
@click.option("--limit", type=click.IntRange(min=1), default=LIMIT, show_default=True, help="So many, the latest.")
@click.option("--json", "as_json", is_flag=True, help="One JSON array.")
def list_jobs(module: str, states: tuple[str, ...], flow: str, limit: int, *, as_json: bool) -> None:
    """List jobs in the order of their admission, the newest last."""

    async def work(place: Place) -> None:
        flow_id = (await find_flow(place.ledger, flow)).correlation_id if flow else ""
        which = JobFilter(module=module, states=tuple(State(s) for s in states), correlation_id=flow_id)
        jobs, total = await latest_jobs(place.ledger, which, limit)
        if as_json:
            document([view(one) for one in jobs])
        else:
            listing(jobs)
        if total > len(jobs):
            remark(f"the latest {len(jobs)} of {total} jobs; --limit shows more")

    in_store(work)


@job.command(epilog=example("ion job show 3f2a91c0"))
@click.argument("job_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def show(job_id: str, *, as_json: bool) -> None:
    """Show a job: how it stands, what started it, what it left, its history and the end of its log."""
    show_page(job_id, as_json=as_json)


def show_page(job_id: str, *, as_json: bool) -> None:
    """The page of a job, or its document."""

    async def work(place: Place) -> None:
        found = await find_job(place.ledger, job_id)
        results = await results_of(found, place.blobs)
        if as_json:
            document(view(found, results))
        else:
            silent = await raised_nothing(found, place.ledger)
            await show_job(found, results, silent=silent, blobs=place.blobs, work=place.work)

    in_store(work)


@job.command(epilog=example("ion job logs -f 3f2a91c0"))
@click.argument("job_id", metavar="ID")
@click.option("-f", "--follow", is_flag=True, help="Go on until the job has ended.")
def logs(job_id: str, *, follow: bool) -> None:
    """Print the log of a job's last attempt, also while it runs."""

    async def work(place: Place) -> None:
        found = await find_job(place.ledger, job_id)
        if follow:
            chunks = follow_log(found.id, ledger=place.ledger, blobs=place.blobs, work=place.work)
        else:
            chunks = read_log(found, blobs=place.blobs, work=place.work)
        empty = True
        async for chunk in chunks:
            empty = False
            raw(chunk)
        if empty:
            remark(f"job {short(found.id)} is {(await place.ledger.get(found.id)).state} and has logged nothing")

    in_store(work)


@job.command(epilog=example("ion job retry 3f2a91c0 77b01d2e"))
@click.argument("job_ids", metavar="ID...", nargs=-1, required=True)
def retry(job_ids: tuple[str, ...]) -> None:
    """Queue dead or cancelled jobs again, with their module as it is now."""
    for one in in_store(lambda place: retry_jobs(place.ledger, job_ids, _actor())):
        click.echo(f"{one.id} waits again")


@job.command(epilog=example("ion job cancel 3f2a91c0"))
@click.argument("job_ids", metavar="ID...", nargs=-1, required=True)
def cancel(job_ids: tuple[str, ...]) -> None:
    """Cancel waiting jobs, and end running ones."""
    for one in in_store(lambda place: cancel_jobs(place.ledger, job_ids, _actor())):
        click.echo(f"{one.id} is being ended" if one.state is State.RUNNING else f"{one.id} is cancelled")


def _actor() -> str:
    from ion.wiring import actor

    return actor()
