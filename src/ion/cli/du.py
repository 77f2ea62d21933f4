"""`ion du`: what takes up the store."""

from collections.abc import Sequence

import click

from ion.cli.context import example, manage
from ion.cli.output import document, plain, table
from ion.management.needed import Part
from ion.management.report_text import size
from ion.management.usage import By
from ion.management.verbs.server import UsageRow


@click.command("du", epilog=example("ion du", "ion du --by flow --json"))
@click.option(
    "--by", type=click.Choice([by.value for by in By]), default=By.MODULE.value, show_default=True, help="Sums of what."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document, in bytes.")
def du_command(by: str, *, as_json: bool) -> None:
    """Show how many bytes are stored: files, logs, manifests, and strays, which nobody needs (`ion gc`)."""
    rows = manage(lambda ion: ion.server.usage(by=By(by)))
    total = _in_all(rows)
    if as_json:
        shown = [{by: row.key or None, **_view(row)} for row in rows]
        document({"by": by, "rows": shown, "total": _view(total)})
    elif By(by) is By.KIND:
        kinds = [(row.key, str(row.blobs), size(_total(row))) for row in rows]
        table(("KIND", "BLOBS", "TOTAL"), [*kinds, ("in all", str(total.blobs), size(_total(total)))])
    else:
        cells = [(plain(row.key) or "(no job)", *_cells(row)) for row in rows]
        header = (by.upper(), "BLOBS", *(part.name for part in Part), "TOTAL")
        table(header, [*cells, ("in all", *_cells(total))])


def _in_all(rows: Sequence[UsageRow]) -> UsageRow:
    sums = {part.value: sum(row.bytes.get(part.value, 0) for row in rows) for part in Part}
    return UsageRow(key="", blobs=sum(row.blobs for row in rows), bytes=sums)


def _total(row: UsageRow) -> int:
    return sum(row.bytes.values())


def _cells(row: UsageRow) -> tuple[str, ...]:
    return (str(row.blobs), *(size(row.bytes.get(part.value, 0)) for part in Part), size(_total(row)))


def _view(row: UsageRow) -> dict[str, int]:
    return {"blobs": row.blobs, **{part.value: row.bytes.get(part.value, 0) for part in Part}, "total": _total(row)}
