"""What there is to call: a method of the API for each verb of `Management`, made from the verbs themselves.

Server and client both go by this list, so neither names a verb, and a new one needs no more than its rpc in
`ion_v1.proto`.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from functools import cache
from typing import Any, Final, NamedTuple, get_args, get_origin, get_type_hints

import msgspec
from google.protobuf.message import Message

from ion.management.rpc.ion_v1_pb2 import Piece
from ion.management.rpc.translation import Arguments, arguments_of, codec_of, message_of
from ion.management.verbs import Management

PACKAGE: Final = "ion.v1"
PIECE_MOST: Final = 256 * 1024
"""Bytes in one message of a stream of bytes."""
ENDLESS: Final = frozenset({("jobs", "log"), ("flows", "wait")})
"""They may go on for as long as a job runs: no deadline, and they are told at once when the server stops."""
UPLOAD: Final = ("events", "create")
"""The verb whose request is a stream, with files in it."""


class Answer(NamedTuple):
    """How a result becomes a message and back: a struct its own, several structs or bytes one that holds them."""

    message: type[Message]
    made: Callable[[Any], Message]
    read: Callable[[Any], Any]


class Method(NamedTuple):
    """A verb and how it is called. `streams`: it answers with any number of messages."""

    group: str
    verb: str
    path: str
    arguments: Arguments | None
    answer: Answer
    streams: bool

    @property
    def key(self) -> tuple[str, str]:
        return self.group, self.verb

    @property
    def sends_bytes(self) -> bool:
        return self.answer.message is Piece


@cache
def groups() -> dict[str, type]:
    """The groups of verbs by name, as abstract classes."""
    properties = {name: one for name, one in vars(Management).items() if isinstance(one, property)}
    return {name: get_type_hints(one.fget)["return"] for name, one in properties.items()}


@cache
def methods() -> Sequence[Method]:
    """Every method of `ion.v1`."""
    return [
        _method(group, verb, declared)
        for group, verbs in groups().items()
        for verb, declared in vars(verbs).items()
        if getattr(declared, "__isabstractmethod__", False)
    ]


def _method(group: str, verb: str, declared: Callable[..., Any]) -> Method:
    service, name = group.capitalize(), verb.capitalize()
    result = get_type_hints(declared)["return"]
    streams = get_origin(result) is AsyncIterator
    return Method(
        group=group,
        verb=verb,
        path=f"/{PACKAGE}.{service}/{name}",
        arguments=None if (group, verb) == UPLOAD else arguments_of(declared, message_of(f"{service}{name}Request")),
        answer=_answer(get_args(result)[0] if streams else result, f"{service}{name}Response"),
        streams=streams,
    )


def _answer(result: Any, listed: str) -> Answer:
    if result is bytes:
        return Answer(Piece, lambda content: Piece(content=content), lambda message: message.content)
    if get_origin(result) is tuple:
        return _several(get_args(result)[0], message_of(listed))
    codec = codec_of(result)
    return Answer(codec.message, codec.made, codec.read)


def _several(kind: type[msgspec.Struct], message: type[Message]) -> Answer:
    codec = codec_of(kind)

    def made(values: Sequence[object]) -> Message:
        whole: Any = message()
        for value in values:
            codec.fill(value, whole.items.add())
        return whole  # type: ignore[no-any-return]  # mypy cannot know a class that is chosen by name

    return Answer(message, made, lambda whole: tuple([codec.read(one) for one in whole.items]))
