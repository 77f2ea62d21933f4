"""YAML with positions, and what a pipeline file may not use."""

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ion.config import source
from ion.config.nodes import Items, Node, Scalar, Table
from ion.config.source import DEPTH_MOST, NODES_MOST, read_document
from ion.errors import PipelineError


def read(folder: Path, content: str | bytes) -> Table:
    path = folder / "f.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_document(path)


def refused(folder: Path, content: str | bytes) -> str:
    with pytest.raises(PipelineError) as caught:
        read(folder, content)
    return str(caught.value).replace(f"{folder}/", "")


def plain(node: Node) -> object:
    match node:
        case Scalar():
            return node.text
        case Items():
            return [plain(item) for item in node.items]
        case Table():
            return {key: plain(value) for key, value in node.entries.items()}


def test_every_scalar_is_the_text_that_was_written(tmp_path: Path) -> None:
    """No word and no number is converted, neither in keys nor in values."""
    text = "on: no\n012: 1:30\nx: [1e3, 0x1F, ~, null, 2024-01-01, yes, .5, '']\n"
    expected = {"on": "no", "012": "1:30", "x": ["1e3", "0x1F", "~", "null", "2024-01-01", "yes", ".5", ""]}
    assert plain(read(tmp_path, text)) == expected


def test_places_are_the_lines_of_keys_and_values(tmp_path: Path) -> None:
    """A key and a text know their own line; a collection has the line of its key."""
    table = read(tmp_path, "a:\n  b: 1\n\n  c:\n    - x\n    - y\n")
    inner = table.entries["a"]
    assert isinstance(inner, Table)
    items = inner.entries["c"]
    assert isinstance(items, Items)
    assert [inner.place.line, inner.keys["b"].line, items.place.line] == [1, 2, 4]
    assert [item.place.line for item in items.items] == [5, 6]


def test_only_nothing_is_empty(tmp_path: Path) -> None:
    """A missing value is empty; a quoted empty text and the word null are not."""
    entries = read(tmp_path, "a:\nb: ''\nc: null\nd: ~\n").entries
    assert {key for key, node in entries.items() if isinstance(node, Scalar) and node.empty} == {"a"}


def test_aliases_and_merge_keys_bring_what_they_name(tmp_path: Path) -> None:
    """An alias repeats its anchor; `<<` adds keys behind the mapping's own, of several mappings the first's."""
    text = "x: &x {a: 1, b: 2}\ny: &y {b: 3, c: 4}\nz: {<<: [*x, *y], a: 0}\nw: *x\nq: {'<<': 1}\n"
    read_back = plain(read(tmp_path, text))
    assert isinstance(read_back, dict)
    assert read_back["z"] == {"a": "0", "b": "2", "c": "4"}
    assert read_back["w"] == {"a": "1", "b": "2"}
    assert read_back["q"] == {"<<": "1"}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("a: 1\nb: 2\na: 3\n", "f.yaml:3: the key 'a' is also on line 1; remove one of the two"),
        ("a: 1\nb: !!python/object:os.system x\n", "f.yaml:2: the tag"),
        ("a: !!int 5\n", "f.yaml:1: the tag 'tag:yaml.org,2002:int' is not allowed"),
        ("a: 1\nb: *nobody\n", "f.yaml:2: the alias '*nobody' names no anchor"),
        ("a: &a [*a]\n", "f.yaml:1: the alias '*a' names no anchor that ends before it"),
        ("[1, 2]: 3\n", "f.yaml:1: a key must be plain text"),
        ("a: {<<: 3}\n", "f.yaml:1: '<<' merges mappings"),
        ("a:\n\t- b\n", "f.yaml:2: this is not YAML"),
        ("a: b: c\n", "f.yaml:1: this is not YAML"),
        ("a: [\n", "f.yaml:2: this is not YAML"),
        ("a: 1\n---\nb: 2\n", "f.yaml:2: a second document begins here"),
        ("- a\n", "f.yaml:1: a pipeline file is a mapping"),
        ("", "f.yaml:1: the file is empty"),
        ("# nothing\n", "f.yaml:1: the file is empty"),
        ('a: 1\nb: "\\0"\n', "f.yaml:2: a value holds a character that is no text"),
        (b"a: 1\nb: \xff\n", "f.yaml:2: the file is not UTF-8"),
        ("a: \x07\n", "f.yaml:1: this is not YAML"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, content: str | bytes, expected: str) -> None:
    """Each fault of a file is one sentence behind the file's name and the line."""
    assert refused(tmp_path, content).startswith(expected)


def test_a_tab_is_named_as_the_likely_fault(tmp_path: Path) -> None:
    """Indentation by tabs, the most frequent mistake, gets its own advice."""
    assert refused(tmp_path, "a:\n\t- b\n").endswith("indent with spaces, not tabs")


def test_an_alias_bomb_is_refused(tmp_path: Path) -> None:
    """Aliases of aliases are counted as if they were written out, before anything walks them."""
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    assert f"more than {NODES_MOST} values" in refused(tmp_path, "\n".join(levels))


def test_deep_nesting_is_refused(tmp_path: Path) -> None:
    """A file nested as no person nests ends in a sentence, not in a full stack."""
    for text in ("a: " + "[" * 100_000, "a: " + "{b: " * 100_000):
        said = refused(tmp_path, text)
        # The parser may have a bound of its own and come first with it.
        assert f"deeper than {DEPTH_MOST} levels" in said or "maximum nesting depth" in said
    assert f"deeper than {DEPTH_MOST} levels" in refused(
        tmp_path, "a: " + "[" * (DEPTH_MOST + 1) + "]" * (DEPTH_MOST + 1)
    )


def test_a_file_too_large_is_not_read(tmp_path: Path) -> None:
    """A data file taken for a pipeline file is refused by its size."""
    assert "is this a pipeline file?" in refused(tmp_path, b"a" * (4 * 1024 * 1024 + 1))


PIECES = [*"ab:-[]{}&*!|>'\"#%, \n\t", "<<: ", "&x ", "*x", "\\x07", "\0", "é", "---\n", "? "]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(PIECES)).map("".join))
def test_any_text_is_a_mapping_or_a_refusal_with_a_place(tmp_path: Path, text: str) -> None:
    """Whatever a file holds, it is read, or refused in one line that begins with the file."""
    try:
        message = f"f.yaml:{read(tmp_path, text).place.line}: read"
    except PipelineError as error:
        message = str(error).replace(f"{tmp_path}/", "")
    assert re.match(r"f\.yaml:\d+: ", message)
    assert message.isprintable()


@pytest.mark.parametrize(
    "text",
    [
        "a: {b: [1, 'x', *y]}\n",
        "a: &x [1]\nb: {<<: {c: *x}}\nd: |\n  text\n",
        "a: 'x'\nb:\nc: >-\n  t\n  u\n",
        "a:\n\t- b\n",
    ],
)
def test_both_parsers_read_alike(tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the C parser was not built, the Python parser gives the same tree, or refuses the same line."""
    found = []
    for loader in (yaml.CBaseLoader, yaml.BaseLoader):
        monkeypatch.setattr(source, "LOADER", loader)
        try:
            found.append(str(read(tmp_path, text)))
        except PipelineError as error:
            found.append(str(error).split(":")[1])
    assert found[0] == found[1]
