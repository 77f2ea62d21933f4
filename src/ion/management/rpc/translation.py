"""Structs ↔ protobuf messages, by their type hints.

A struct's message has its fields under the same names; `ion_v1.proto` says how each kind of value stands there. What
moves a field is made once, from its hint, as a pair of small closures; a struct is then moved without looking at
anything but its values. Reading trusts nothing: what a client sends either becomes a struct whose every field has its
type, or is refused with one sentence that names the field.

Not on the wire are `None` and what a message leaves out: both mean the field's default.
"""

import inspect
import math
import types
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cache
from operator import attrgetter
from typing import Any, Final, NamedTuple, TypeAlias, Union, get_args, get_origin, get_type_hints

import msgspec
from google.protobuf.message import Message

from ion.errors import InvalidError
from ion.management.rpc import ion_v1_pb2
from ion.management.verbs import modules as verbs_modules
from ion.model import job as model_job

Write: TypeAlias = Callable[[Any, Message], None]
"""Puts a value into a message."""
Read: TypeAlias = Callable[[Message], Any]
"""Takes a value out of a message."""

NAMES: Final = {model_job.Change: "JobChange", verbs_modules.Change: "ModuleChange"}
"""Messages that are not called like their structs, for two structs have one name."""
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MISSING: Final = object()


class Field(NamedTuple):
    """How one field of a message is written and read."""

    name: str
    write: Write
    read: Read


class Codec(NamedTuple):
    """How a struct becomes a message of its own, and back. `fill` writes into one that is there."""

    message: type[Message]
    fill: Write
    read: Read

    def made(self, value: object) -> Message:
        """The message of a struct."""
        message = self.message()
        self.fill(value, message)
        return message


def message_of(name: str) -> type[Message]:
    """The class of a message of `ion.v1`."""
    made: type[Message] = getattr(ion_v1_pb2, name)
    return made


@cache
def codec_of(struct: type[msgspec.Struct]) -> Codec:
    """How a struct is moved; made at its first use."""
    hints = get_type_hints(struct)
    fields = [field_of(one.name, hints[one.name], _default(one)) for one in msgspec.structs.fields(struct)]
    writers = [(attrgetter(one.name), one.write) for one in fields]
    readers = [(one.name, one.read) for one in fields]

    def fill(value: object, message: Message) -> None:
        for get, write in writers:
            write(get(value), message)

    def read(message: Message) -> msgspec.Struct:
        return struct(**{name: take(message) for name, take in readers})

    return Codec(message_of(NAMES.get(struct, struct.__name__)), fill, read)


def _default(field: msgspec.structs.FieldInfo) -> object:
    if field.default is not msgspec.NODEFAULT:
        return field.default
    return MISSING if field.default_factory is msgspec.NODEFAULT else field.default_factory()


def field_of(name: str, hint: Any, default: object = MISSING) -> Field:
    """How a field is moved: by its hint, with the default that stands for what is absent."""
    if _holds_any(hint):
        return _json(name, hint, default)
    if get_origin(hint) in (Union, types.UnionType):
        (hint,) = (kind for kind in get_args(hint) if kind is not types.NoneType)
    kind = get_origin(hint) or hint
    if kind in (tuple, Sequence):
        return _repeated(name, get_args(hint)[0])
    if kind in (dict, Mapping):
        return _mapped(name, get_args(hint)[0])
    if issubclass(kind, msgspec.Struct):
        return _struct(name, kind, default)
    return _time(name, default) if kind is datetime else _single(name, kind, default)


def _holds_any(hint: Any) -> bool:
    return hint is Any or any(_holds_any(part) for part in get_args(hint))


def _missing(name: str) -> InvalidError:
    return InvalidError(f"the field '{name}' is missing: give it")


# ---- single values ------------------------------------------------------------------------------------------------


def _single(name: str, kind: type, default: object) -> Field:
    """A number, a text or a word. One that is `optional` in the proto may be absent; any other is empty then."""
    get: Read = attrgetter(name)
    if issubclass(kind, StrEnum):
        get = _then(get, _word(name, kind))
    elif kind is float:
        get = _then(get, lambda value: _finite(name, value))
    empty = "" if issubclass(kind, str) else kind()

    def write(value: Any, message: Message) -> None:
        if value is not None:
            setattr(message, name, value)

    def write_full(value: Any, message: Message) -> None:
        if value != empty:
            setattr(message, name, value)

    if default is not MISSING and default != empty:  # `optional`
        return Field(name, write, lambda message: _same(get(message), default) if message.HasField(name) else default)
    if kind is float and default is not MISSING:
        return Field(name, write_full, lambda message: _same(get(message), default))
    return Field(name, write_full, get)


def _then(get: Read, read_one: Callable[[Any], Any]) -> Read:
    return lambda message: read_one(get(message))


def _same(value: object, default: object) -> object:
    """The very default where the value equals it: msgspec leaves out no other, and a revision's id is of its JSON."""
    return default if value == default else value


