"""`ion trace`: everything that is recorded of a flow."""

from collections.abc import AsyncIterator
from typing import Any

import click

from ion.cli.context import Place, example, in_store
from ion.cli.job_view import fault, standing, took
from ion.cli.output import SUBJECT_MOST, array, plain, short
from ion.management.files import with_links
from ion.management.flows import find_flow, tree_of
from ion.management.jobs import raised_nothing
from ion.model.job import Job


@click.group(epilog=example("ion trace flow -c 81d0fe22"))
def trace() -> None:
    """Print all that is recorded of a flow."""


@trace.command(
    epilog=example("ion trace flow -c 81d0fe22-4d0c-4c3e-9d2b-0f4f8a0c1f6e", "ion trace flow -c 81d0 --tree")
)
@click.option(
    "-c",
    "--correlation-id",
    "flow_id",
    required=True,
    metavar="ID",
    help="The flow, or its beginning.",
)
@click.option("--tree", is_flag=True, help="Draw its jobs as a tree instead.")
def flow(flow_id: str, *, tree: bool) -> None:
    """Print every record of a flow as one JSON array, in the order in which they were made."""

    async def work(place: Place) -> None:
        found = await find_flow(place.ledger, flow_id)
        if not tree:
            await array(_records(place, found.correlation_id))
            return
        async for rails, job, _ in tree_of(place.ledger, found.correlation_id):
            note = "raised nothing" if await raised_nothing(job, place.ledger) else ""
            click.echo(rails + _line(job, note))

    in_store(work)


async def _records(place: Place, correlation_id: str) -> AsyncIterator[dict[str, Any]]:
    async for record in place.documents.flow(correlation_id):
        yield (await with_links(record, place.blobs)).document()


def _line(job: Job, note: str) -> str:
    """A job in the tree: what it is, how it stands, what it was about."""
    words = [
        plain(job.module),
        short(job.id),
        standing(job) + (f", attempt {job.attempt}" if job.attempt > 1 else ""),
        took(job) if job.ended_at else "",
        plain(job.event.type),
        plain(job.event.subject, SUBJECT_MOST),
        fault(job.failure) or note,
    ]
    return "  ".join(word for word in words if word)
