"""The kinds of values: each decodes a scalar of the file, strictly, and describes itself to editors.

Strictly: a flag is `true` or `false`, a whole number has no leading zero and no exponent, and a value of the wrong
kind is refused by name, never converted.
"""

import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from ion.config.nodes import Items, Node, Scalar, Table, fault, shape, shorten
from ion.config.quantities import parse_cpu, parse_duration, parse_size
from ion.messaging.nearest import suggestion

T_co = TypeVar("T_co", covariant=True)
Schema = dict[str, Any]

VARIABLE = {"type": "string", "pattern": r"\$"}
"""In an editor a variable may stand wherever a number may."""


class Kind(msgspec.Struct, Generic[T_co], frozen=True, kw_only=True):
    """What may stand at a key. `where` is the key's path, for messages; `definitions` collects shared schemas."""

    def decode(self, node: Node, where: str) -> T_co:
        """The typed value. Raises PipelineError."""
        raise NotImplementedError

    def schema(self, definitions: dict[str, Schema]) -> Schema:
        """The JSON schema (draft 7) of what `decode` accepts."""
        raise NotImplementedError


class ScalarKind(Kind[T_co], frozen=True):
    """A kind written as one text."""

    def parse(self, text: str) -> T_co:
        """Raises ValueError, whose text continues `must be …`."""
        raise NotImplementedError

    def decode(self, node: Node, where: str) -> T_co:
        if not isinstance(node, Scalar):
            raise fault(node.place, f"{where} must be a single value, not {shape(node)}")
        try:
            return self.parse(node.text)
        except ValueError as error:
            found = shape(node) if node.empty else f"'{shorten(node.text)}'"
            raise fault(node.place, f"{where} must be {error}, not {found}") from error


class Text(ScalarKind[str], frozen=True, kw_only=True):
    """Text that matches `pattern` as a whole; `wants` says what it must be in words."""

    pattern: str = r"[\s\S]*"
    wants: str = "text"

    def parse(self, text: str) -> str:
        if not re.fullmatch(self.pattern, text):
            raise ValueError(self.wants)
        return text

    def schema(self, _: dict[str, Schema]) -> Schema:
        return {"type": ["string", "number", "boolean"], "pattern": f"^(?:{self.pattern})$|\\$"}


FILLED = Text(pattern=r"[\s\S]+", wants="text that is not empty")


class Choice(ScalarKind[str], frozen=True, kw_only=True):
    """One of some words. `missing` is why other words are refused, where there is more to say."""

    words: tuple[str, ...]
    missing: str = ""

    def parse(self, text: str) -> str:
        if text not in self.words:
            hint = self.missing or suggestion(text, self.words)
            raise ValueError(f"one of {', '.join(self.words)} ({hint})")
        return text

    def schema(self, _: dict[str, Schema]) -> Schema:
        return {"anyOf": [{"enum": list(self.words)}, VARIABLE]}


class Flag(ScalarKind[bool], frozen=True):
    def parse(self, text: str) -> bool:
        if text not in ("true", "false"):
            raise ValueError("true or false")
        return text == "true"

    def schema(self, _: dict[str, Schema]) -> Schema:
        return {"anyOf": [{"type": "boolean"}, VARIABLE]}


class Whole(ScalarKind[int], frozen=True, kw_only=True):
    """A whole number from `least` to `most`."""

    least: int = 0
    most: int = 2**31 - 1

    def parse(self, text: str) -> int:
        if not re.fullmatch(r"-?(0|[1-9][0-9]{0,17})", text) or not self.least <= int(text) <= self.most:
            raise ValueError(f"a whole number from {self.least} to {self.most}")
        return int(text)

    def schema(self, _: dict[str, Schema]) -> Schema:
        return {"anyOf": [{"type": "integer", "minimum": self.least, "maximum": self.most}, VARIABLE]}


class Port(ScalarKind[int | None], frozen=True):
    """A port to listen on, 0 for a free one, or `off`, which is None."""

    def parse(self, text: str) -> int | None:
        if text == "off":
            return None
        try:
            return Whole(most=65_535).parse(text)
        except ValueError as error:
            raise ValueError(f"off, or {error}") from error

    def schema(self, definitions: dict[str, Schema]) -> Schema:
        return {"anyOf": [{"enum": ["off"]}, *Whole(most=65_535).schema(definitions)["anyOf"]]}


