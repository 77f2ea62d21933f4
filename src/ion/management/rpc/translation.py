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
from typing import Any, Final, NamedTuple, NoReturn, TypeAlias, Union, get_args, get_origin, get_type_hints

import msgspec
from google.protobuf.message import Message

from ion.errors import InvalidError
from ion.management.rpc import ion_v1_pb2
from ion.management.verbs import modules as verbs_modules
from ion.model import job as model_job

Write: TypeAlias = Callable[[Any, Message], None]
"""Puts a value into a message."""
Take: TypeAlias = Callable[[Any], Any]
"""Makes a value of what stands in a message's field."""

NAMES: Final = {model_job.Change: "JobChange", verbs_modules.Change: "ModuleChange"}
"""Messages that are not called like their structs, for two structs have one name."""
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MISSING: Final = object()


class Field(NamedTuple):
    """How one field of a message is written and read.

    `take`: None takes it as it stands. `absent` gives the value of a field without a default that a message leaves out.
    """

    name: str
    write: Write
    take: Take | None = None
    absent: Callable[[], Any] | None = None


class Codec(NamedTuple):
    """How a struct becomes a message of its own, and back. `fill` writes into one that is there."""

    message: type[Message]
    fill: Write
    read: Callable[[Message], Any]

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
    message_kind = message_of(NAMES.get(struct, struct.__name__))
    writers = [(attrgetter(one.name), one.write) for one in fields]
    values = reader(message_kind, fields)

    def fill(value: object, message: Message) -> None:
        for get, write in writers:
            write(get(value), message)

    def read(message: Message) -> msgspec.Struct:
        return struct(**values(message))

    return Codec(message_kind, fill, read)


def reader(kind: type[Message], fields: Sequence[Field]) -> Callable[[Message], dict[str, Any]]:
    """Takes the values out of a message, those with defaults only if they are there."""
    numbers = kind.DESCRIPTOR.fields_by_name
    takes = {numbers[one.name].number: (one.name, one.take) for one in fields}
    needed = [(one.name, one.absent) for one in fields if one.absent is not None]

    def read(message: Message) -> dict[str, Any]:
        values = {}
        for field, value in message.ListFields():  # what is set, in one go
            name, take = takes[field.number]
            values[name] = value if take is None else take(value)
        for name, absent in needed:
            if name not in values:
                values[name] = absent()
        return values

    return read


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
        return _repeated(name, get_args(hint)[0], default)
    if kind in (dict, Mapping):
        return _mapped(name, get_args(hint)[0], default)
    if issubclass(kind, msgspec.Struct):
        return _struct(name, kind, default)
    return _time(name, default) if kind is datetime else _single(name, kind, default)


def _holds_any(hint: Any) -> bool:
    return hint is Any or any(_holds_any(part) for part in get_args(hint))


def _required(default: object, absent: Callable[[], Any]) -> Callable[[], Any] | None:
    return absent if default is MISSING else None


def _refusing(name: str) -> Callable[[], Any]:
    def absent() -> NoReturn:
        raise InvalidError(f"the field '{name}' is missing: give it")

    return absent


def _same(take: Take, default: object) -> Take:
    """The very default where a value equals it: msgspec leaves out no other, and a revision's id is of its JSON."""

    def same(given: object) -> object:
        value = take(given)
        return default if value == default else value

    return take if default is MISSING else same


# ---- single values ------------------------------------------------------------------------------------------------


def _single(name: str, kind: type, default: object) -> Field:
    """A number, a text or a word. One that is `optional` in the proto may be absent; any other is empty then."""
    empty = "" if issubclass(kind, str) else kind()
    optional = default is not MISSING and default != empty
    take: Take | None = None
    if issubclass(kind, StrEnum):
        take = _word(name, kind)
    elif kind is float:
        take = _same(_finite(name), default)
    elif optional:
        take = _same(lambda value: value, default)

    def write(value: Any, message: Message) -> None:
        if value is not None:
            setattr(message, name, value)

    def write_full(value: Any, message: Message) -> None:
        if value != empty:
            setattr(message, name, value)

    absent = (lambda: take("")) if issubclass(kind, StrEnum) and take else (lambda: empty)
    return Field(name, write if optional else write_full, take, _required(default, absent))


def _word(name: str, kind: type[StrEnum]) -> Callable[[str], StrEnum]:
    words = {one.value: one for one in kind}
    missing = _refusing(name)

    def take(text: str) -> StrEnum:
        try:
            return words[text]
        except KeyError:
            if not text:
                missing()
            known = ", ".join(word for word in words if word)
            raise InvalidError(f"'{name}' cannot be {text[:40]!r}: give one of {known}") from None

    return take


