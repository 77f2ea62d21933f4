"""The graph of a pipeline: its edges, what is odd about it, and how it is drawn."""

import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ion.management.graph import Edge, Graph, Severity
from ion.management.graph_text import dot, mermaid, tree
from ion.model.module import Module, Rule, Subscription


def module(name: str, hears: Sequence[str] = (), emits: Sequence[str] = ()) -> Module:
    return Module(name=name, on=tuple(Subscription(type=t) for t in hears), emits=tuple(emits))


MEDIA = (
    module("download", ["frontapi.new_link"], ["file_downloaded"]),
    module("frames", ["file_downloaded"], ["frame_extracted"]),
    module("faces", ["frame_extracted"], ["face_detected", "no_face"]),
    module("text", ["frame_extracted"], []),
    module("index", ["face_detected", "file_downloaded"], []),
)

names = st.sampled_from("abcdef")
types = st.lists(st.sampled_from(["t", "u", "v", "w"]), max_size=3, unique=True)
pipelines = st.lists(st.builds(module, names, types, types), max_size=6, unique_by=lambda m: m.name)


def messages(modules: Sequence[Module], roots: Sequence[str] = ()) -> list[str]:
    return [f"{finding.severity}: {finding.message}" for finding in Graph.of(modules, roots).problems()]


def test_edges_lead_from_emitters_to_hearers() -> None:
    """Each type leads from everyone who raises it to everyone who hears it; the outside has no name."""
    assert set(Graph.of(MEDIA).edges) == {
        Edge(source="", type="frontapi.new_link", target="download"),
        Edge(source="download", type="file_downloaded", target="frames"),
        Edge(source="download", type="file_downloaded", target="index"),
        Edge(source="frames", type="frame_extracted", target="faces"),
        Edge(source="frames", type="frame_extracted", target="text"),
        Edge(source="faces", type="face_detected", target="index"),
        Edge(source="faces", type="no_face", target=""),
    }


def test_hearers_and_the_nearest_heard_type() -> None:
    """Who hears a type, and which type was meant where nobody does."""
    graph = Graph.of(MEDIA)
    assert graph.hearers("frame_extracted") == ("faces", "text")
    assert graph.hearers("frame_extractd") == ()
    assert graph.nearest_heard("frame_extractd") == "frame_extracted"
    assert graph.nearest_heard("xyz") == ""


def test_a_sound_pipeline_has_no_warnings() -> None:
    """What goes to outsiders is worth a word, not a warning."""
    assert messages(MEDIA) == ["info: no module hears 'no_face', which faces raises; it goes to outsiders only"]


def test_a_type_that_nobody_raises_is_a_warning_with_the_nearest_name() -> None:
    """Most often it is a typing error, told from both its sides."""
    found = messages([module("a", ["frontapi.new_link"], ["frame_extracted"]), module("b", ["frame_extractd"])])
    assert found == [
        "warning: no module raises 'frame_extractd', which b hears; did you mean 'frame_extracted'?",
        "info: no module hears 'frame_extracted', which a raises; did you mean 'frame_extractd'?",
    ]


def test_types_that_are_merely_alike_are_not_taken_for_typing_errors() -> None:
    """Only a type with a loose end is offered in place of another: what is both raised and heard is meant."""
    modules = [
        module("a", ["frontapi.new_link"], ["frame_extracted", "frames_extracted"]),
        module("b", ["frame_extracted"], []),
    ]
    assert messages(modules) == ["info: no module hears 'frames_extracted', which a raises; it goes to outsiders only"]


def test_roots_and_ions_own_types_come_from_outside() -> None:
    """The gateway's type, a named root and `ion.` types need no module that raises them."""
    modules = [module("a", ["photo"]), module("b", ["ion.job.dead"]), module("c", ["frontapi.new_link"])]
    assert messages(modules, ["photo"]) == []
    assert messages(modules) == ["info: no module raises 'photo', which a hears; it has to come from outside"]


def test_a_root_that_nobody_hears_is_told() -> None:
    """A root type that was named wrongly comes with the nearest one."""
    assert messages([module("a", ["photo"])], ["phto"])[-1] == (
        "info: no module hears the root 'phto'; did you mean 'photo'?"
    )


def test_cycles_are_warnings_with_their_way() -> None:
    """A circle of modules, and a module that starts itself, are each told once."""
    modules = [
        module("a", ["frontapi.new_link", "z"], ["x"]),
        module("b", ["x"], ["y"]),
        module("c", ["y"], ["z", "end"]),
        module("self", ["end", "again"], ["again"]),
    ]
    found = messages(modules)
    assert len(found) == 2
    assert found[0].startswith("warning: events may go round for ever: a → b → c → a; jobs beyond guards.max_hops")
    assert found[1].startswith("warning: events may go round for ever: self → self;")


def test_modules_that_nothing_can_start_are_warnings() -> None:
    """A circle without a way in, what only it starts, and a module that hears nothing."""
    modules = [module("a", ["y"], ["x"]), module("b", ["x"], ["y", "z"]), module("c", ["z"]), module("d")]
    found = [f.modules for f in Graph.of(modules).problems() if "never started" in f.message]
    assert found == [("a",), ("b",), ("c",), ("d",)]


