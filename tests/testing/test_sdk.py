"""The library for modules in Python: over the real handler, and by itself."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import ion.sdk
from ion import sdk
from ion.testing import ModuleRun, run_module

SOURCE = str(Path(ion.sdk.__file__).parents[1])


def run(program: str, **settings: Any) -> ModuleRun:
    """Runs a module in Python that has the library."""
    return run_module([sys.executable, "-c", f"from ion import sdk\n{program}"], env={"PYTHONPATH": SOURCE}, **settings)


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory as a module sees it, with one input."""
    for name in ("in/data", "out/data", "out/events"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "in/data/a.txt").write_text("a")
    monkeypatch.setenv("ION_DIR", str(tmp_path))
    return tmp_path


def test_a_module_reads_and_leaves_everything() -> None:
    """Inputs, data and subject in; files, insights and events out."""
    found = run(
        """
print(sdk.data, sdk.subject, sdk.event["type"], [p.name for p in sdk.inputs("*.jpg")])
boxed = sdk.out("deep/boxed.jpg")
boxed.write_bytes(sdk.inputs("*.jpg")[0].read_bytes())
sdk.write("note.txt", "seen")
sdk.insight("faces", 1)
sdk.insights({"faces": 2, "label": "cat"})
sdk.emit("face", files=[boxed, "note.txt"], inputs=sdk.inputs("*.json"), data={"n": 1}, subject="Tom")
sdk.emit("done")
""",
        files={"sub/cat.jpg": b"cat", "info.json": b"{}"},
        data={"kind": "cat"},
        subject="cat",
        event_type="photo",
        emits=["face", "done"],
    )
    assert found.log == "{'kind': 'cat'} cat photo ['cat.jpg']\n"
    assert found.files["deep/boxed.jpg"].read_bytes() == b"cat"
    assert found.insights == {"faces": 2, "label": "cat"}
    face, done = found.events
    assert (face.type, face.subject, face.data, sorted(face.files)) == (
        "face",
        "Tom",
        {"n": 1},
        ["deep/boxed.jpg", "info.json", "note.txt"],
    )
    assert (done.type, done.subject, done.data) == ("done", "cat", {})


@pytest.mark.parametrize("data", [{"files": "mine", "k": 1}, {"k": 1}, {}, [1, 2], "text"])
def test_data_is_what_the_event_said(data: Any) -> None:
    """Whatever Ion puts beside it or around it, with files and without."""
    for files in ({}, {"a.txt": b"a"}):
        found = run("import json; print(json.dumps(sdk.data))", data=data, files=files)
        assert json.loads(found.log) == data


def test_events_of_several_processes_do_not_meet() -> None:
    """Each gets a number of its own, and none is lost."""
    found = run(
        """
import multiprocessing
def work(n):
    for k in range(10):
        sdk.emit("t", data={"n": n * 10 + k})
processes = [multiprocessing.get_context("fork").Process(target=work, args=(n,)) for n in range(4)]
[p.start() for p in processes]
[p.join() for p in processes]
""",
        emits=["t"],
    )
    assert sorted(event.data["n"] for event in found.events) == list(range(40))


def test_events_need_no_hard_links(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some network file systems have none."""

    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", refuse)
    assert [sdk.emit("t", data={"n": n}).name for n in range(3)] == ["000001.json", "000002.json", "000003.json"]
    assert json.loads((directory / "out/events/000002.json").read_bytes())["data"] == {"n": 1}
    assert [path.name for path in (directory / "out").iterdir() if path.is_file()] == []


def test_an_event_may_have_a_name(directory: Path) -> None:
    """Its id follows from that; raising it again replaces it."""
    sdk.emit("t", name="first", data={"n": 1})
    assert sdk.emit("t", name="first.json", data={"n": 2}) == directory / "out/events/first.json"
    assert json.loads((directory / "out/events/first.json").read_bytes())["data"] == {"n": 2}
    assert [path.name for path in (directory / "out/events").iterdir()] == ["first.json"]


def test_insights_go_with_those_that_were_there(directory: Path) -> None:
    """Also with those in the other form."""
    (directory / "out/insights.json").write_text('[{"key": "a", "value": "1"}]')
    sdk.insight("b", [2])
    assert json.loads((directory / "out/insights.json").read_bytes()) == {"a": "1", "b": [2]}


@pytest.mark.parametrize(
    ("program", "sentence"),
    [
        ("sdk.out('../x')", "'../x' does not lie in out/data: give a path from there, without '..'"),
        ("sdk.out('/etc/passwd')", "'/etc/passwd' does not lie in out/data"),
        ("sdk.out('.')", "'.' does not lie in out/data"),
        ("sdk.emit('')", "an event needs a type"),
        ("sdk.emit('t', files='a.txt')", "has one path where a list is meant"),
        ("sdk.emit('t', files=['no'])", "the event 't' names the file 'no', which is not in out/data"),
        ("sdk.emit('t', inputs=['no'])", "the event 't' names the file 'no', which is not in in/data"),
        ("sdk.emit('t', data={'n': float('nan')})", "the data of the event 't' cannot be written as JSON"),
        ("sdk.insight('k', object())", "an insight cannot be written as JSON"),
        ("(sdk.base() / 'out/insights.json').mkdir(), sdk.insight('k', 1)", "already cannot be read"),
        ("sdk.event", "the event cannot be read from"),
    ],
)
def test_a_slip_is_one_sentence(directory: Path, program: str, sentence: str) -> None:
    """It names the thing, and leaves nothing behind."""
    with pytest.raises(sdk.ModuleError) as caught:
        eval(program)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [path for path in (directory / "out").rglob("*") if path.is_file()] == []


def test_without_a_directory_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables of both generations are looked at, then `/ion`."""
    monkeypatch.delenv("ION_DIR", raising=False)
    monkeypatch.setenv("HANDLER_BASE_DIR", str(tmp_path))
    with pytest.raises(sdk.ModuleError, match=f"{tmp_path} is no directory of Ion's: set ION_DIR"):
        sdk.inputs()
    (tmp_path / "in/data").mkdir(parents=True)
    assert sdk.base() == tmp_path


def test_it_is_light_and_stands_alone(tmp_path: Path, directory: Path) -> None:
    """Importing it brings in nothing else of Ion, and a copy of the one file works by itself."""
    program = "import sys, ion.sdk; print(sorted(m for m in sys.modules if m.startswith(('ion', 'msgspec', 'click'))))"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert said.stdout == "['ion', 'ion.sdk']\n"
    shutil.copy(ion.sdk.__file__, tmp_path / "copied.py")
    program = "import copied; print(copied.inputs()[0].name)"
    alone = {**os.environ, "PYTHONPATH": str(tmp_path)}
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=alone)
    assert said.stdout == "a.txt\n"
