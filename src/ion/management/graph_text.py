"""A pipeline's graph as text: a tree for the terminal, Mermaid for documents, DOT for Graphviz.

Names come from files that people wrote: each renderer escapes them for its own language, and none lets a control
character through.
"""

from collections.abc import Callable, Iterator

from ion.management.graph import Graph

OUTSIDE = "(outside)"
SEEN = " (see above)"


def tree(graph: Graph) -> str:
    """A tree of unicode lines: each type from outside, the modules that it starts, what those raise, and so on.

    A module's own branch is drawn where it comes first; elsewhere it points there, so cycles end.
    """
    lines: list[str] = []
    drawn: set[str] = set()
    for type_ in graph.entrances:
        lines.append(_printable(type_))
        lines.extend(_branches(graph, type_, drawn))
    lost = [name for name in graph.nodes if name not in drawn]
    while lost:  # on no way from outside
        lines.append(f"{_printable(_label(graph, lost[0]))} (never started)")
        drawn.add(lost[0])
        lines.extend(_below(graph, lost[0], drawn))
        lost = [name for name in lost if name not in drawn]
    return "\n".join(lines)


def _branches(graph: Graph, type_: str, drawn: set[str]) -> Iterator[str]:
    yield from _walk(graph, [("", graph.hearers(type_), 0, False)], drawn)


def _below(graph: Graph, module: str, drawn: set[str]) -> Iterator[str]:
    yield from _walk(graph, [("", graph.emits[module], 0, True)], drawn)


_Level = tuple[str, tuple[str, ...], int, bool]


def _walk(graph: Graph, levels: list[_Level], drawn: set[str]) -> Iterator[str]:
    """Depth first with a stack of its own: a chain of modules may be longer than Python's. A level is the indent, its
    names, how many of them are drawn, and whether they are types.
    """
    while levels:
        indent, names, at, types = levels.pop()
        if at == len(names):
            continue
        levels.append((indent, names, at + 1, types))
        last = at + 1 == len(names)
        name = names[at]
        below = graph.hearers(name) if types else graph.emits[name]
        mark = f" → {OUTSIDE}" if types and not below else ""
        if not types and name in drawn:
            below, mark = (), SEEN if below else ""
        if not types:
            drawn.add(name)
        shown = name if types else _label(graph, name)
        yield f"{indent}{'└─' if last else '├─'} {_printable(shown)}{mark}"
        levels.append((f"{indent}{'   ' if last else '│  '}", below, 0, not types))


def mermaid(graph: Graph) -> str:
    """A Mermaid flowchart; modules are boxes, types from and to the outside are rounded."""
    return _chart(
        graph,
        head="flowchart LR",
        foot="",
        module=lambda node, name: f'  {node}["{_mermaid(name)}"]',
        outside=lambda node, type_: f'  {node}(["{_mermaid(type_)}"])',
        edge=lambda source, target, type_: (
            f'  {source} -->|"{_mermaid(type_)}"| {target}' if type_ else f"  {source} --> {target}"
        ),
    )


def dot(graph: Graph) -> str:
    """A digraph for Graphviz; modules are boxes, types from and to the outside are ellipses."""
    return _chart(
        graph,
        head="digraph ion {\n  rankdir=LR;",
        foot="}",
        module=lambda node, name: f"  {node} [shape=box, label={_dot(name)}];",
        outside=lambda node, type_: f"  {node} [shape=ellipse, label={_dot(type_)}];",
        edge=lambda source, target, type_: f"  {source} -> {target}" + (f" [label={_dot(type_)}];" if type_ else ";"),
    )


def _chart(
    graph: Graph,
    *,
    head: str,
    foot: str,
    module: Callable[[str, str], str],
    outside: Callable[[str, str], str],
    edge: Callable[[str, str, str], str],
) -> str:
    """Nodes get numbered names, so that nothing that people wrote stands where a name stands."""
    modules = {name: f"m{n}" for n, name in enumerate(graph.nodes)}
    types = sorted({e.type for e in graph.edges if not (e.source and e.target)})
    entering = {type_: f"in{n}" for n, type_ in enumerate(types)}
    leaving = {type_: f"out{n}" for n, type_ in enumerate(types)}
    lines, ends = [head, *(module(node, _label(graph, name)) for name, node in modules.items())], set()
    drawn: list[str] = []
    for e in graph.edges:
        source = modules[e.source] if e.source else entering[e.type]
        target = modules[e.target] if e.target else leaving[e.type]
        ends |= {(node, e.type) for node, inside in ((source, e.source), (target, e.target)) if not inside}
        drawn.append(edge(source, target, e.type if e.source and e.target else ""))
    lines += [outside(node, type_) for node, type_ in sorted(ends)]
    return "\n".join([*lines, *drawn, *([foot] if foot else [])])


def _label(graph: Graph, module: str) -> str:
    """A module's name, and where it runs if there is more to say than one provider."""
    where = graph.places.get(module)
    return f"{module} [{where}]" if where else module


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)


def _mermaid(text: str) -> str:
    """Mermaid's own entities: every character that could end a label, or begin markup, becomes its number."""
    return "".join(c if c.isalnum() or c in "._-/ :" else f"#{ord(c)};" for c in _printable(text))


def _dot(text: str) -> str:
    escaped = _printable(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
