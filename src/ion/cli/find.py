"""`ion find`: which jobs were about a subject, had a file, or found something."""

from collections.abc import AsyncIterator
from typing import Any

import click

from ion.cli.context import example, key_values, manage
from ion.cli.job_view import standing, view
from ion.cli.output import SUBJECT_MOST, array, moment, plain, remark, short
from ion.management.verbs import Management
from ion.management.verbs.findings import Found, KeyValue

LINE = "{:<8}  {:<16}  {:<10}  {:<19}  {:<8}  {:<9}  {:<24}  {}"
"""Fixed columns: lines are printed as they are found, and nobody knows yet how wide the next one is."""


@click.command(
    epilog=example(
        "ion find --subject '*/cat.jpg'",
        "ion find --sha256 $(sha256sum cat.jpg | cut -c-64)",
        "ion find --insight faces=2 --insight kind=cat -c 81d0 --json",
    )
)
@click.option("--subject", default="", metavar="TEXT", help="Jobs about this; * stands for any text.")
@click.option("--sha256", default="", metavar="HEX", help="Jobs that got or left this file; 8 digits or more will do.")
@click.option(
    "--insight", "insights", multiple=True, metavar="KEY=VALUE", help="Jobs that found this; may be repeated."
)
@click.option("-c", "--flow", "--correlation-id", "flow", default="", metavar="ID", help="Look in this flow alone.")
@click.option("--json", "as_json", is_flag=True, help="One JSON array.")
def find(subject: str, sha256: str, insights: tuple[str, ...], flow: str, *, as_json: bool) -> None:
    """Find jobs by a subject, a file's hash, insights; with several, jobs that all of them fit.

    Every job of the flow, or of all flows, is looked through: some seconds for a hundred thousand. Runs that a later
    one superseded are left out. The column BY says whether a file came out of the job or went in. A remote Ion has
    --timeout (30 s) to find the first.
    """
    wanted = tuple(KeyValue(key=key, value=value) for key, value in key_values(insights).items())

    async def work(ion: Management) -> None:
        found = ion.findings.find(subject=subject, sha256=sha256, insights=wanted, flow=flow)
        if as_json:
            await array(_documents(found))
        else:
            await _lines(found)

    manage(work)


async def _documents(found: AsyncIterator[Found]) -> AsyncIterator[dict[str, Any]]:
    async for one in found:
        yield {"by": one.by, "what": one.what, "job": view(one.job)}


async def _lines(found: AsyncIterator[Found]) -> None:
    count = 0
    async for one in found:
        if not count:
            click.echo(LINE.format("JOB", "MODULE", "STATE", "ADMITTED", "FLOW", "BY", "WHAT", "SUBJECT"))
        count += 1
        click.echo(_line(one))
    if not count:
        remark("no job fits")


def _line(one: Found) -> str:
    job = one.job
    return LINE.format(
        short(job.id),
        plain(job.module, 60),
        standing(job),
        moment(job.admitted_at),
        short(job.correlation_id),
        one.by,
        "" if one.by == "subject" else plain(one.what, SUBJECT_MOST),
        plain(job.event.subject, SUBJECT_MOST),
    ).rstrip()
