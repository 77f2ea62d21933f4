"""The tree of a pipeline file: every scalar is text, and every node knows the line it came from.

Text stays text until a table types it by field, so `on`, `no`, `012`, `1:30` and `1e3` mean what they say.
"""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from ion.errors import PipelineError


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a node was written; `line` counts from 1."""

    file: Path
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class Scalar(msgspec.Struct, frozen=True, kw_only=True):
    """A text. `plain`: written without quotes. `parts`, once variables are filled in: the pieces of the text, and of
    each whether it is a variable's value.
    """

    text: str
    plain: bool
    place: Place
    parts: tuple[tuple[str, bool], ...] = ()

    @property
    def empty(self) -> bool:
        """Nothing is written: as if the key was not there. An empty text is written in quotes."""
        return self.plain and not self.text and not self.parts

    @property
    def removes(self) -> bool:
        """What a profile writes to take a key away."""
        return self.empty or (self.plain and self.text in ("null", "~"))


class Items(msgspec.Struct, frozen=True, kw_only=True):
    items: tuple["Node", ...]
    place: Place


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """A mapping; `keys` are the places of its keys."""

    entries: Mapping[str, "Node"]
    keys: Mapping[str, Place]
    place: Place

    def without(self, *names: str) -> "Table":
        """The same mapping less these keys."""
        entries = {key: node for key, node in self.entries.items() if key not in names}
        return Table(entries=entries, keys=self.keys, place=self.place)

    def with_entry(self, key: str, node: "Node") -> "Table":
        """The same mapping with another value at a key that it has."""
        return Table(entries={**self.entries, key: node}, keys=self.keys, place=self.place)


Node = Scalar | Items | Table


MESSAGE_MOST = 500


def fault(place: Place, message: str) -> PipelineError:
    """The error for something wrong at a place.

    The message says what to do; what cannot be printed becomes `?`, and what is too long to be read is cut.
    """
    return PipelineError(f"{place}: {''.join(c if c.isprintable() else '?' for c in shorten(message, MESSAGE_MOST))}")


def shape(node: Node) -> str:
    """What a node is, in an error message. Not its text, which may be a secret in the wrong place."""
    match node:
        case Scalar():
            return "nothing" if node.empty else "a single value"
        case Items():
            return "a list"
        case Table():
            return "a mapping"


def shorten(text: str, most: int = 60) -> str:
    """As much of a text as can stand in a message."""
    return text if len(text) <= most else f"{text[:most]}…"


def is_text(text: str) -> bool:
    """Whether it can be written as UTF-8 and handed to a program: no lone surrogates, no NUL."""
    return "\0" not in text and not any("\ud800" <= c <= "\udfff" for c in text)