def test_the_tree_shows_every_way_from_outside() -> None:
    """A branch is drawn where it comes first; what nobody hears leads outside."""
    assert tree(Graph.of(MEDIA)) == (
        "frontapi.new_link\n"
        "└─ download\n"
        "   └─ file_downloaded\n"
        "      ├─ frames\n"
        "      │  └─ frame_extracted\n"
        "      │     ├─ faces\n"
        "      │     │  ├─ face_detected\n"
        "      │     │  │  └─ index\n"
        "      │     │  └─ no_face → (outside)\n"
        "      │     └─ text\n"
        "      └─ index"
    )


def test_modules_with_rules_or_a_priority_tell_where_they_run() -> None:
    """In each drawing, behind the name; a module with neither is its name alone."""
    rule = Rule(waited_s=60.0, provider="kubernetes")
    routed = Module(name="detect", command=("x",), on=(Subscription(type="photo"),), route=(rule,), priority=2)
    graph = Graph.of([routed, Module(name="plain", command=("x",), on=(Subscription(type="photo"),))])
    assert tree(graph) == "photo\n├─ detect [local or kubernetes, priority 2]\n└─ plain"
    assert "detect #91;local or kubernetes#44; priority 2#93;" in mermaid(graph)
    assert '"detect [local or kubernetes, priority 2]"' in dot(graph)


def test_the_tree_ends_at_cycles_and_shows_what_is_never_started() -> None:
    """A module seen before points to its branch; one without a way in stands by itself."""
    modules = [module("a", ["go", "x"], ["x"]), module("b", ["y"], ["y"])]
    assert tree(Graph.of(modules)) == (
        "go\n└─ a\n   └─ x\n      └─ a (see above)\nb (never started)\n└─ y\n   └─ b (see above)"
    )


def test_a_long_chain_is_drawn() -> None:
    """A chain longer than Python's stack is walked, drawn and judged."""
    chain = [module(f"m{n}", [f"t{n}"], [f"t{n + 1}"]) for n in range(3000)]
    graph = Graph.of(chain)
    assert tree(graph).count("\n") == 6000
    assert len(graph.problems()) == 2


def test_mermaid_is_a_flowchart_of_every_edge() -> None:
    """Modules are boxes, the outside is rounded, edges carry the type."""
    text = mermaid(Graph.of([module("a", ["go"], ["x", "end"]), module("b", ["x"])]))
    assert text.splitlines() == [
        "flowchart LR",
        '  m0["a"]',
        '  m1["b"]',
        '  in1(["go"])',
        '  out0(["end"])',
        "  in1 --> m0",
        '  m0 -->|"x"| m1',
        "  m0 --> out0",
    ]


def test_dot_is_a_digraph_of_every_edge() -> None:
    """Modules are boxes, the outside are ellipses, edges carry the type."""
    text = dot(Graph.of([module("a", ["go"], ["x"]), module("b", ["x"])]))
    assert text.splitlines() == [
        "digraph ion {",
        "  rankdir=LR;",
        '  m0 [shape=box, label="a"];',
        '  m1 [shape=box, label="b"];',
        '  in0 [shape=ellipse, label="go"];',
        "  in0 -> m0;",
        '  m0 -> m1 [label="x"];',
        "}",
    ]


@pytest.mark.parametrize(
    "hostile", ['"]; click m0 "javascript:x"', "<script>", "a\nb\x1b[2J", "#quot;", "\\", '\\"', "|x|"]
)
def test_names_cannot_break_out_of_a_drawing(hostile: str) -> None:
    """Whatever a module is called, a drawing has the same lines, and no control character."""
    graph = Graph.of([module(hostile, ["go"], [hostile]), module("b", [hostile])])
    plain = Graph.of([module("c", ["go"], ["c"]), module("b", ["c"])])
    for draw in (tree, mermaid, dot):
        text = draw(graph)
        assert len(text.splitlines()) == len(draw(plain).splitlines())
        assert all(c.isprintable() or c == "\n" for c in text)
    labels = re.findall(r'\["(.*)"\]|\|"(.*)"\|', mermaid(graph))
    assert all(re.fullmatch(r"(#\d+;|[\w.\-/ :])+", first or second) for first, second in labels)
    for line in dot(graph).splitlines():
        assert len(re.findall(r'(?<!\\)(?:\\\\)*"', line)) in (0, 2)


@given(pipelines, st.lists(st.sampled_from(["t", "root"]), max_size=2, unique=True))
def test_every_pipeline_can_be_judged_and_drawn(modules: list[Module], roots: list[str]) -> None:
    """Each module and each of its types is drawn; a cycle is told exactly where a module can come back to itself."""
    graph = Graph.of(modules, roots)
    drawings = (tree(graph), mermaid(graph), dot(graph))
    for each in modules:
        assert all(re.search(rf"\b{each.name}\b", text) for text in drawings)
    told = {name for f in graph.problems() if "round for ever" in f.message for name in f.modules}
    assert told == {each.name for each in modules if _returns(graph, each.name)}
    assert [f.severity for f in graph.problems()] == sorted((f.severity for f in graph.problems()), reverse=True)
    assert {f.severity for f in graph.problems()} <= set(Severity)


def _returns(graph: Graph, name: str) -> bool:
    reached: set[str] = set()
    ahead = list(graph.successors(name))
    while ahead:
        other = ahead.pop()
        if other not in reached:
            reached.add(other)
            ahead.extend(graph.successors(other))
    return name in reached
