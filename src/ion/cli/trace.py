"""`ion trace`: everything that is recorded of a flow."""

from collections.abc import AsyncIterator
from typing import Any

import click

from ion.cli.context import example, manage
from ion.cli.job_view import fault, standing, took
from ion.cli.mermaid import flowchart
from ion.cli.output import SUBJECT_MOST, array, plain, short
from ion.errors import InvalidError
from ion.management.verbs import Management
from ion.management.verbs.flows import TreeLine


@click.group(epilog=example("ion trace flow -c 81d0fe22"))
def trace() -> None:
    """Print all that is recorded of a flow."""


@trace.command(
    epilog=example(
        "ion trace flow -c 81d0fe22-4d0c-4c3e-9d2b-0f4f8a0c1f6e",
        "ion trace flow -c 81d0 --tree",
        "ion trace flow -c 81d0 --mermaid > flow.mmd",
    )
)
@click.option("-c", "--correlation-id", "flow_id", required=True, metavar="ID", help="The flow, or its beginning.")
@click.option("--tree", is_flag=True, help="Draw its jobs as a tree instead.")
@click.option("--mermaid", is_flag=True, help="Print a Mermaid flowchart of its jobs instead.")
def flow(flow_id: str, *, tree: bool, mermaid: bool) -> None:
    """Print every record of a flow as one JSON array, in the order in which they were made."""
    if tree and mermaid:
        raise InvalidError("--tree and --mermaid exclude one another: leave one out")

    async def work(ion: Management) -> None:
        if mermaid:
            async for text in flowchart(ion.flows.tree(flow=flow_id)):
                click.echo(text)
        elif tree:
            async for line in ion.flows.tree(flow=flow_id):
                click.echo(line.rails + _words(line))
        else:
            await array(_records(ion, flow_id))

    manage(work)


async def _records(ion: Management, flow_id: str) -> AsyncIterator[dict[str, Any]]:
    async for record in ion.flows.records(flow=flow_id):
        yield record.document()


def _words(line: TreeLine) -> str:
    """A job in the tree: what it is, how it stands, what it was about."""
    job = line.job
    words = [
        plain(job.module),
        short(job.id),
        standing(job) + (f", attempt {job.attempt}" if job.attempt > 1 else ""),
        took(job) if job.ended_at else "",
        plain(job.event.type),
        plain(job.event.subject, SUBJECT_MOST),
        fault(job.failure) or ("raised nothing" if line.silent else ""),
    ]
    return "  ".join(word for word in words if word)
