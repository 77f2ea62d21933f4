"""`ion dlq`: the dead letters."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import click

from ion.cli.completion import modules
from ion.cli.context import example, manage
from ion.cli.job import show_page
from ion.cli.job_view import fault, view
from ion.cli.output import SUBJECT_MOST, document, moment, plain, remark, short, table
from ion.cli.when import when
from ion.management.dead_letters import LetterFilter
from ion.management.report_text import many
from ion.management.verbs import Management
from ion.model.job import FailureClass, Job

HEADER = ("JOB", "MODULE", "REVISION", "DIED", "TRY", "SUBJECT", "FAILURE")


@click.group(epilog=example("ion dlq list --since 1d", "ion dlq redrive --module detect --class timeout"))
def dlq() -> None:
    """List, show and redrive the dead letters: jobs that died.

    A job is named by its id or the beginning of it.
    """


def filters(command: Callable[..., None]) -> Callable[..., None]:
    """The options that choose dead letters."""
    for option in (
        click.option("-c", "--flow", "--correlation-id", "flow", default="", metavar="ID", help="Of this flow."),
        click.option("--revision", default="", metavar="ID", help="Of this revision of their module."),
        click.option("--until", type=when, metavar="WHEN", help="Died before: 2026-11-24T11:51, or 2h ago."),
        click.option("--since", type=when, metavar="WHEN", help="Died since: 2026-11-24, or 7d ago."),
        click.option(
            "--class", "kinds", multiple=True, type=click.Choice([k.value for k in FailureClass]), help="Died of this."
        ),
        click.option("-n", "--module", default="", metavar="NAME", shell_complete=modules, help="Of this module."),
    ):
        command = option(command)
    return command


def _filter(
    *,
    module: str,
    kinds: tuple[str, ...],
    since: datetime | None,
    until: datetime | None,
    revision: str,
    flow: str,
) -> LetterFilter:
    return LetterFilter(
        module=module,
        kinds=tuple(FailureClass(kind) for kind in kinds),
        since=since,
        until=until,
        revision=revision,
        correlation_id=flow,
    )


@dlq.command("list", epilog=example("ion dlq list --module detect --class memory --since 2h --json"))
@filters
@click.option("--json", "as_json", is_flag=True, help="One JSON array.")
def list_letters(*, as_json: bool, **given: Any) -> None:
    """List dead letters in the order of their admission."""
    which = _filter(**given)

    async def work(ion: Management) -> None:
        found = ion.letters.list(which=which)
        if as_json:
            document([view(job) async for job in found])
        else:
            table(HEADER, [_row(job) async for job in found])

    manage(work)


def _row(job: Job) -> tuple[str, ...]:
    about = plain(job.event.subject, SUBJECT_MOST)
    died = moment(job.ended_at)
    return (short(job.id), plain(job.module), short(job.revision), died, str(job.attempt), about, fault(job.failure))


@dlq.command(epilog=example("ion dlq show 3f2a91c0"))
@click.argument("job_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def show(job_id: str, *, as_json: bool) -> None:
    """Show a dead letter, as `ion job show` does: its event, failure, history and the end of its log."""
    show_page(job_id, as_json=as_json)


@dlq.command(epilog=example("ion dlq redrive 3f2a91c0", "ion dlq redrive -n detect --image ghcr.io/acme/detect:2"))
@click.argument("job_ids", metavar="[ID]...", nargs=-1)
@filters
@click.option("--all", "everything", is_flag=True, help="Every dead letter of the store.")
@click.option("--image", default="", metavar="IMAGE", help="Give their module this image first, in a new revision.")
@click.option("--dry-run", is_flag=True, help="Only say what would be queued.")
def redrive(job_ids: tuple[str, ...], *, everything: bool, image: str, dry_run: bool, **given: Any) -> None:
    """Queue dead letters again, with fresh budgets and their module as it is now."""
    which = _filter(**given)

    async def work(ion: Management) -> None:
        count = 0
        async for one in ion.letters.redrive(
            jobs=job_ids, which=which, everything=everything, image=image, dry=dry_run
        ):
            if one.note:
                remark(one.note)
                continue
            click.echo(f"{one.id} would wait again" if dry_run else f"{one.id} waits again")
            count += 1
        if not (job_ids or dry_run):
            remark(f"{many(count, 'dead letter')} queued again")

    manage(work)
