"""`ion job`: single jobs. How one looks is in job_view.py."""

from pathlib import Path

import click

from ion.cli.context import Place, example, in_store
from ion.cli.job_view import listing, show_job, view
from ion.cli.output import document, here, plain, raw, remark, short, table
from ion.management.files import files_of
from ion.management.files import pull as pull_job
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
from ion.management.report_text import size
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


@job.command(epilog=example("ion job files 3f2a91c0", "ion job files --links 1d --json 3f2a91c0"))
@click.argument("job_id", metavar="ID")
@click.option("--links", "ttl", default="1h", show_default=True, metavar="DURATION", help="How long links hold.")
@click.option("--json", "as_json", is_flag=True, help="One JSON array, with hashes and the lasting URIs.")
def files(job_id: str, ttl: str, *, as_json: bool) -> None:
    """List a job's files, each with a link that opens it without credentials."""
    from ion.cli.when import lasting

    within_s = lasting("--links", ttl)

    async def work(place: Place) -> None:
        found = await files_of(await find_job(place.ledger, job_id), place.blobs, ttl_s=within_s)
        if as_json:
            document(found)
        else:
            rows = [(one.role, size(one.size), plain(one.path), one.link or "(gone)") for one in found]
            table(("", "SIZE", "FILE", "LINK"), rows)

    in_store(work)


@job.command(epilog=example("ion job pull 3f2a91c0", "ion job pull --outputs 3f2a91c0 ./look"))
@click.argument("job_id", metavar="ID")
@click.argument("folder", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
@click.option("--outputs", is_flag=True, help="What the job left, too.")
def pull(job_id: str, folder: Path | None, *, outputs: bool) -> None:
    """Copy what a job's module saw into a new folder, named after the job unless DIR says else."""

    async def work(place: Place) -> Path:
        found = await find_job(place.ledger, job_id)
        to = (folder or Path(f"{found.module}-{short(found.id)}")).absolute()
        stores = place.stores
        return await pull_job(
            found, to, ledger=stores.ledger, blobs=stores.blobs, handler=stores.handler, outputs=outputs
        )

    click.echo(here(str(in_store(work))))


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


def _local() -> None:
    from ion.cli.job_local import repro, run_local

    job.add_command(run_local)
    job.add_command(repro)


_local()
