"""What goes through the pipe to the process that exports: MessagePack, each record after its length.

Times are nanoseconds since the epoch, ids lower-case hexadecimal, as OpenTelemetry has them.
"""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import BinaryIO

import msgspec

Value = str | int | float | bool
Attributes = Mapping[str, Value]


class Kind(StrEnum):
    """Of a span; the words of OpenTelemetry's enumeration."""

    INTERNAL = "INTERNAL"
    CONSUMER = "CONSUMER"
    PRODUCER = "PRODUCER"


class Span(msgspec.Struct, frozen=True, kw_only=True, tag="span", omit_defaults=True):
    """`parent_id` is empty for the first of a trace; `error` is why it failed; `links` are span ids of this trace."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str = ""
    flags: int = 1
    kind: Kind = Kind.INTERNAL
    began_ns: int
    ended_ns: int
    attributes: dict[str, Value] = {}
    links: tuple[str, ...] = ()
    error: str = ""


class Line(msgspec.Struct, frozen=True, kw_only=True, tag="line", omit_defaults=True):
    """A log record. `number` is the severity as Python's logging has it."""

    at_ns: int
    number: int
    logger: str
    message: str
    trace_id: str = ""
    span_id: str = ""
    flags: int = 0
    attributes: dict[str, Value] = {}


class Shape(StrEnum):
    SUM = "sum"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Point(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One value of a figure. A histogram's `value` is its sum; `buckets` counts what is up to each of `bounds`, and
    then the rest.
    """

    attributes: dict[str, Value] = {}
    value: float = 0.0
    count: int = 0
    bounds: tuple[float, ...] = ()
    buckets: tuple[int, ...] = ()


class Figure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    name: str
    description: str
    unit: str
    shape: Shape
    points: tuple[Point, ...]


class Figures(msgspec.Struct, frozen=True, kw_only=True, tag="figures"):
    """All figures at one time; sums and histograms count from `since_ns`."""

    since_ns: int
    at_ns: int
    figures: tuple[Figure, ...]


Record = Span | Line | Figures

_LENGTH = 4
_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Record] = msgspec.msgpack.Decoder(Record)


def framed(record: Record) -> bytes:
    """A record as it goes through the pipe."""
    raw = _encoder.encode(record)
    return len(raw).to_bytes(_LENGTH, "big") + raw


def unframed(stream: BinaryIO) -> Iterator[Record]:
    """The records of a buffered stream until it ends; half a record at its end was cut off and is left out."""
    while len(head := stream.read(_LENGTH)) == _LENGTH:
        length = int.from_bytes(head, "big")
        if len(raw := stream.read(length)) < length:
            return
        yield _decoder.decode(raw)