def _word(name: str, kind: type[StrEnum]) -> Callable[[str], StrEnum]:
    words = {one.value: one for one in kind}

    def read(text: str) -> StrEnum:
        try:
            return words[text]
        except KeyError:
            if not text:
                raise _missing(name) from None
            known = ", ".join(word for word in words if word)
            raise InvalidError(f"'{name}' cannot be {text[:40]!r}: give one of {known}") from None

    return read


def _finite(name: str, value: float) -> float:
    if math.isfinite(value):
        return value
    raise InvalidError(f"'{name}' is {value}: give a number")


def _time(name: str, default: object) -> Field:
    get = attrgetter(name)

    def write(value: datetime | None, message: Message) -> None:
        if value is not None:
            since = value - EPOCH
            stamp = get(message)
            stamp.SetInParent()
            stamp.seconds, stamp.nanos = since.days * 86_400 + since.seconds, since.microseconds * 1000

    def read(message: Message) -> object:
        if not message.HasField(name):
            if default is MISSING:
                raise _missing(name)
            return default
        stamp = get(message)
        try:
            return EPOCH + timedelta(seconds=stamp.seconds, microseconds=stamp.nanos // 1000)
        except OverflowError:
            raise InvalidError(f"'{name}' is no time between the years 1 and 9999: give one") from None

    return Field(name, write, read)


def _json(name: str, hint: Any, default: object) -> Field:
    """Any JSON value, as text; an empty text is what is absent."""
    get = attrgetter(name)
    decode = msgspec.json.Decoder(hint).decode
    encode = msgspec.json.Encoder().encode
    absent = msgspec.json.encode({} if default is MISSING else default).decode()

    def write(value: object, message: Message) -> None:
        if value is not None or default is not None:
            setattr(message, name, encode(value).decode())

    def read(message: Message) -> object:
        try:
            return decode(get(message) or absent)
        except (msgspec.DecodeError, msgspec.ValidationError, RecursionError) as error:
            raise InvalidError(f"'{name}' is no JSON text of what belongs there: {error}") from error

    return Field(name, write, read)


# ---- structs, and several values ----------------------------------------------------------------------------------


def _struct(name: str, kind: type[msgspec.Struct], default: object) -> Field:
    codec = codec_of(kind)
    fill, read_one = codec.fill, codec.read
    get = attrgetter(name)
    if default is MISSING and all(not one.required for one in msgspec.structs.fields(kind)):
        default = kind()

    def write(value: object, message: Message) -> None:
        if value is not None:
            part = get(message)
            part.SetInParent()
            fill(value, part)

    def read(message: Message) -> object:
        if message.HasField(name):
            return _same(read_one(get(message)), default)
        if default is MISSING:
            raise _missing(name)
        return default

    return Field(name, write, read)


def _repeated(name: str, kind: type) -> Field:
    get = attrgetter(name)
    if issubclass(kind, msgspec.Struct):
        codec = codec_of(kind)
        fill, read_one = codec.fill, codec.read

        def write(values: Sequence[object], message: Message) -> None:
            add = get(message).add
            for value in values:
                fill(value, add())

        return Field(name, write, lambda message: tuple([read_one(part) for part in get(message)]))

    def write_plain(values: Sequence[object], message: Message) -> None:
        if values:
            get(message).extend(values)

    if issubclass(kind, StrEnum):
        word = _word(name, kind)
        return Field(name, write_plain, lambda message: tuple([word(part) for part in get(message)]))
    return Field(name, write_plain, lambda message: tuple(get(message)))


def _mapped(name: str, key: type) -> Field:
    get = attrgetter(name)

    def write(values: Mapping[Any, object], message: Message) -> None:
        if values:
            get(message).update(values)

    if issubclass(key, StrEnum):
        word = _word(name, key)
        return Field(name, write, lambda message: {word(one): value for one, value in get(message).items()})
    return Field(name, write, lambda message: dict(get(message)))


# ---- arguments ----------------------------------------------------------------------------------------------------


class Arguments(NamedTuple):
    """How a verb's keyword arguments become its request, and back. What is not given is left out."""

    message: type[Message]
    fields: Mapping[str, Field]

    def made(self, given: Mapping[str, Any]) -> Message:
        """Raises InvalidError: something does not go into its field (a number too large, a text that is none)."""
        message = self.message()
        for name, value in given.items():
            try:
                self.fields[name].write(value, message)
            except (ValueError, TypeError) as error:
                raise InvalidError(f"'{name}' cannot be sent: {error}") from error
        return message

    def read(self, message: Message) -> dict[str, Any]:
        """Raises InvalidError: see the module's text."""
        return {name: field.read(message) for name, field in self.fields.items()}


def arguments_of(verb: Callable[..., Any], message: type[Message]) -> Arguments:
    """How the arguments of a verb are moved."""
    hints = get_type_hints(verb)
    given = [one for one in inspect.signature(verb).parameters.values() if one.name != "self"]
    defaults = {one.name: MISSING if one.default is inspect.Parameter.empty else one.default for one in given}
    return Arguments(message, {name: field_of(name, hints[name], value) for name, value in defaults.items()})
