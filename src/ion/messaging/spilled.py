"""Data that was too large for a row lies in a blob, named by the event's `dataref`; here it comes back."""

import msgspec

from ion.errors import InvalidError
from ion.model.event import Event
from ion.ports.blobs import Blobs


async def restored(event: Event, blobs: Blobs) -> Event:
    """The event with its data in it, wherever that lay.

    Raises:
        NotFoundError: the blob is gone. InvalidError: it is not JSON. UnavailableError: the store is away.
    """
    if not event.dataref:
        return event
    raw = await blobs.get_bytes(event.dataref)
    try:
        data = msgspec.json.decode(raw)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise InvalidError(f"the data of the event {event.id} in {event.dataref} is not JSON: {error}") from error
    return msgspec.structs.replace(event, data=data, dataref="")
