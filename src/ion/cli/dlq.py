"""`ion dlq`: the dead letters."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import click

from ion.cli.context import Place, example, in_store
from ion.cli.job import show_page
from ion.cli.job_view import fault, view
from ion.cli.output import SUBJECT_MOST, document, moment, plain, remark, short, table
from ion.cli.when import when
from ion.errors import InvalidError
from ion.management.dead_letters import (
    LetterFilter,
    Redrive,
    check_redrive,
    chosen_letters,
    left_out,
    letters_of,
    named_letters,
)
from ion.management.dead_letters import redrive as queue_again
from ion.management.flows import find_flow
from ion.management.report_text import many
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
        click.option("-n", "--module", default="", metavar="NAME", help="Of this module."),
    ):
        command = option(command)
    return command


async def _filter(
    place: Place,
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
        correlation_id=(await find_flow(place.ledger, flow)).correlation_id if flow else "",
    )


@dlq.command("list", epilog=example("ion dlq list --module detect --class memory --since 2h --json"))
@filters
@click.option("--json", "as_json", is_flag=True, help="One JSON array.")
def list_letters(*, as_json: bool, **given: Any) -> None:
    """List dead letters in the order of their admission."""

    async def work(place: Place) -> None:
        found = letters_of(place.ledger, await _filter(place, **given))
        if as_json:
            document([view(job) async for job in found])
        else:
            table(HEADER, [_row(job) async for job in found])

    in_store(work)


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
    from ion.wiring import actor

    async def work(place: Place) -> None:
        plan = await _plan(place, job_ids, everything, given)
        if note := left_out(plan):
            remark(note)
        if dry_run:
            await check_redrive(place.ledger, plan.letters, image)
            for letter in plan.letters:
                click.echo(f"{letter.id} would wait again")
            return
        count = 0
        async for letter in queue_again(place.ledger, plan.letters, image, actor()):
            click.echo(f"{letter.id} waits again")
            count += 1
        if not job_ids:
            remark(f"{many(count, 'dead letter')} queued again")

    in_store(work)


async def _plan(place: Place, job_ids: tuple[str, ...], everything: bool, given: dict[str, Any]) -> Redrive:
    which = await _filter(place, **given)
    if job_ids and (which.narrows or everything):
        raise InvalidError("name dead letters by their ids or choose them with filters, not both")
    if everything and which.narrows:
        raise InvalidError("--all means every dead letter; leave it out, or the filters")
    if not (job_ids or which.narrows or everything):
        raise InvalidError("say which dead letters: ids, a filter such as --module, or --all")
    return await (named_letters(place.ledger, job_ids) if job_ids else chosen_letters(place.ledger, which))
