"""`ion event`: root events by hand."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from ion.cli.context import example, key_values, manage
from ion.cli.output import document, raw
from ion.management.events import Raised, RootFile
from ion.management.verbs import Management
from ion.management.verbs.events import NewEvent
from ion.model.record import Context, Kind

GATEWAY = "cli"


@click.group(
    epilog=example(
        "ion event create --event-type photo --file cat.jpg", "ion event get --event-type photo --sub-name me"
    )
)
def event() -> None:
    """Raise events; look at those on the bus."""


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
    new = NewEvent(
        type=given["event_type"],
        data=key_values(values),
        subject=given["subject"],
        id=given["event_id"],
        correlation_id=given["correlation_id"],
        parent_id=given["parent_event_id"],
        gateway=event_name,
        force=force,
    )
    with_it = tuple(RootFile(name=file.name, file=file) for file in files)
    document(answer(manage(lambda ion: ion.events.create(event=new, files=with_it)), event_name))


def _subscription(command: Callable[..., None]) -> Callable[..., None]:
    """The options that name a subscription."""
    named = click.option("--sub-name", required=True, metavar="NAME", help="The subscription; a new one is made.")
    typed = click.option("--event-type", required=True, metavar="TYPE", help="Events of this type.")
    timed = click.option(
        "--timeout", default="5s", metavar="DURATION", show_default=True, help="How long to wait for one."
    )
    return typed(named(timed(command)))


@event.command(epilog=example("ion event peek --event-type photo --sub-name me"))
@_subscription
def peek(event_type: str, sub_name: str, timeout: str) -> None:
    """Print the next event of a subscription, and leave it there."""
    _print_next(event_type, sub_name, timeout, take=False)


@event.command(epilog=example("ion event get --event-type photo --sub-name me --timeout 1m"))
@_subscription
def get(event_type: str, sub_name: str, timeout: str) -> None:
    """Take the next event of a subscription out of the bus, and print it as CloudEvents JSON.

    A subscription receives what is published after it was made, which is when it is first named here.
    """
    _print_next(event_type, sub_name, timeout, take=True)


def _print_next(event_type: str, group: str, timeout: str, *, take: bool) -> None:
    from ion.cli.when import lasting

    within_s = lasting("--timeout", timeout)

    async def work(ion: Management) -> None:
        event = ion.events.next(event_type=event_type, group=group, timeout_s=within_s, take=take)
        async for piece in event:  # printed before it is taken, for the answer to that may be lost
            raw(piece)
        raw(b"\n")

    manage(work)


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