class Number(ScalarKind[float], frozen=True, kw_only=True):
    """A finite number of at least `least`."""

    least: float = 0.0

    def parse(self, text: str) -> float:
        if not re.fullmatch(r"[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?", text) or not self.least <= float(text) < math.inf:
            raise ValueError(f"a number of at least {self.least:g}")
        return float(text)

    def schema(self, _: dict[str, Schema]) -> Schema:
        return {"anyOf": [{"type": "number", "minimum": self.least}, VARIABLE]}


class Duration(ScalarKind[float], frozen=True, kw_only=True):
    """Seconds, written as a duration; `positive` refuses zero."""

    positive: bool = True

    def parse(self, text: str) -> float:
        seconds = parse_duration(text)
        if self.positive and not seconds:
            raise ValueError("a duration longer than 0")
        return seconds

    def schema(self, _: dict[str, Schema]) -> Schema:
        return {"anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": r"^[0-9.dhms]+$|\$"}]}


class Age(ScalarKind[float | None], frozen=True):
    """Seconds, written as a duration longer than 0, or `never`, which is None."""

    def parse(self, text: str) -> float | None:
        if text == "never":
            return None
        try:
            return Duration().parse(text)
        except ValueError as error:
            raise ValueError(f"never, or {error}") from error

    def schema(self, definitions: dict[str, Schema]) -> Schema:
        return {"anyOf": [{"enum": ["never"]}, *Duration().schema(definitions)["anyOf"]]}


class Size(ScalarKind[int], frozen=True, kw_only=True):
    """Bytes, written as a Kubernetes quantity."""

    least: int = 1

    def parse(self, text: str) -> int:
        size = parse_size(text)
        if size < self.least:
            raise ValueError(f"at least {self.least} bytes")
        return size

    def schema(self, _: dict[str, Schema]) -> Schema:
        quantity = {"type": "string", "pattern": r"^[0-9.]+([kMGTPE]|[KMGTPE]i)?$|\$"}
        return {"anyOf": [{"type": "number", "minimum": self.least}, quantity]}


class Cpu(ScalarKind[float], frozen=True):
    """Processor cores, written as a Kubernetes quantity."""

    def parse(self, text: str) -> float:
        cores = parse_cpu(text)
        if not cores:
            raise ValueError("more than 0 cores")
        return cores

    def schema(self, _: dict[str, Schema]) -> Schema:
        return {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "string", "pattern": r"^[0-9.]+m?$|\$"}]}


class Location(msgspec.Struct, frozen=True, kw_only=True):
    """A path as it was `written`, and `path`: absolute, from the folder of the file where it was written."""

    written: str
    path: str


class Located(Kind[Location], frozen=True):
    """A path. A relative one starts at the file in which it is written, be that an included one."""

    def decode(self, node: Node, where: str) -> Location:
        written = FILLED.decode(node, where)
        folder = node.place.file.parent.resolve()
        return Location(written=written, path=os.path.normpath(folder / Path(written)))

    def schema(self, _: dict[str, Schema]) -> Schema:
        return {"type": "string", "minLength": 1}


class Free(Kind[dict[str, Any]], frozen=True, kw_only=True):
    """A mapping that is passed on as JSON. Scalars without quotes are typed as JSON has them: `true`, `false`, `null`,
    whole and decimal numbers; all else is text. `texts` leaves every scalar text.
    """

    texts: bool = False

    def decode(self, node: Node, where: str) -> dict[str, Any]:
        if not isinstance(node, Table):
            raise fault(node.place, f"{where} must be a mapping, not {shape(node)}")
        value = plain_value(node, texts=self.texts)
        assert isinstance(value, dict)
        return value

    def schema(self, _: dict[str, Schema]) -> Schema:
        return {"type": "object"}


def plain_value(node: Node, *, texts: bool = False) -> Any:
    """A node as plain JSON values."""
    match node:
        case Scalar():
            return node.text if texts or not node.plain else _json_value(node)
        case Items():
            return [plain_value(item, texts=texts) for item in node.items]
        case Table():
            entries: Mapping[str, Node] = node.entries
            return {key: plain_value(value, texts=texts) for key, value in entries.items()}


_WORDS: Mapping[str, bool | None] = {"true": True, "false": False, "null": None, "~": None}


def _json_value(node: Scalar) -> Any:
    if node.empty:
        return None
    if node.text in _WORDS:
        return _WORDS[node.text]
    if re.fullmatch(r"-?(0|[1-9][0-9]{0,17})", node.text):
        return int(node.text)
    if re.fullmatch(r"-?(0|[1-9][0-9]{0,17})\.[0-9]{1,17}", node.text):
        return float(node.text)
    return node.text
