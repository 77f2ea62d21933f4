"""`ion insights`: what modules found, for other tools.

A spreadsheet takes a cell that begins with `=`, `+`, `-` or `@` for a formula, and a formula can send away what stands
in other cells. Insights and subjects come from modules and from outside, so in CSV such a text gets an apostrophe
before it, which a spreadsheet shows as text; numbers stay what they are. `--raw` leaves it out, for tools that are no
spreadsheets; JSON lines and Parquet never have it.
"""

from datetime import datetime
from pathlib import Path

import click

from ion.cli.context import example, manage
from ion.cli.output import remark
from ion.cli.when import when
from ion.errors import InvalidError
from ion.management.report_text import many
from ion.management.verbs import Management

FORMATS = ("csv", "parquet", "jsonl")


@click.group(epilog=example("ion insights export --module detect --since 7d -o found.csv"))
def insights() -> None:
    """Export what modules found."""


@insights.command(
    epilog=example(
        "ion insights export --module detect --since 7d > found.csv",
        "ion insights export --module detect --since 2026-11-01 --until 2026-12-01 -o november.parquet",
    )
)
@click.option("-n", "--module", default="", metavar="NAME", help="Of this module alone.")
@click.option("-c", "--flow", "--correlation-id", "flow", default="", metavar="ID", help="Of this flow alone.")
@click.option("--since", type=when, metavar="WHEN", help="Of executions that ended since: 2026-11-24, or 7d ago.")
@click.option("--until", type=when, metavar="WHEN", help="Of executions that ended before.")
@click.option("--format", "kind", type=click.Choice(FORMATS), help="Else by the file's ending, else CSV.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Else it is printed."
)
@click.option("--raw", is_flag=True, help="In CSV, no apostrophe before what a spreadsheet takes for a formula.")
def export(
    *,
    module: str,
    flow: str,
    since: datetime | None,
    until: datetime | None,
    kind: str | None,
    output: Path | None,
    raw: bool,
) -> None:
    """Write insights, a row each: when, whose, the subject, key and value.

    Runs that a later one superseded do not count. `typed` is the JSON text of a value that was no text. A remote Ion
    has --timeout (30 s) to find the first, and looks through every job for it.
    """
    from ion.cli.insights_files import opened

    chosen = kind or _by_ending(output)
    if chosen == "parquet" and output is None:
        raise InvalidError("Parquet is for a file: name one with -o FILE")

    async def work(ion: Management) -> int:
        count = 0
        with opened(chosen, output, raw=raw) as rows:
            async for row in ion.findings.insights(module=module, flow=flow, since=since, until=until):
                rows.add(row)
                count += 1
        return count

    remark(many(manage(work), "insight"))


def _by_ending(output: Path | None) -> str:
    ending = output.suffix.lower().removeprefix(".") if output else ""
    return {"parquet": "parquet", "jsonl": "jsonl", "ndjson": "jsonl"}.get(ending, "csv")
