"""The attributes of an event on the wire, and what they mean inside Ion.

Ion's own attributes are extensions: `correlationid`, `parentid`, `traceparent`, `origid`, `hops`, `dataref` (the
documented claim check) and `wrapped`. The files of an event stand in its data, as `files`. Where the data has a `files`
of its own or is no object, `wrapped` is true and the data is `{"data": ..., "files": [...]}`, so that any event comes
back as it went.

An event is Ion's own if it has a correlation id and an id that Ion gave: a UUID, and either its source begins with
`ion:` or the id is the one derived from its source and `origid`. Everything else was made elsewhere, and gets what it
lacks in a way that repeats, so that the same bytes always give the same event: its id is derived (R2) and the
correlation id is that id; it has no parent; its trace is its own `traceparent` or derived from the id; its time is 1970
if it names none. Extensions that Ion does not know are dropped. Its data is plain data: it cannot name files or blobs
of Ion's. `data_base64` stays base64, in an object beside `datacontenttype`; so does a foreign `dataref` without data.
"""

from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import msgspec

from ion.errors import InvalidError
from ion.messaging import trace
from ion.model import ids
from ion.model.event import Event, FileRef

SPEC_VERSION = "1.0"
UNKNOWN_TIME = datetime(1970, 1, 1, tzinfo=UTC)

_OURS = "ion:"
_JSON = "application/json"


class CloudEvent(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The attributes. CloudEvents says that a null is the same as an absent attribute."""

    specversion: str
    id: str
    source: str
    type: str
    subject: str | None = None
    time: datetime | None = None
    datacontenttype: str | None = None
    correlationid: str | None = None
    parentid: str | None = None
    traceparent: str | None = None
    origid: str | None = None
    hops: int | None = None
    dataref: str | None = None
    wrapped: bool | None = None
    data: Any = msgspec.UNSET
    data_base64: str | None = None


def module_source(name: str) -> str:
    """The `source` of the events that a module raises."""
    return f"{_OURS}module/{quote(name, safe='')}"


def gateway_source(name: str) -> str:
    """The `source` of the root events of a gateway."""
    return f"{_OURS}gateway/{quote(name, safe='')}"


def is_ours(event_id: str, source: str, correlation_id: str, origid: str) -> bool:
    """Whether Ion gave this id."""
    if not correlation_id or not ids.is_uuid(event_id):
        return False
    return source.startswith(_OURS) or (origid != "" and event_id == ids.foreign_event_id(source, origid))


def known_trace(traceparent: str, event_id: str) -> str:
    """The sender's trace if it is valid, else one derived from the event's id: every event carries one (R10)."""
    return traceparent if trace.parse(traceparent) else trace.child("", event_id)


def to_wire(event: Event) -> CloudEvent:
    data = event.data
    wrapped = "files" in data if isinstance(data, dict) else bool(event.files)
    if wrapped:
        data = {"data": data, "files": event.files}
    elif event.files:
        data = {**data, "files": event.files}
    return CloudEvent(
        specversion=SPEC_VERSION,
        id=event.id,
        source=event.source,
        type=event.type,
        subject=event.subject or None,
        time=_utc(event.time),
        datacontenttype=_JSON,
        correlationid=event.correlation_id,
        parentid=event.parent_id or None,
        traceparent=event.traceparent or None,
        origid=event.origid or None,
        hops=event.hops or None,
        dataref=event.dataref or None,
        wrapped=wrapped or None,
        data=data,
    )


def from_wire(wire: CloudEvent) -> Event:
    """Raises InvalidError, or msgspec's error where files are not as they should be."""
    if wire.specversion != SPEC_VERSION:
        raise InvalidError(f"the event has specversion {wire.specversion[:40]!r}; Ion reads {SPEC_VERSION!r} only")
    if not wire.id or not wire.source:
        raise InvalidError("the event has an empty `id` or `source`; its sender must set both")
    if wire.data is not msgspec.UNSET and wire.data_base64 is not None:
        raise InvalidError("the event has both `data` and `data_base64`; its sender must choose one")
    if is_ours(wire.id, wire.source, wire.correlationid or "", wire.origid or ""):
        return _own(wire)
    return _foreign(wire)


def _own(wire: CloudEvent) -> Event:
    data = _plain_data(wire)
    files: Any = ()
    if wire.wrapped:
        files, data = _unwrapped(data)
    elif isinstance(data, dict) and "files" in data:
        files = data.pop("files")
    return Event(
        id=wire.id,
        type=wire.type,
        source=wire.source,
        correlation_id=wire.correlationid or "",
        parent_id=wire.parentid or "",
        time=_utc(wire.time),
        subject=wire.subject or "",
        traceparent=wire.traceparent or "",
        origid=wire.origid or "",
        hops=wire.hops or 0,
        files=msgspec.convert(files, tuple[FileRef, ...]),
        data=data,
        dataref=wire.dataref or "",
    )


def _foreign(wire: CloudEvent) -> Event:
    event_id = ids.foreign_event_id(wire.source, wire.id)
    data = _plain_data(wire)
    if wire.data is msgspec.UNSET and wire.data_base64 is None and wire.dataref:
        data = {"datacontenttype": wire.datacontenttype or _JSON, "dataref": wire.dataref}
    return Event(
        id=event_id,
        type=wire.type,
        source=wire.source,
        correlation_id=event_id,
        parent_id="",
        time=_utc(wire.time),
        subject=wire.subject or "",
        traceparent=known_trace(wire.traceparent or "", event_id),
        origid=wire.id,
        data=data,
    )


def _plain_data(wire: CloudEvent) -> Any:
    if wire.data_base64 is not None:
        msgspec.convert(wire.data_base64, bytes)  # refuses what is not base64
        return {"datacontenttype": wire.datacontenttype or _JSON, "data_base64": wire.data_base64}
    return {} if wire.data is msgspec.UNSET else wire.data


def _unwrapped(data: Any) -> tuple[Any, Any]:
    if not isinstance(data, dict) or data.keys() != {"data", "files"}:
        raise InvalidError("the event is `wrapped`, so its data must be an object of just `data` and `files`")
    return data["files"], data["data"]


def _utc(time: datetime | None) -> datetime:
    """In UTC; a time without a zone stays as it is, to be refused."""
    if time is None:
        return UNKNOWN_TIME
    return time if time.tzinfo in (None, UTC) else time.astimezone(UTC)
