"""Variables in values: `${X}`, `${X:-default}` where X is unset or empty, `${X:?message}` to insist, `$$` for a dollar.

They are filled in after the file is parsed and merged, in values and never in keys, so a variable cannot bring
structure, and a profile that was not chosen asks for none. A `$` before anything else stands for itself.
"""

import re
from collections.abc import Iterator, Mapping

from ion.config.nodes import Items, Node, Place, Scalar, Table, fault, is_text, shorten

_DOLLAR = re.compile(r"\$(?:\$|\{([^}]*)(\}?))")
_BODY = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::([-?])(.*))?", re.DOTALL)


def expand(node: Node, environ: Mapping[str, str]) -> Node:
    """The same tree with its variables filled in.

    Raises:
        PipelineError: a variable is not set and has no default, or is written wrongly.
    """
    match node:
        case Scalar():
            return _expand_scalar(node, environ)
        case Items():
            return Items(items=tuple(expand(item, environ) for item in node.items), place=node.place)
        case Table():
            entries = {key: expand(value, environ) for key, value in node.entries.items()}
            return Table(entries=entries, keys=node.keys, place=node.place)


def _expand_scalar(node: Scalar, environ: Mapping[str, str]) -> Scalar:
    if "$" not in node.text:
        return node
    parts = tuple(_parts(node, environ))
    return Scalar(text="".join(text for text, _ in parts), plain=node.plain, place=node.place, parts=parts)


def _parts(node: Scalar, environ: Mapping[str, str]) -> Iterator[tuple[str, bool]]:
    end = 0
    for found in _DOLLAR.finditer(node.text):
        yield node.text[end : found.start()], False
        end = found.end()
        if found[0] == "$$":
            yield "$", False
        else:
            yield _value(found[1], closed=bool(found[2]), place=node.place, environ=environ), True
    yield node.text[end:], False


def _value(body: str, *, closed: bool, place: Place, environ: Mapping[str, str]) -> str:
    parsed = _BODY.fullmatch(body)
    if not closed or parsed is None or "${" in body:
        raise fault(
            place,
            f"'${{{shorten(body)}' is no variable; write ${{X}}, ${{X:-default}}, ${{X:?message}} or $$ for a dollar",
        )
    name, sign, rest = parsed[1], parsed[2], parsed[3]
    value = environ.get(name)
    if value is not None and not is_text(value):
        raise fault(place, f"the variable {name} is not UTF-8 text; set it to text")
    if value or (value is not None and sign is None):
        return value
    if sign == "-":
        return rest
    if sign == "?" and rest:
        raise fault(place, f"the variable {name} is not set: {shorten(rest, 200)}")
    raise fault(place, f"the variable {name} is not set; set it, or write ${{{name}:-default}}")
