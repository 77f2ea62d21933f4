"""`ion event`: root events by hand."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from ion.cli.context import Place, example, in_store, key_values
from ion.cli.output import document
from ion.errors import NotFoundError
from ion.management.events import Raised, RootEvent, RootFile, raise_event, require_hearer
from ion.model.record import Context, Kind

GATEWAY = "cli"
PEEKED = 100
"""So many events are looked at to find one of the type."""
LOOK_AGAIN_S = 0.2


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
    import asyncio

    from ion.cli.when import lasting
    from ion.messaging import codec

    within_s = lasting("--timeout", timeout)

    async def work(place: Place) -> None:
        bus, deadline = place.stores.bus, asyncio.get_running_loop().time() + within_s
        if take or bus.guarantees.peeks:  # else it would gather events that nobody takes
            await bus.ensure([event_type], [group])
        while not take:
            if found := [one for one in await bus.peek(group, PEEKED) if one.type == event_type]:
                _print(codec.encode(found[0]))
                return
            if asyncio.get_running_loop().time() >= deadline:
                raise NotFoundError(_nothing(event_type, group, timeout))
            await asyncio.sleep(LOOK_AGAIN_S)
        async with bus.subscribe([event_type], group) as receiver:
            deliveries = await receiver.receive(1, within_s)
            if not deliveries:
                raise NotFoundError(_nothing(event_type, group, timeout))
            _print(deliveries[0].raw)  # before it is taken, for the answer to that may be lost
            await receiver.ack(deliveries)

    in_store(work)


def _print(event: bytes) -> None:
    click.echo(event.decode(errors="replace"))


def _nothing(event_type: str, group: str, timeout: str) -> str:
    return f"no event of type '{event_type}' came for the subscription '{group}' within {timeout}; wait longer?"


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
