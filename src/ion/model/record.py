"""The documents of a flow, in the shapes of the 2018 original: eventMeta, insight and modulelogs."""

from collections.abc import Callable
from enum import StrEnum
from typing import Any

import msgspec

from ion.model.event import Event
from ion.model.manifest import Manifest


class Kind(StrEnum):
    EVENT_META = "eventMeta"
    INSIGHT = "insight"
    MODULE_LOGS = "modulelogs"


class Context(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Whose record it is. `name` is the module (or gateway) that produced it."""

    name: str
    event_id: str
    correlation_id: str
    parent_event_id: str
    document_type: Kind


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One document: `id` is unique within its kind; `body` holds the fields beside `id` and `context`."""

    id: str
    context: Context
    body: dict[str, Any]

    def document(self) -> dict[str, Any]:
        """The record as clients see it."""
        return {"id": self.id, "context": msgspec.to_builtins(self.context), **self.body}


def key_values(data: Any) -> list[dict[str, str]]:
    """The key/value list of an event's data: values that are not strings become JSON text."""
    if not isinstance(data, dict):
        return [] if data is None else [{"key": "data", "value": _text(data)}]
    return [{"key": key, "value": _text(value)} for key, value in data.items()]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def event_meta(event: Event, producer: str, uri: Callable[[str], str]) -> Record:
    """The record of an event; `uri` turns a blob path into its URI."""
    files = [{"key": file.path, "value": uri(file.blob)} for file in event.files]
    return Record(
        id=event.id,
        context=_context(producer, event.id, event.correlation_id, event.parent_id, Kind.EVENT_META),
        body={
            "type": event.type,
            "subject": event.subject,
            "files": [file.path for file in event.files],
            "data": [*key_values(event.data), *files],
        },
    )


def insight(manifest: Manifest) -> Record:
    """The record of what an execution found; its id is the execution's."""
    data = [
        {"key": i.key, "value": i.value} if i.typed is None else {"key": i.key, "value": i.value, "typed": i.typed}
        for i in manifest.insights
    ]
    return Record(
        id=manifest.execution,
        context=_context(
            manifest.module, manifest.event_id, manifest.correlation_id, manifest.parent_event_id, Kind.INSIGHT
        ),
        body={"data": data},
    )


def module_logs(event: Event, *, module: str, attempt: int, logs: str, succeeded: bool, run: int = 0) -> Record:
    """The record of an attempt's log; `logs` is the log blob's URI."""
    name = logs_id(module, event.id, attempt, run)
    return Record(
        id=name,
        context=_context(module, event.id, event.correlation_id, event.parent_id, Kind.MODULE_LOGS),
        body={"desc": name, "logs": logs, "succeeded": succeeded},
    )


def logs_id(module: str, event_id: str, attempt: int | str, run: int = 0) -> str:
    """The id of the record of an attempt's log. A later run says so, lest it take the place of the first one's."""
    again = f"-run:{run}" if run else ""
    return f"module:{module}-event:{event_id}{again}-attempt:{attempt}"


def _context(name: str, event_id: str, correlation_id: str, parent: str, kind: Kind) -> Context:
    return Context(
        name=name, event_id=event_id, correlation_id=correlation_id, parent_event_id=parent, document_type=kind
    )
