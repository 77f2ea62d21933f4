"""`ion job`: single jobs. How one looks is in job_view.py."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import click

from ion.cli.completion import modules
from ion.cli.context import example, manage
from ion.cli.job_local import repro, run_local
from ion.cli.job_view import listing, show_job, view
from ion.cli.output import document, here, lines, plain, raw, remark, short, table
from ion.cli.why import why
from ion.errors import InvalidError
from ion.management.report_text import size
from ion.management.verbs import Management
from ion.model.job import State
from ion.ports.ledger import JobFilter

LIMIT = 50
PAGE = 500


@click.group(epilog=example("ion job list --state dead", "ion job logs 3f2a91c0"))
def job() -> None:
    """List, show, retry and cancel jobs; read their logs.

    A job is named by its id or the beginning of it.
    """


@job.command(
    "list",
    epilog=example(
        "ion job list --state dead --state cancelled",
        "ion job list -c 81d0 --module detect --json",
        "ion job list --all | jq -r .id",
    ),
)
@click.option("-n", "--module", default="", metavar="NAME", shell_complete=modules, help="Jobs of this module.")
@click.option(
    "-s", "--state", "states", multiple=True, type=click.Choice([s.value for s in State]), help="Jobs in this state."
)
@click.option("-c", "--flow", "--correlation-id", "flow", default="", metavar="ID", help="Jobs of this flow.")
@click.option("--limit", type=click.IntRange(min=1), default=LIMIT, show_default=True, help="So many, the latest.")
@click.option("--json", "as_json", is_flag=True, help="One JSON array.")
@click.option("--all", "everything", is_flag=True, help="Every job, one JSON document a line, as they are read.")
@click.pass_context
def list_jobs(
    context: click.Context,
    module: str,
    states: tuple[str, ...],
    flow: str,
    limit: int,
    *,
    as_json: bool,
    everything: bool,
) -> None:
    """List jobs in the order of their admission, the newest last.

    Jobs that gave way to a later run are left out, unless --state names theirs.
    """
    which = JobFilter(module=module, states=tuple(State(s) for s in states), correlation_id=flow)
    if everything and context.get_parameter_source("limit") is not click.core.ParameterSource.DEFAULT:
        raise InvalidError("--all means every job; leave it out, or --limit")

    async def work(ion: Management) -> None:
        if everything:
            await lines(_every(ion, which))
            return
        latest = await ion.jobs.latest(which=which, most=limit)
        if as_json:
            document([view(one) for one in latest.jobs])
        else:
            listing(latest.jobs)
        if latest.total > len(latest.jobs):
            remark(f"the latest {len(latest.jobs)} of {latest.total} jobs; --limit shows more")

    manage(work)


async def _every(ion: Management, which: JobFilter) -> AsyncIterator[dict[str, Any]]:
    after: str | None = None
    while True:
        page = await ion.jobs.page(which=which, most=PAGE, after=after)
        for one in page.jobs:
            if not one.gave_way or one.state in which.states:
                yield view(one)
        if (after := page.after) is None:
            return


@job.command(epilog=example("ion job show 3f2a91c0"))
@click.argument("job_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def show(job_id: str, *, as_json: bool) -> None:
    """Show a job: how it stands, what started it, what it left, its history and the end of its log."""
    show_page(job_id, as_json=as_json)


def show_page(job_id: str, *, as_json: bool) -> None:
    """The page of a job, or its document."""

    async def work(ion: Management) -> None:
        found = await ion.jobs.show(job=job_id)
        if as_json:
            document(view(found.job, found.results))
        else:
            await show_job(found, ion.jobs)

    manage(work)


@job.command(epilog=example("ion job logs -f 3f2a91c0"))
@click.argument("job_id", metavar="ID")
@click.option("-f", "--follow", is_flag=True, help="Go on until the job has ended.")
def logs(job_id: str, *, follow: bool) -> None:
    """Print the log of a job's last attempt, also while it runs."""

    async def work(ion: Management) -> None:
        found = await ion.jobs.get(job=job_id)
        empty = True
        async for chunk in ion.jobs.log(job=found.id, follow=follow):
            empty = False
            raw(chunk)
        if empty:
            remark(f"job {short(found.id)} is {(await ion.jobs.get(job=found.id)).state} and has logged nothing")

    manage(work)


@job.command(epilog=example("ion job files 3f2a91c0", "ion job files --links 1d --json 3f2a91c0"))
@click.argument("job_id", metavar="ID")
@click.option("--links", "ttl", default="1h", show_default=True, metavar="DURATION", help="How long links hold.")
@click.option("--json", "as_json", is_flag=True, help="One JSON array, with hashes and the lasting URIs.")
def files(job_id: str, ttl: str, *, as_json: bool) -> None:
    """List a job's files, each with a link that opens it without credentials."""
    from ion.cli.when import lasting

    within_s = lasting("--links", ttl)

    async def work(ion: Management) -> None:
        found = await ion.jobs.files(job=job_id, ttl_s=within_s)
        if as_json:
            document(found)
        else:
            rows = [(one.role, size(one.size), plain(one.path), one.link or "(gone)") for one in found]
            table(("", "SIZE", "FILE", "LINK"), rows)

    manage(work)


@job.command(epilog=example("ion job pull 3f2a91c0", "ion job pull --outputs 3f2a91c0 ./look"))
@click.argument("job_id", metavar="ID")
@click.argument("folder", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
@click.option("--outputs", is_flag=True, help="What the job left, too.")
def pull(job_id: str, folder: Path | None, *, outputs: bool) -> None:
    """Copy what a job's module saw into a new folder, named after the job unless DIR says else."""
    from ion.management.pull import pull as pull_job

    async def work(ion: Management) -> Path:
        found = await ion.jobs.get(job=job_id)
        to = (folder or Path(f"{found.module}-{short(found.id)}")).absolute()
        return await pull_job(ion.jobs, found.id, to, outputs=outputs)

    click.echo(here(str(manage(work))))


@job.command(epilog=example("ion job retry 3f2a91c0 77b01d2e"))
@click.argument("job_ids", metavar="ID...", nargs=-1, required=True)
def retry(job_ids: tuple[str, ...]) -> None:
    """Queue dead or cancelled jobs again, with their module as it is now."""
    for one in manage(lambda ion: ion.jobs.retry(jobs=job_ids)):
        click.echo(f"{one.id} waits again")


@job.command(epilog=example("ion job cancel 3f2a91c0"))
@click.argument("job_ids", metavar="ID...", nargs=-1, required=True)
def cancel(job_ids: tuple[str, ...]) -> None:
    """Cancel waiting jobs, and end running ones."""
    for one in manage(lambda ion: ion.jobs.cancel(jobs=job_ids)):
        click.echo(f"{one.id} is being ended" if one.state is State.RUNNING else f"{one.id} is cancelled")


job.add_command(why)
job.add_command(run_local)
job.add_command(repro)
