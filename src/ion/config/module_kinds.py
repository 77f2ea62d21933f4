"""The kinds that only modules have: event types, command lines and filters."""

import re
import shlex
from typing import Any, ClassVar

from ion.config.kinds import Free, Kind, ScalarKind, Schema
from ion.config.nodes import Node, Scalar, fault
from ion.errors import InvalidError
from ion.messaging.filters import compile_filters


class EventType(ScalarKind[str], frozen=True):
    """An event type that a module may hear; `Emitted` is one that it may raise."""

    pattern: ClassVar[str] = r"[^\s,*\x00-\x1f\x7f]{1,255}"

    def parse(self, text: str) -> str:
        if not re.fullmatch(self.pattern, text):
            raise ValueError("one event type, without blanks, commas and asterisks, of at most 255 characters")
        return text

    def schema(self, _: dict[str, Schema]) -> Schema:
        return {"type": "string", "pattern": f"^{self.pattern}$"}


class Emitted(EventType, frozen=True):
    def parse(self, text: str) -> str:
        if text.startswith("ion."):
            raise ValueError("a type that does not begin with 'ion.' (those are raised by Ion alone)")
        return super().parse(text)


class CommandLine(Kind[tuple[str, ...]], frozen=True):
    """A command as one text, split as a shell does. A variable's value stays in the word in which it stands."""

    def decode(self, node: Node, where: str) -> tuple[str, ...]:
        assert isinstance(node, Scalar)
        parts = node.parts or ((node.text, False),)
        values = iter([text for text, variable in parts if variable])
        line = "".join("\0" if variable else text for text, variable in parts)  # no text of a file holds a NUL
        try:
            words = shlex.split(line)
        except ValueError as error:
            raise fault(node.place, f"{where} cannot be split ({error}); write it as a list") from error
        return tuple(re.sub("\0", lambda _: next(values), word) for word in words)

    def schema(self, _: dict[str, Schema]) -> Schema:
        return {"type": "string", "minLength": 1}


class Filter(Kind[dict[str, Any]], frozen=True):
    """One filter of a subscription; compiled here, so that a mistake is told with its line."""

    def decode(self, node: Node, where: str) -> dict[str, Any]:
        expression = Free(texts=True).decode(node, where)
        try:
            compile_filters([expression])
        except InvalidError as error:
            raise fault(node.place, f"{where}: {error}") from error
        return expression

    def schema(self, definitions: dict[str, Schema]) -> Schema:
        if "filter" not in definitions:
            one: Schema = {"$ref": "#/definitions/filter"}
            text = {
                "type": "object",
                "minProperties": 1,
                "additionalProperties": {"type": ["string", "number", "boolean"]},
            }
            several = {"type": "array", "minItems": 1, "items": one}
            definitions["filter"] = {
                "type": "object",
                "description": "One dialect of the CloudEvents subscription filters; attributes, or data.KEY.",
                "minProperties": 1,
                "maxProperties": 1,
                "properties": {
                    "exact": text,
                    "prefix": text,
                    "suffix": text,
                    "all": several,
                    "any": several,
                    "not": one,
                },
                "additionalProperties": False,
            }
        return {"$ref": "#/definitions/filter"}
