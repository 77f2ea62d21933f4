"""CloudEvents 1.0 over HTTP, as strangers send them: the attributes and the data of one event.

In structured mode one JSON document holds everything; in binary mode the attributes are `ce-` headers and the body is
the data. Data that is JSON becomes the event's key/values, any other content the event's one file. Of the extensions
`correlationid` and `traceparent` are read; the others are dropped, `dataref` among them on purpose: inside Ion it names
a blob, which no stranger may choose.
"""

import base64
import binascii
import mimetypes
from datetime import datetime
from typing import Any
from urllib.parse import unquote

import msgspec
from starlette.datastructures import Headers

from ion.errors import InvalidError
from ion.management.events import RootEvent
from ion.management.root_files import check_name

STRUCTURED = "application/cloudevents+json"
FAMILY = "application/cloudevents"
READ = ("specversion", "id", "source", "type", "subject", "time", "correlationid", "traceparent")


class Attributes(msgspec.Struct, frozen=True, kw_only=True):
    """The context attributes that Ion reads, and no others."""

    specversion: str
    id: str
    source: str
    type: str
    subject: str | None = None
    time: datetime | None = None
    correlationid: str | None = None
    traceparent: str | None = None

    def root(self, data: Any) -> RootEvent:
        """The root event, without files. A foreign id, even where it looks like one of ours."""
        return RootEvent(
            type=self.type,
            id=self.id,
            foreign=True,
            source=self.source,
            subject=self.subject or "",
            time=self.time,
            correlation_id=self.correlationid or "",
            traceparent=self.traceparent or "",
            data={} if data is None else data,
        )


class _Document(Attributes, frozen=True, kw_only=True):
    datacontenttype: str | None = None
    data: Any = None
    data_base64: str | None = None


def structured(document: bytes) -> tuple[RootEvent, bytes | None, str]:
    """The event of a structured document; with the content and media type of its file, if it has binary data.

    Raises:
        InvalidError: it is no CloudEvent of version 1.0.
    """
    try:
        event = msgspec.json.decode(document, type=_Document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidError(f"the body is not a CloudEvent in JSON: {error}") from error
    _check(event)
    if event.data_base64 is None:
        return event.root(event.data), None, ""
    if event.data is not None:
        raise InvalidError("the CloudEvent has both 'data' and 'data_base64': send one of them")
    media = event.datacontenttype or "application/octet-stream"
    content = _unpacked(event.data_base64)
    if is_json(media):
        return event.root(json_data(content)), None, ""
    return event.root(None), content, media


def binary(headers: Headers) -> Attributes:
    """The attributes of a request in binary mode. Raises InvalidError."""
    given = {name: _text(name, headers[f"ce-{name}"]) for name in READ if f"ce-{name}" in headers}
    given.setdefault("traceparent", headers.get("traceparent", ""))
    try:
        attributes = msgspec.convert(given, Attributes)
    except msgspec.ValidationError as error:
        raise InvalidError(f"the ce- headers are not those of a CloudEvent: {error}") from error
    _check(attributes)
    return attributes


def optional(headers: Headers) -> dict[str, Any]:
    """What `ce-` headers may add to an event that is not sent as a CloudEvent: fields of `RootEvent`."""
    names = {"ce-id": "id", "ce-source": "source", "ce-subject": "subject", "ce-correlationid": "correlation_id"}
    fields: dict[str, Any] = {field: _text(name, headers[name]) for name, field in names.items() if name in headers}
    traceparent = headers.get("ce-traceparent", headers.get("traceparent", ""))
    return {**fields, "traceparent": traceparent, "foreign": "id" in fields}


def is_binary(headers: Headers) -> bool:
    """Whether a request means to be a CloudEvent in binary mode."""
    return any(f"ce-{name}" in headers for name in READ[:4])


def is_json(media: str) -> bool:
    """Whether a media type is JSON; none at all is taken for it, as the CloudEvents JSON format does."""
    kind = media.partition(";")[0].strip().lower()
    return kind in {"", "application/json", "text/json"} or kind.endswith("+json")


def json_data(content: bytes) -> Any:
    """The value of a JSON document; nothing is an empty object. Raises InvalidError."""
    try:
        return msgspec.json.decode(content) if content else {}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidError(f"the data is not JSON: {error}") from error


def file_name(subject: str, media: str) -> str:
    """What the one file of an event is called: as its subject's last part, or by its media type."""
    name = subject.rpartition("/")[2]
    try:
        return check_name(name)
    except InvalidError:
        return "data" + (mimetypes.guess_extension(media.partition(";")[0].strip()) or ".bin")


def _check(event: Attributes) -> None:
    if event.specversion != "1.0":
        raise InvalidError(f"the CloudEvent has specversion {event.specversion[:20]!r}: only 1.0 is understood")
    for name in ("id", "source", "type"):
        if not getattr(event, name):
            raise InvalidError(f"the CloudEvent's '{name}' is empty: CloudEvents need one")
    if event.time is not None and event.time.tzinfo is None:
        raise InvalidError("the CloudEvent's 'time' has no time zone: write it as 2024-05-31T12:00:00Z")


def _text(name: str, value: str) -> str:
    """Header values are percent-encoded UTF-8 (CloudEvents HTTP binding, 3.1.3.2)."""
    try:
        return unquote(value.strip().strip('"'), errors="strict")
    except UnicodeDecodeError as error:
        raise InvalidError(f"the header {name} is not percent-encoded UTF-8") from error


def _unpacked(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidError(f"the CloudEvent's 'data_base64' is not base64: {error}") from error
