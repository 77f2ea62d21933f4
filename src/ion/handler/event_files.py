"""What a module says in JSON: the events it raises and its insights, read strictly.

Each comes in the form of the 2018 original, a list of `{"key": ..., "value": ...}`, or as an object. The list form
keeps every key in the event's data but `eventType` and `files`; `inputs` can only be said in the object form, for in
the list it may be any module's own key. Nothing is guessed: a field that is not known is most likely a mistyped one,
and passing over it would lose what it was to say.
"""

import json
from typing import Any, NoReturn

import msgspec

from ion.errors import ContractError
from ion.handler.paths import shown
from ion.messaging.nearest import suggestion
from ion.model.manifest import Insight

SUBJECT_MOST = 1024
"""Characters of a subject: it stands in every listing, and in the job's row."""


class Raised(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An event file, whichever its form. `files` are paths below `out/data`, `inputs` below `in/data`."""

    type: str
    files: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    subject: str = ""
    data: dict[str, Any] = {}


class _Pair(msgspec.Struct, frozen=True, kw_only=True):
    key: str
    value: Any


_FIELDS = frozenset(Raised.__struct_fields__)


def parse_event(name: str, content: bytes) -> Raised:
    """Reads an event file; `name` is what a message calls it. Raises ContractError, and nothing else."""
    document = _json(name, content)
    raised = _from_pairs(name, document) if isinstance(document, list) else _from_object(name, document)
    if not raised.type:
        _refuse(name, "names no type for its event: set 'eventType' in the list form, or 'type' in the object form")
    if len(raised.subject) > SUBJECT_MOST or not raised.subject.isprintable():
        _refuse(name, f"has a subject of more than {SUBJECT_MOST} characters, or one that cannot be printed")
    return raised


def parse_insights(name: str, content: bytes) -> tuple[Insight, ...]:
    """Reads insights. Raises ContractError, and nothing else."""
    document = _json(name, content)
    if isinstance(document, dict):
        return tuple(_insight(key, value) for key, value in document.items())
    if isinstance(document, list):
        return tuple(_insight(pair.key, pair.value) for pair in _pairs(name, document))
    raise ContractError(f'{name} is neither a list of {{"key", "value"}} nor an object')


def _json(name: str, content: bytes) -> Any:
    try:
        decoded = msgspec.json.decode(content)
        json.loads(content, object_pairs_hook=_refuse_twice)  # which of two was meant nobody knows
    except _TwiceError as error:
        raise ContractError(f"{name} has the key '{shown(str(error))}' twice") from error
    except RecursionError as error:
        raise ContractError(f"{name} is nested too deep") from error
    except (msgspec.MsgspecError, ValueError, OverflowError) as error:
        raise ContractError(f"{name} is not good JSON: {error}") from error
    return decoded


class _TwiceError(Exception):
    """A key that stands twice in one object."""


def _refuse_twice(pairs: list[tuple[str, Any]]) -> None:
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise _TwiceError(key)
        seen.add(key)


def _from_object(name: str, document: Any) -> Raised:
    if isinstance(document, dict):
        for key in document:
            if key not in _FIELDS:
                known = suggestion("type" if key == "eventType" else key, _FIELDS)
                _refuse(name, f"has the field '{shown(key)}', which no event has; {known}")
    try:
        return msgspec.convert(document, Raised)
    except msgspec.ValidationError as error:
        raise ContractError(f"{name} is not an event: {error}") from error


def _from_pairs(name: str, document: list[Any]) -> Raised:
    data: dict[str, Any] = {}
    for pair in _pairs(name, document):
        if pair.key in data:
            _refuse(name, f"has the key '{shown(pair.key)}' twice")
        data[pair.key] = pair.value
    event_type, files = data.pop("eventType", ""), data.pop("files", "")
    subject = data.get("subject", "")
    for key, value in (("eventType", event_type), ("files", files), ("subject", subject)):
        if not isinstance(value, str):
            _refuse(name, f"has a '{key}' that is not text")
    return Raised(type=event_type, files=_split(files), subject=subject, data=data)


def _pairs(name: str, document: list[Any]) -> list[_Pair]:
    try:
        return msgspec.convert(document, list[_Pair])
    except msgspec.ValidationError as error:
        raise ContractError(f'{name} is not a list of {{"key", "value"}}: {error}') from error


def _split(files: str) -> tuple[str, ...]:
    """The paths of the original's comma-separated list; a name with a comma needs the object form."""
    return tuple(filter(None, (path.strip() for path in files.split(","))))


def _insight(key: str, value: Any) -> Insight:
    if isinstance(value, str):
        return Insight(key=key, value=value)
    return Insight(key=key, value=msgspec.json.encode(value).decode(), typed=value)


def _refuse(name: str, fault: str) -> NoReturn:
    raise ContractError(f"{name} {fault}")
