"""YAML in, nodes out.

Built from the parser's events, not from its constructor: no tag creates an object, no implicit type turns `no` into
false, and depth and size are counted while reading, so a hostile file ends in a sentence and not in a full stack or
memory. Aliases share the node they name; what they would amount to when written out is counted. `<<` merges mappings.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from yaml import events

from ion.config.nodes import Items, Node, Place, Scalar, Table, fault, is_text, shorten
from ion.errors import PipelineError

BYTES_MOST = 4 * 1024 * 1024
DEPTH_MOST = 64
NODES_MOST = 100_000
LOADER: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)  # the C parser is ten times as fast, and not always built
OWN_TAGS = (None, "!", "tag:yaml.org,2002:str", "tag:yaml.org,2002:seq", "tag:yaml.org,2002:map")


def read_document(file: Path) -> Table:
    """The one mapping that a file holds.

    Raises:
        PipelineError: the file cannot be read, is not YAML, or uses what a pipeline file may not.
    """
    start = Place(file=file, line=1)
    try:
        node = _Reader(file, yaml.parse(_text(file), Loader=LOADER)).document()
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        hint = "indent with spaces, not tabs" if "cannot start any token" in str(error.problem) else "mend this line"
        raise fault(Place(file=file, line=line), f"this is not YAML ({error.problem}); {hint}") from error
    except yaml.YAMLError as error:
        raise fault(start, f"this is not YAML ({shorten(str(error).splitlines()[0], 120)}); mend the file") from error
    if not isinstance(node, Table):
        raise fault(start, "a pipeline file is a mapping of keys to values; begin it with `ion: 1`")
    return node


def _text(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            content = stream.read(BYTES_MOST + 1)
    except OSError as error:
        raise PipelineError(f"{file}: the file cannot be read ({error.strerror}); check its path") from error
    if len(content) > BYTES_MOST:
        raise PipelineError(f"{file}: the file is larger than {BYTES_MOST} bytes; is this a pipeline file?")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place = Place(file=file, line=content.count(b"\n", 0, error.start) + 1)
        raise fault(place, "the file is not UTF-8; save it as UTF-8") from error


class _Reader:
    """Builds the tree of one document. `_count` is the nodes so far, with aliases written out."""

    def __init__(self, file: Path, stream: Iterator[Any]) -> None:
        self._file = file
        self._stream = stream
        self._anchors: dict[str, tuple[Node, int]] = {}
        self._count = 0

    def document(self) -> Node:
        first = next(self._stream)
        while isinstance(first, events.StreamStartEvent | events.DocumentStartEvent):
            first = next(self._stream)
        if isinstance(first, events.StreamEndEvent):
            raise fault(Place(file=self._file, line=1), "the file is empty; begin it with `ion: 1`")
        node = self._node(first, 0, None)
        next(self._stream)  # the document's end
        after = next(self._stream)
        if isinstance(after, events.DocumentStartEvent):
            raise fault(self._place(after), "a second document begins here; a pipeline file holds one")
        return node

    def _node(self, event: Any, depth: int, key: Place | None) -> Node:
        """The node that begins with an event. A collection's place is its key's, where it has one."""
        place = self._place(event)
        if isinstance(event, events.AliasEvent):
            return self._alias(event.anchor, place)
        before = self._count
        self._add(1, place)
        if depth > DEPTH_MOST:
            raise fault(place, f"values are nested deeper than {DEPTH_MOST} levels; write them flatter")
        if event.tag not in OWN_TAGS:
            raise fault(place, f"the tag '{shorten(event.tag)}' is not allowed; write the plain value")
        node: Node
        if isinstance(event, events.ScalarEvent):
            node = self._scalar(event, place)
        elif isinstance(event, events.SequenceStartEvent):
            node = Items(items=self._items(depth), place=key or place)
        else:
            node = self._table(depth, key or place)
        if event.anchor:
            self._anchors[event.anchor] = (node, self._count - before)
        return node

    def _scalar(self, event: Any, place: Place) -> Scalar:
        if not is_text(event.value):
            raise fault(place, "a value holds a character that is no text, such as NUL; take it out")
        return Scalar(text=event.value, plain=not event.style, place=place)

    def _items(self, depth: int) -> tuple[Node, ...]:
        found = []
        while not isinstance(event := next(self._stream), events.SequenceEndEvent):
            found.append(self._node(event, depth + 1, None))
        return tuple(found)

    def _table(self, depth: int, place: Place) -> Table:
        entries: dict[str, Node] = {}
        keys: dict[str, Place] = {}
        merged: Node | None = None
        while not isinstance(event := next(self._stream), events.MappingEndEvent):
            name, at = self._key(event)
            if name in keys:
                raise fault(at, f"the key '{shorten(name)}' is also on line {keys[name].line}; remove one of the two")
            keys[name] = at
            node = self._node(next(self._stream), depth + 1, at)
            if name == "<<" and event.implicit[0]:
                merged = node
            else:
                entries[name] = node
        table = Table(entries=entries, keys=keys, place=place)
        return table if merged is None else _merge(table, merged)

    def _key(self, event: Any) -> tuple[str, Place]:
        place = self._place(event)
        if not isinstance(event, events.ScalarEvent) or event.tag not in OWN_TAGS:
            raise fault(place, "a key must be plain text; write the name itself")
        scalar = self._scalar(event, place)
        self._add(1, place)
        if event.anchor:
            self._anchors[event.anchor] = (scalar, 1)
        return scalar.text, place

    def _alias(self, anchor: str | None, place: Place) -> Node:
        if anchor is None or anchor not in self._anchors:
            raise fault(place, f"the alias '*{anchor}' names no anchor that ends before it; write '&{anchor}' earlier")
        node, size = self._anchors[anchor]
        self._add(size, place)
        return node

    def _add(self, nodes: int, place: Place) -> None:
        self._count += nodes
        if self._count > NODES_MOST:
            raise fault(place, f"the file holds more than {NODES_MOST} values, aliases written out; make it smaller")

    def _place(self, event: Any) -> Place:
        return Place(file=self._file, line=event.start_mark.line + 1)


def _merge(table: Table, merged: Node) -> Table:
    """What `<<` brings stands behind the mapping's own keys; of several, the first has a key."""
    sources = merged.items if isinstance(merged, Items) else (merged,)
    entries, keys = dict(table.entries), {k: place for k, place in table.keys.items() if k != "<<"}
    for source in sources:
        if not isinstance(source, Table):
            raise fault(merged.place, "'<<' merges mappings; give it an alias of a mapping, or a list of them")
        for name, node in source.entries.items():
            entries.setdefault(name, node)
            keys.setdefault(name, source.keys[name])
    return Table(entries=entries, keys=keys, place=table.place)
