"""Kinds made of kinds: lists, mappings, short forms, and sections whose keys are a table.

A section's table is the one definition of its keys: it decodes them, refuses the unknown ones with the nearest name,
and gives the schema with their descriptions and defaults. A key with an empty value is as if it was not written.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

import msgspec

from ion.config.kinds import Choice, Kind, Schema
from ion.config.nodes import Items, Node, Scalar, Table, fault, shape, shorten
from ion.errors import InvalidError, PipelineError
from ion.messaging.nearest import suggestion

T = TypeVar("T")
S = TypeVar("S")


class Many(Kind[tuple[T, ...]], Generic[T], frozen=True, kw_only=True):
    """A list; `single` allows one value that stands for a list of itself."""

    item: Kind[T]
    single: bool = False

    def decode(self, node: Node, where: str) -> tuple[T, ...]:
        if not isinstance(node, Items):
            if self.single:
                return (self.item.decode(node, where),)
            raise fault(node.place, f"{where} must be a list, not {shape(node)}; write [ ] around it")
        return tuple(self._item(item, f"{where}[{n}]") for n, item in enumerate(node.items))

    def _item(self, node: Node, where: str) -> T:
        if isinstance(node, Scalar) and node.empty:
            raise fault(node.place, f"{where} is empty; remove it, or write '' for an empty text")
        return self.item.decode(node, where)

    def schema(self, definitions: dict[str, Schema]) -> Schema:
        item = self.item.schema(definitions)
        many = {"type": "array", "items": item}
        return {"anyOf": [item, many]} if self.single else many


class Named(Kind[dict[str, T]], Generic[T], frozen=True, kw_only=True):
    """A mapping of free names to values; a name matches `pattern` and is, in words, `wants`."""

    value: Kind[T]
    pattern: str = r"[\s\S]+"
    wants: str = "a name"

    def decode(self, node: Node, where: str) -> dict[str, T]:
        if not isinstance(node, Table):
            raise fault(node.place, f"{where} must be a mapping of names, not {shape(node)}")
        found = {}
        for name, value in node.entries.items():
            if not re.fullmatch(self.pattern, name):
                raise fault(node.keys[name], f"'{shorten(name)}' in {where} must be {self.wants}; rename it")
            if not (isinstance(value, Scalar) and value.empty):
                found[name] = self.value.decode(value, f"{where}.{name}")
        return found

    def schema(self, definitions: dict[str, Schema]) -> Schema:
        value = _or_null(self.value.schema(definitions))
        names = {"pattern": f"^(?:{self.pattern})$"}
        return {"type": "object", "propertyNames": names, "additionalProperties": value}


class Short(Kind[T], Generic[T, S], frozen=True, kw_only=True):
    """A full form, or a short one: anything that `stands` (by default one scalar) and is widened to the full value."""

    short: Kind[S]
    widen: Callable[[S], T]
    full: Kind[T]
    stands: type[Scalar] | type[Items] = Scalar

    def decode(self, node: Node, where: str) -> T:
        if not isinstance(node, self.stands):
            return self.full.decode(node, where)
        short = self.short.decode(node, where)
        try:
            return self.widen(short)
        except InvalidError as error:
            raise fault(node.place, f"{where}: {error}") from error

    def schema(self, definitions: dict[str, Schema]) -> Schema:
        return {"anyOf": [self.short.schema(definitions), self.full.schema(definitions)]}


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """One key of a section: its kind, what it is for, and the attribute it becomes where that has another name."""

    kind: Kind[Any]
    doc: str
    into: str = ""


class Section(Kind[T], Generic[T], frozen=True, kw_only=True):
    """A mapping with known keys. `build` takes their values by attribute name; what it refuses (InvalidError) is told
    with the section's place. `defaults` are those of `struct`, for the schema.
    """

    name: str
    doc: str
    fields: Mapping[str, Field]
    build: Callable[..., T]
    struct: type[msgspec.Struct] | None = None
    required: tuple[str, ...] = ()

    def decode(self, node: Node, where: str) -> T:
        named = where or "the pipeline file"
        if not isinstance(node, Table):
            raise fault(node.place, f"{named} must be a mapping, not {shape(node)}; its keys: {', '.join(self.fields)}")
        self._check_keys(node, named)
        values = {}
        for key, value in node.entries.items():
            if not (isinstance(value, Scalar) and value.empty):
                field = self.fields[key]
                values[field.into or key] = field.kind.decode(value, f"{where}.{key}" if where else key)
        try:
            return self.build(**values)
        except PipelineError:
            raise
        except InvalidError as error:
            raise fault(node.place, f"{named}: {error}") from error

    def _check_keys(self, node: Table, named: str) -> None:
        for key in node.entries:
            if key not in self.fields:
                hint = suggestion(key, self.fields)
                raise fault(node.keys[key], f"unknown key '{shorten(key)}' in {named}; {hint}")
        for key in self.required:
            value = node.entries.get(key)
            if value is None or (isinstance(value, Scalar) and value.empty):
                raise fault(node.place, f"{named} lacks the key '{key}'; add it")

    def schema(self, definitions: dict[str, Schema]) -> Schema:
        if self.name not in definitions:
            definitions[self.name] = {}  # the place is taken before its keys are described: they may refer to it
            definitions[self.name] |= self._definition(definitions)
        return {"$ref": f"#/definitions/{self.name}"}

    def _definition(self, definitions: dict[str, Schema]) -> Schema:
        defaults = _defaults(self.struct)
        properties = {}
        for key, field in self.fields.items():
            described: Schema = {"description": field.doc, **_or_null(field.kind.schema(definitions))}
            if (default := defaults.get(field.into or key)) is not None:
                described["default"] = default
            properties[key] = described
        schema = {"type": "object", "description": self.doc, "properties": properties, "additionalProperties": False}
        return {**schema, "required": list(self.required)} if self.required else schema


class Chosen(Kind[T], Generic[T], frozen=True, kw_only=True):
    """A section of which `kind` says which it is; the kind alone will do where that one asks for nothing else."""

    sections: Mapping[str, Section[T]]

    def decode(self, node: Node, where: str) -> T:
        table = node if isinstance(node, Table) else Table(entries={"kind": node}, keys={}, place=node.place)
        if (kind := table.entries.get("kind")) is None:
            raise fault(table.place, f"{where} lacks the key 'kind'; add it: {', '.join(self.sections)}")
        word = self._words().decode(kind, f"{where}.kind" if table is node else where)
        return self.sections[word].decode(table, where)

    def schema(self, definitions: dict[str, Schema]) -> Schema:
        full = [section.schema(definitions) for section in self.sections.values()]
        return {"anyOf": [*self._words().schema(definitions)["anyOf"], *full]}

    def _words(self) -> Choice:
        return Choice(words=tuple(self.sections))


def _or_null(schema: Schema) -> Schema:
    """An empty value is allowed everywhere: it means nothing is written, and in a profile it removes."""
    return {"anyOf": [*schema.get("anyOf", [schema]), {"type": "null"}]}


def _defaults(struct: type[msgspec.Struct] | None) -> dict[str, Any]:
    """The scalar defaults of a struct, as a person would write them."""
    fields = msgspec.structs.fields(struct) if struct else ()
    return {f.name: f.default for f in fields if isinstance(f.default, str | int | float) and f.default != ""}
