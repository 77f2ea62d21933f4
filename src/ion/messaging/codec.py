"""Events as bytes: CloudEvents 1.0 structured JSON, https://github.com/cloudevents/spec, read and written.

What the attributes mean is in `ion.messaging.wire`. The JSON of the 2018 original is read as well. What `encode` takes,
`decode` gives back; and `decode` raises nothing but `InvalidError`, whatever the bytes are.
"""

import json
import math
from typing import Any, NoReturn

import msgspec

from ion.errors import InvalidError
from ion.messaging.original import Original, from_original
from ion.messaging.wire import CloudEvent, from_wire, gateway_source, is_ours, module_source, to_wire
from ion.model.event import Event

__all__ = [
    "CONTENT_TYPE",
    "CORRELATION_MOST",
    "DEPTH_MOST",
    "TYPE_MOST",
    "decode",
    "encode",
    "gateway_source",
    "module_source",
    "valid_type",
]

CONTENT_TYPE = "application/cloudevents+json"
TYPE_MOST = 255
"""Characters of an event type: what every bus can take as a topic's name."""
CORRELATION_MOST = 255
"""Characters of a correlation id: it stands in indexes, whose entries have an end, and in headers."""
DEPTH_MOST = 256
"""Levels of an event's data. Parsers use the stack, whose room differs between hosts: what one sends, all must read."""


class _Probe(msgspec.Struct, kw_only=True):
    specversion: Any = msgspec.UNSET
    context: Any = msgspec.UNSET


_encoder = msgspec.json.Encoder()
_cloud_event = msgspec.json.Decoder(CloudEvent)
_original = msgspec.json.Decoder(Original)
_probe = msgspec.json.Decoder(_Probe)


def valid_type(event_type: str) -> bool:
    """Whether this can be an event's type: 1 to 255 printable characters without blanks."""
    return 0 < len(event_type) <= TYPE_MOST and event_type.isprintable() and " " not in event_type


def encode(event: Event) -> bytes:
    """The event as a CloudEvents document in UTF-8.

    Raises:
        InvalidError: `decode` would not give this event back; the message names the fault.
    """
    try:
        _check(event)
        if not is_ours(event.id, event.source, event.correlation_id, event.origid):
            _refuse(event.id, f"its id is not one that Ion gives to an event of source {event.source[:100]!r}")
        raw = _encoder.encode(to_wire(event))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidError(f"the event {event.id!r} cannot be written as JSON ({error}); mend its data") from error
    if b"null" in raw or _may_be_deep(raw):
        _check_tree(event)
    return raw


def decode(raw: bytes) -> Event:
    """The event that a document describes: CloudEvents 1.0 structured JSON, or the original's JSON.

    Raises:
        InvalidError: it is neither; the message names the fault.
    """
    try:
        document = _parsed(raw)
        event = from_original(document) if isinstance(document, Original) else from_wire(document)
    except RecursionError as error:
        raise InvalidError("the event is nested too deep; its sender must flatten its data") from error
    except (msgspec.MsgspecError, UnicodeError, OverflowError) as error:
        raise InvalidError(f"the event cannot be read ({error}); its sender must mend it") from error
    _check(event)
    if _may_be_deep(raw):
        _check_tree(event)
    return event


def _parsed(raw: bytes) -> CloudEvent | Original:
    if raw.count(b'"specversion"') > 1:
        _refuse_two_versions(raw)
    try:
        return _cloud_event.decode(raw)
    except msgspec.ValidationError:
        probe = _probe.decode(raw)
        if probe.context is msgspec.UNSET or probe.specversion is not msgspec.UNSET:
            raise
    return _original.decode(raw)


def _refuse_two_versions(raw: bytes) -> None:
    """Readers differ in which of two equal keys they take, and this one decides how the rest is read."""
    try:
        pairs = json.loads(raw, object_pairs_hook=list)
    except ValueError:
        return  # the typed decoder says it better
    names = [pair[0] for pair in pairs if isinstance(pair, tuple)] if isinstance(pairs, list) else []
    if names.count("specversion") > 1:
        raise InvalidError("the event has `specversion` twice; its sender must write it once")


def _check(event: Event) -> None:
    if event.time.tzinfo is None:
        _refuse(event.id, "its time has no time zone; write it with one, such as Z")
    if event.hops < 0:
        _refuse(event.id, "its hops are negative")
    if not valid_type(event.type):
        _refuse(event.id, f"its type must have 1 to {TYPE_MOST} printable characters and no blanks")
    if len(event.correlation_id) > CORRELATION_MOST:
        _refuse(event.id, f"its correlation id has more than {CORRELATION_MOST} characters")
    named = event.id + event.source + event.correlation_id + event.parent_id + event.traceparent + event.origid
    if not named.isprintable() and any(letter < " " or "\x7f" <= letter <= "\x9f" for letter in named):
        _refuse(event.id, "an id or its source has a control character")  # they become environment variables


def _may_be_deep(raw: bytes) -> bool:
    return raw.count(b"[") + raw.count(b"{") > DEPTH_MOST


def _check_tree(event: Event) -> None:
    """Walks the data level by level, without recursion. JSON has no NaN; the encoder would write null."""
    level = [event.data]
    for _ in range(DEPTH_MOST):
        if any(isinstance(value, float) and not math.isfinite(value) for value in level):
            _refuse(event.id, "its data has a number that is not finite")
        level = [child for value in level for child in _children(value)]
        if not level:
            return
    _refuse(event.id, f"its data is nested more than {DEPTH_MOST} deep")


def _children(value: Any) -> Any:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list | tuple) else ()


def _refuse(event_id: str, fault: str) -> NoReturn:
    raise InvalidError(f"the event {event_id[:100]!r} cannot be used: {fault}")
