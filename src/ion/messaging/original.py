"""The JSON of an event in the 2018 original of Ion, which outsiders and clients written for it still send.

Its ids are any text, as people typed it: a UUID stays the event's id, anything else is kept as a foreign event's id is.
It names no time; the same bytes must always give the same event, so that is 1970.
"""

from typing import Any

import msgspec

from ion.errors import InvalidError
from ion.messaging.wire import UNKNOWN_TIME, gateway_source, known_trace, module_source
from ion.model import ids
from ion.model.event import Event


class OriginalContext(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`name` is the module or gateway that raised the event; a root has the same name as its parent."""

    event_id: str
    name: str = ""
    correlation_id: str = ""
    parent_event_id: str = ""


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    key: str
    value: str


class Original(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`previous_stages` meant the modules already passed; Ion follows the parent instead."""

    context: OriginalContext
    type: str
    previous_stages: Any = None
    data: tuple[Pair, ...] | None = None


def from_original(document: Original) -> Event:
    """Raises InvalidError."""
    context = document.context
    if not context.event_id:
        raise InvalidError("the event has an empty `eventId`; its sender must set it")
    root = context.name != "" and context.name == context.parent_event_id
    source = gateway_source(context.name) if root else module_source(context.name)
    known = ids.is_uuid(context.event_id)
    event_id = context.event_id if known else ids.foreign_event_id(source, context.event_id)
    return Event(
        id=event_id,
        type=document.type,
        source=source,
        correlation_id=context.correlation_id or event_id,
        parent_id=context.parent_event_id,
        time=UNKNOWN_TIME,
        traceparent=known_trace("", event_id),
        origid="" if known else context.event_id,
        data={pair.key: pair.value for pair in document.data or ()},
    )
