"""`ion event`: root events by hand."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ion.cli.context import Place, example, in_store, key_values
from ion.cli.output import document
from ion.management.events import Raised, RootEvent, RootFile, raise_event, require_hearer
from ion.model.record import Context, Kind

GATEWAY = "cli"


@click.group(epilog=example("ion event create --event-type photo --file cat.jpg"))
def event() -> None:
    """Raise events."""


@event.command(
    epilog=example(
        "ion event create --event-type photo --set kind=cat --file cat.jpg",
        "ion event create --event-type photo --event-id 7 --correlation-id album-3",
    )
)
@click.option("--event-type", required=True, metavar="TYPE", help="What happened; modules subscribe to it.")
@click.option("--event-id", default="", metavar="ID", help="Its id: raising it again changes nothing. Else a new one.")
@click.option("--correlation-id", default="", metavar="ID", help="The flow that it belongs to; else a new one.")
@click.option("--parent-event-id", default="", metavar="ID", help="The event that it came of.")
@click.option("--event-name", default=GATEWAY, metavar="NAME", help="Who raises it.", show_default=True)
@click.option("--set", "values", multiple=True, metavar="KEY=VALUE", help="A key/value of the event; may be repeated.")
@click.option(
    "--file", "files", multiple=True, type=click.Path(path_type=Path), help="A file of the event; may be repeated."
)
@click.option("--subject", default="", help="What the event is about; else its first file's name or `url`.")
@click.option("--force", is_flag=True, help="Raise it even if no module hears it.")
def create(values: tuple[str, ...], files: tuple[Path, ...], event_name: str, *, force: bool, **given: str) -> None:
    """Raise a root event and print its context as JSON.

    It starts jobs when a dispatcher serves the store (`ion up`, `ion run`).
    """
    root = RootEvent(
        type=given["event_type"],
        data=key_values(values),
        files=tuple(RootFile(name=file.name, file=file) for file in files),
        subject=given["subject"],
        id=given["event_id"],
        correlation_id=given["correlation_id"],
        parent_id=given["parent_event_id"],
    )
    document(in_store(lambda place: _create(place, root, event_name, force=force)))


async def _create(place: Place, root: RootEvent, gateway: str, *, force: bool) -> Mapping[str, Any]:
    if not force:
        await require_hearer(root.type, place.ledger)
    return answer(await raise_event(root, gateway=gateway, ledger=place.ledger, blobs=place.blobs), gateway)


def answer(raised: Raised, gateway: str) -> Mapping[str, Any]:
    """What the front API answers too: the context of the event's record, and its type."""
    event = raised.event
    context = Context(
        name=gateway,
        event_id=event.id,
        correlation_id=event.correlation_id,
        parent_event_id=event.parent_id,
        document_type=Kind.EVENT_META,
    )
    repeated = {"duplicate": True} if raised.duplicate else {}
    return {"context": context, "type": event.type, **repeated}