def _finite(name: str) -> Callable[[float], float]:
    def take(value: float) -> float:
        if math.isfinite(value):
            return value
        raise InvalidError(f"'{name}' is {value}: give a number")

    return take


def _time(name: str, default: object) -> Field:
    get = attrgetter(name)

    def write(value: datetime | None, message: Message) -> None:
        if value is not None:
            since = value - EPOCH
            stamp = get(message)
            stamp.SetInParent()
            stamp.seconds, stamp.nanos = since.days * 86_400 + since.seconds, since.microseconds * 1000

    def take(stamp: Any) -> datetime:
        try:
            return EPOCH + timedelta(0, stamp.seconds, stamp.nanos // 1000)
        except OverflowError:
            raise InvalidError(f"'{name}' is no time between the years 1 and 9999: give one") from None

    return Field(name, write, take, _required(default, _refusing(name)))


def _json(name: str, hint: Any, default: object) -> Field:
    """Any JSON value, as text; an empty text is what is absent."""
    decode = msgspec.json.Decoder(hint).decode
    encode = msgspec.json.Encoder().encode

    def write(value: object, message: Message) -> None:
        if value is not None or default is not None:
            setattr(message, name, encode(value).decode())

    def take(text: str) -> object:
        try:
            return decode(text)
        except (msgspec.DecodeError, msgspec.ValidationError, RecursionError) as error:
            raise InvalidError(f"'{name}' is no JSON text of what belongs there: {error}") from error

    return Field(name, write, take, _required(default, dict))


# ---- structs, and several values ----------------------------------------------------------------------------------


def _struct(name: str, kind: type[msgspec.Struct], default: object) -> Field:
    fill, read = codec_of(kind)[1:]
    get = attrgetter(name)
    empty = all(not one.required for one in msgspec.structs.fields(kind))

    def write(value: object, message: Message) -> None:
        if value is not None:
            part = get(message)
            part.SetInParent()
            fill(value, part)

    return Field(name, write, _same(read, default), _required(default, kind if empty else _refusing(name)))


def _repeated(name: str, kind: type, default: object) -> Field:
    get = attrgetter(name)
    absent = _required(default, tuple)
    if issubclass(kind, msgspec.Struct):
        fill, read = codec_of(kind)[1:]

        def write(values: Sequence[object], message: Message) -> None:
            add = get(message).add
            for value in values:
                fill(value, add())

        return Field(name, write, lambda parts: tuple([read(part) for part in parts]), absent)

    def write_plain(values: Sequence[object], message: Message) -> None:
        if values:
            get(message).extend(values)

    if issubclass(kind, StrEnum):
        word = _word(name, kind)
        return Field(name, write_plain, lambda parts: tuple([word(part) for part in parts]), absent)
    return Field(name, write_plain, tuple, absent)


def _mapped(name: str, key: type, default: object) -> Field:
    get = attrgetter(name)
    absent = _required(default, dict)

    def write(values: Mapping[Any, object], message: Message) -> None:
        if values:
            get(message).update(values)

    if issubclass(key, StrEnum):
        word = _word(name, key)
        return Field(name, write, lambda parts: {word(one): value for one, value in parts.items()}, absent)
    return Field(name, write, dict, absent)


# ---- arguments ----------------------------------------------------------------------------------------------------


class Arguments(NamedTuple):
    """How a verb's keyword arguments become its request, and back. What is not given is left out.

    `read` raises InvalidError: see the module's text.
    """

    message: type[Message]
    fields: Mapping[str, Field]
    read: Callable[[Message], dict[str, Any]]

    def made(self, given: Mapping[str, Any]) -> Message:
        """Raises InvalidError: something does not go into its field (a number too large, a text that is none)."""
        message = self.message()
        for name, value in given.items():
            try:
                self.fields[name].write(value, message)
            except (ValueError, TypeError) as error:
                raise InvalidError(f"'{name}' cannot be sent: {error}") from error
        return message


def arguments_of(verb: Callable[..., Any], message: type[Message]) -> Arguments:
    """How the arguments of a verb are moved."""
    hints = get_type_hints(verb)
    given = [one for one in inspect.signature(verb).parameters.values() if one.name != "self"]
    defaults = {one.name: MISSING if one.default is inspect.Parameter.empty else one.default for one in given}
    fields = {name: field_of(name, hints[name], value) for name, value in defaults.items()}
    return Arguments(message, fields, reader(message, list(fields.values())))
