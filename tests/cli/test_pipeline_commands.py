"""`ion init`, `ion graph` and `ion schema`: the commands about pipeline files."""

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ion.config.load import load_pipeline
from ion.config.schema import json_schema

if TYPE_CHECKING:
    from tests.cli.conftest import Bench

PIPELINE = """
ion: 1
modules:
  detect: {command: [true], on: photo, emits: [face_detected]}
  count: {command: [true], on: face_detcted}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, empty."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


# ---- ion init ---------------------------------------------------------------------------------------------------


def test_init_makes_a_pipeline_and_says_how_to_run_it(bench: "Bench", folder: Path) -> None:
    """The new pipeline file can be loaded, and the exact command to try is printed."""
    said = bench.ion("init", "my first", store=False).stdout
    assert said.endswith("cd 'my first' && ion run ion.yaml --event text_added --file sample.txt\n")
    made = folder / "my first"
    pipeline = load_pipeline(made / "ion.yaml", environ={})
    assert [module.name for module in pipeline.modules] == ["words", "summary"]
    assert (made / "ion.yaml").read_text().startswith("# yaml-language-server: $schema=.ion/schema.json\n")
    assert json.loads((made / ".ion" / "schema.json").read_text()) == json_schema()
    assert 10 <= len((made / "README.md").read_text().splitlines()) <= 20


def test_init_in_this_folder_names_no_folder(bench: "Bench", folder: Path) -> None:
    """Without DIR the pipeline is made here, and nobody is told to change folders."""
    said = bench.ion("init", store=False).stdout
    assert said.endswith("\n  ion run ion.yaml --event text_added --file sample.txt\n")
    assert (folder / "ion.yaml").is_file()


def test_init_makes_modules_that_really_work(bench: "Bench", folder: Path) -> None:
    """Run by hand in their directories, the shell module counts and the Python module summarises."""
    bench.ion("init", store=False)
    words, summary = folder / "words", folder / "summary"
    for directory in (words, summary):
        for name in ("in/data", "out/data", "out/events"):
            (directory / name).mkdir(parents=True)
    (words / "in/data/a text.txt").write_text("One fish, two fish; don't stop.\n")
    run_module(words, "sh", "modules/words.sh")
    counted = words / "out/data/a text.txt.tsv"
    assert counted.read_text().splitlines()[0] == "fish\t2"
    assert json.loads((words / "out/events/a text.txt.json").read_text()) == {
        "type": "words_counted",
        "files": ["a text.txt.tsv"],
    }
    counted.rename(summary / "in/data" / counted.name)
    run_module(summary, "python3", "modules/summary.py")
    assert "- fish: 2" in (summary / "out/data/a text.txt.md").read_text()
    insights = json.loads((summary / "out/insights.json").read_text())
    assert insights == {"words": 7, "different": 6, "most_frequent": "fish"}


def run_module(directory: Path, *command: str) -> None:
    subprocess.run(
        command, env={"PATH": os.environ["PATH"], "ION_DIR": str(directory)}, check=True, capture_output=True
    )


def test_init_refuses_a_folder_with_a_pipeline(bench: "Bench", folder: Path) -> None:
    """A second time exits with 2 and changes nothing."""
    bench.ion("init", store=False)
    (folder / "ion.yaml").write_text("mine")
    refused = bench.ion("init", store=False, code=2).stderr
    assert refused == f"Error: {folder} has an ion.yaml already: choose another folder\n"
    assert (folder / "ion.yaml").read_text() == "mine"


def test_init_overwrites_nothing(bench: "Bench", folder: Path) -> None:
    """A file of the same name that somebody wrote refuses the whole; one that init itself left does not."""
    (folder / "README.md").write_text("mine")
    assert "README.md is there already" in bench.ion("init", store=False, code=2).stderr
    assert [path.name for path in folder.iterdir()] == ["README.md"]
    (folder / "README.md").unlink()
    bench.ion("init", store=False)
    (folder / "ion.yaml").unlink()  # as if it had been killed before the last file
    bench.ion("init", store=False)
    assert (folder / "ion.yaml").is_file()


# ---- ion graph --------------------------------------------------------------------------------------------------


def test_graph_draws_the_pipeline_and_says_what_is_odd(bench: "Bench", folder: Path) -> None:
    """The drawing is on standard output, the findings on standard error; warnings do not fail."""
    (folder / "ion.yaml").write_text(PIPELINE)
    result = bench.ion("graph", "--event", "photo", store=False)
    assert result.stdout.splitlines()[:3] == ["photo", "└─ detect", "   └─ face_detected → (outside)"]
    assert "warning: no module raises 'face_detcted', which count hears; did you mean 'face_detected'?" in result.stderr
    assert "'photo'" not in result.stderr


@pytest.mark.parametrize(("form", "begin"), [("mermaid", "flowchart LR"), ("dot", "digraph ion {")])
def test_graph_draws_for_other_programs(bench: "Bench", folder: Path, form: str, begin: str) -> None:
    """--format gives Mermaid and DOT."""
    (folder / "other.yaml").write_text(PIPELINE)
    assert bench.ion("graph", "other.yaml", "--format", form, store=False).stdout.startswith(begin)


def test_graph_takes_a_profile(bench: "Bench", folder: Path) -> None:
    """--profile lays a profile over the file."""
    (folder / "ion.yaml").write_text(PIPELINE + "profiles: {small: {modules: {count: null}}}\n")
    assert "count" not in bench.ion("graph", "--profile", "small", store=False).stdout


def test_graph_refuses_a_bad_file(bench: "Bench", folder: Path) -> None:
    """A missing file, a wrong key and an unknown profile exit with 2 and name the place."""
    assert "ion.yaml" in bench.ion("graph", store=False, code=2).stderr
    (folder / "ion.yaml").write_text("ion: 1\nmodules:\n  a: {comand: [true], on: x}\n")
    refused = bench.ion("graph", store=False, code=2).stderr
    assert "ion.yaml:3" in refused
    assert "did you mean 'command'?" in refused
    (folder / "ion.yaml").write_text(PIPELINE)
    bench.ion("graph", "--profile", "none", store=False, code=2)


# ---- ion schema -------------------------------------------------------------------------------------------------


def test_schema_is_written_beside_the_pipeline(bench: "Bench", folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By default it goes where the first line of ion.yaml points, also from a folder below."""
    (folder / "ion.yaml").write_text(PIPELINE)
    (folder / "modules").mkdir()
    monkeypatch.chdir(folder / "modules")
    assert bench.ion("schema", store=False).stdout == f"{folder}/.ion/schema.json\n"
    assert json.loads((folder / ".ion" / "schema.json").read_text()) == json_schema()


def test_schema_goes_where_it_is_told(bench: "Bench", folder: Path) -> None:
    """-o names a file, or standard output; what cannot be written is refused."""
    assert json.loads(bench.ion("schema", "-o", "-", store=False).stdout) == json_schema()
    assert list(folder.iterdir()) == []
    bench.ion("schema", "-o", "s.json", store=False)
    assert json.loads((folder / "s.json").read_text()) == json_schema()
    assert "s.json/x cannot be written" in bench.ion("schema", "-o", "s.json/x", store=False, code=2).stderr
