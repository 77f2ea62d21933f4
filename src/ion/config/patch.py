"""One document laid over another: JSON merge patch (RFC 7396), with the places kept.

Mappings are merged key by key, anything else is replaced, and an empty value takes the key away. A profile lies so
over its file, an including file over what it includes, and a module over `defaults`. A list is a value: it is
replaced whole.
"""

from collections.abc import Callable

from ion.config.nodes import Node, Place, Scalar, Table

Removes = Callable[[Scalar], bool]


def is_empty(node: Scalar) -> bool:
    """Within a file only nothing removes: `null` could be meant as text."""
    return node.empty


def is_null(node: Scalar) -> bool:
    """Within a profile `null` and `~` remove as well."""
    return node.removes


def merge(base: Node | None, patch: Node, removes: Removes) -> Node:
    """The document that `patch` makes of `base`."""
    if not isinstance(patch, Table):
        return patch
    under = base if isinstance(base, Table) else None
    entries: dict[str, Node] = dict(under.entries) if under else {}
    keys: dict[str, Place] = {**under.keys, **patch.keys} if under else dict(patch.keys)
    for name, node in patch.entries.items():
        if isinstance(node, Scalar) and removes(node):
            entries.pop(name, None)
        else:
            entries[name] = merge(entries.get(name), node, removes)
    return Table(entries=entries, keys=keys, place=patch.place)
