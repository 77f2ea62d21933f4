"""`ion du`: what takes up the store."""

from collections.abc import Mapping

import click

from ion.cli.context import Place, example, in_store
from ion.cli.output import document, plain, table
from ion.management.needed import Part
from ion.management.report_text import size
from ion.management.usage import By, Sum, in_all, usage


@click.command("du", epilog=example("ion du", "ion du --by flow --json"))
@click.option(
    "--by", type=click.Choice([by.value for by in By]), default=By.MODULE.value, show_default=True, help="Sums of what."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document, in bytes.")
def du_command(by: str, *, as_json: bool) -> None:
    """Show how many bytes are stored: files, logs, manifests, and strays, which nobody needs (`ion gc`)."""

    async def work(place: Place) -> Mapping[str, Sum]:
        return await usage(place.ledger, place.documents, place.blobs, By(by))

    sums = in_store(work)
    total = in_all(sums)
    if as_json:
        rows = [{by: key or None, **_view(one)} for key, one in sums.items()]
        document({"by": by, "rows": rows, "total": _view(total)})
    elif By(by) is By.KIND:
        shown = [(key, str(one.blobs), size(one.total)) for key, one in sums.items()]
        table(("KIND", "BLOBS", "TOTAL"), [*shown, ("in all", str(total.blobs), size(total.total))])
    else:
        shown_by = [(plain(key) or "(no job)", *_cells(one)) for key, one in sums.items()]
        header = (by.upper(), "BLOBS", *(part.name for part in Part), "TOTAL")
        table(header, [*shown_by, ("in all", *_cells(total))])


def _cells(one: Sum) -> tuple[str, ...]:
    return (str(one.blobs), *(size(one.bytes[part]) for part in Part), size(one.total))


def _view(one: Sum) -> dict[str, int]:
    return {"blobs": one.blobs, **{part.value: one.bytes[part] for part in Part}, "total": one.total}
