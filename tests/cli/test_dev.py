"""A module is run by hand, step by step, as in the original."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.cli.programs import Ended, Folder

from ion.cli.dev import dev

DETECT = """
cd "$HANDLER_BASE_DIR"
cp in/data/cat.jpg out/data/boxed.jpg; echo note > out/data/note.txt
echo '{"faces": 2}' > out/insights.json
echo '[{"key": "eventType", "value": "face"}, {"key": "files", "value": "boxed.jpg"}]' > out/events/face.json
"""


class Developer:
    """A person at `ion dev`, whose home is a folder of the test's."""

    def __init__(self, here: Folder) -> None:
        self.here, self.home = here, here.apart / "home"
        self.home.mkdir()

    def ion(self, *arguments: str, code: int = 0) -> Ended:
        return self.here.ion("dev", *arguments, code=code, env={"HOME": str(self.home), "ION_HOME": "/nowhere"})

    def json(self, *arguments: str) -> Any:
        return json.loads(self.ion(*arguments, "--json").out)

    def init(self, files: str = "cat.jpg", *more: str) -> str:
        """The parent's id, as it is printed."""
        said = self.ion("module", "init", "--files", files, *more).out
        found = re.fullmatch(r"new parent event id: (\S+)\n", said)
        assert found is not None
        return found[1]

    def step(self, verb: str, event: str, parent: str, *more: str, name: str = "detect", code: int = 0) -> Ended:
        given = ("--name", name, "--event-types", "face,none", "--event-id", event, "--parent-event-id", parent)
        return self.ion("module", verb, *given, *more, code=code)

    def run(self, script: str, base: str = "ion") -> None:
        """Their own program, by hand."""
        subprocess.run(
            ["sh", "-ec", script],
            cwd=self.here.path,
            env={**os.environ, "HANDLER_BASE_DIR": str(self.here.path / base)},
            check=True,
        )

    def detect(self, event: str = "1", parent: str = "") -> tuple[str, str]:
        """Prepares, runs and commits a first module: its parent's id, and that of the event that it raised."""
        parent = parent or self.init()
        self.step("prepare", event, parent)
        self.run(DETECT)
        return parent, self.step("commit", event, parent).out.splitlines()[1].split()[0]


@pytest.fixture
def person(here: Folder, cat: Path) -> Developer:
    """Somebody with a picture, and nothing in `~/.ion`."""
    return Developer(here)


def test_a_person_goes_from_module_to_module(person: Developer) -> None:
    """Files, a module, what it raised, the next module on that; each step says what comes next."""
    said = person.ion("module", "init", "--files", "cat.jpg")
    parent = said.out.split()[-1]
    assert f"--event-id 1 --parent-event-id {parent}" in said.err
    prepared = person.step("prepare", "1", parent)
    assert "Set environment variable $HANDLER_BASE_DIR to 'ion'" in prepared.out
    assert "then: ion dev module commit --name detect --event-types face,none --event-id 1" in prepared.err
    person.run(DETECT)
    committed = person.step("commit", "1", parent)
    first, raised = committed.out.splitlines()
    assert first == "module has been committed"
    event, *rest = raised.split()
    assert rest == ["face", "boxed.jpg"]
    assert f"--event-id {event} --parent-event-id 1" in committed.err
    person.step("prepare", event, "1", name="count")
    assert [path.name for path in (person.here.path / "ion/in/data").iterdir()] == ["boxed.jpg"]
    assert json.loads((person.here.path / "ion/in/event.json").read_bytes())["id"] == event
    assert "module has been committed" in person.step("commit", event, "1", name="count").out
    assert not (person.here.path / "ion").exists()


def test_the_tree_of_what_was_committed_is_drawn(person: Developer) -> None:
    """Each below what it came of, by the ids that people gave; from one of them on if asked."""
    parent, event = person.detect()
    person.step("prepare", event, "1", name="count")
    person.step("commit", event, "1", name="count")
    other = person.init()
    lines = person.ion("module", "list").out.splitlines()
    assert lines == [
        f"{parent}  init  cat.jpg",
        "  1  detect  boxed.jpg, note.txt  raised face",
        f"    {event}  count",
        f"{other}  init  cat.jpg",
    ]
    assert person.ion("module", "list", "--root-event-id", "1").out.splitlines()[0].startswith("1  detect")
    found = person.json("module", "list", "--root-event-id", parent)
    assert [(one["moduleId"], one["name"]) for one in found] == [(parent, "dev"), ("1", "detect"), (event, "count")]
    assert found[1]["insights"] == {"faces": 2}


def test_an_event_of_ones_own_brings_all_that_its_parent_left(person: Developer) -> None:
    """A new id under a parent, as the original has it; every parent has its own."""
    person.detect()
    person.step("prepare", "2", "1", name="count")
    names = sorted(path.name for path in (person.here.path / "ion/in/data").iterdir())
    assert names == ["boxed.jpg", "note.txt"]
    event = json.loads((person.here.path / "ion/in/event.json").read_bytes())
    other = person.init()
    person.step("prepare", "2", other, "--correlation-id", "mine")
    again = json.loads((person.here.path / "ion/in/event.json").read_bytes())
    assert again["id"] != event["id"]
    assert (event["correlationid"], again["correlationid"]) == ("dev", "mine")


def test_the_origins_own_event_may_be_run(person: Developer) -> None:
    """As modules do that a gateway's event starts."""
    parent = person.init()
    person.step("prepare", parent, "dev")
    person.run(DETECT)
    person.step("commit", parent, "dev")
    person.step("prepare", "2", parent, name="count")
    person.step("commit", "2", parent, name="count")
    lines = person.ion("module", "list").out.splitlines()
    assert [line.split()[1] for line in lines] == ["init", "detect", "count"]
    assert lines[2] == "    2  count"


def test_events_are_listed(person: Developer) -> None:
    """For people a line each; for scripts as CloudEvents."""
    _, event = person.detect()
    assert person.ion("event", "list", "--module-id", "1").out == f"{event}  face  boxed.jpg\n"
    (found,) = person.json("event", "list", "--module-id", "1")
    assert (found["id"], found["type"], found["specversion"]) == (event, "face", "1.0")
    person.step("prepare", event, "1", name="count")
    person.step("commit", event, "1", name="count")
    assert "module raised no events" in person.ion("event", "list", "--module-id", event).err


def test_a_module_is_selected(person: Developer) -> None:
    """What it saw and left comes into a folder, in place of what was selected before."""
    person.detect()
    for _ in range(2):
        said = person.ion("module", "select", "--module-id", "1").out
    assert said == "module selected and available in directory ion-module\n"
    folder = person.here.path / "ion-module"
    assert (folder / "in/data/cat.jpg").read_text() == "a cat"
    assert (folder / "out/data/boxed.jpg").read_text() == "a cat"
    assert json.loads((folder / "out/insights.json").read_bytes()) == {"faces": 2}
    assert json.loads((folder / "out/events/000001.json").read_bytes())["type"] == "face"


def test_a_refused_commit_changes_nothing(person: Developer) -> None:
    """The fault is named, the directory stays, and mending it is enough."""
    parent = person.init()
    person.step("prepare", "1", parent)
    person.run("""echo '{"type": "fcae"}' > "$HANDLER_BASE_DIR/out/events/a.json" """)
    assert "raises 'fcae', which the module does not declare" in person.step("commit", "1", parent, code=2).said
    assert len(person.json("module", "list")) == 1
    person.run("""echo '{"type": "face"}' > "$HANDLER_BASE_DIR/out/events/a.json" """)
    person.step("commit", "1", parent)
    assert len(person.json("module", "list")) == 2


def test_a_later_commit_takes_the_place_of_the_earlier(person: Developer) -> None:
    """The module was mended and run again: its events are new ones."""
    parent, event = person.detect()
    _, again = person.detect(parent=parent)
    assert again != event
    (run,) = person.json("module", "list", "--root-event-id", "1")
    assert [one["id"] for one in run["events"]] == [again]


def test_a_large_input_is_the_persons_own(person: Developer) -> None:
    """They may write to it: it is a copy, and nothing is left beside the directory."""
    person.here.write("big.bin", "x" * 2_000_000)
    parent = person.init("big.bin")
    person.step("prepare", "1", parent)
    person.run('echo more >> "$HANDLER_BASE_DIR/in/data/big.bin"')
    person.step("prepare", "1", parent)
    assert (person.here.path / "ion/in/data/big.bin").stat().st_size == 2_000_000
    person.run('ln -s ../../in/data/big.bin "$HANDLER_BASE_DIR/out/data/same.bin"')
    person.step("commit", "1", parent)
    assert sorted(path.name for path in person.here.path.iterdir()) == ["big.bin", "cat.jpg"]


def test_nothing_of_a_persons_own_is_removed(person: Developer) -> None:
    """A folder that has other things in it is refused, and keeps them."""
    parent = person.init()
    person.here.write("ion/work.py", "mine")
    assert "with work.py in it" in person.step("prepare", "1", parent, code=2).said
    person.step("prepare", "1", parent, "--base-dir", "other")
    person.here.write("other/work.py", "mine")
    assert "with work.py in it" in person.step("prepare", "1", parent, "--base-dir", "other", code=2).said
    person.run('echo a > "$HANDLER_BASE_DIR/out/data/a"', base="other")
    person.step("commit", "1", parent, "--base-dir", "other")
    assert [path.name for path in (person.here.path / "other").iterdir()] == ["work.py"]


def test_a_slip_is_one_sentence(person: Developer) -> None:
    """Parents, events and folders that are not there, or not of each other."""
    assert "nothing was committed for 'no'" in person.step("prepare", "1", "no", code=2).said
    parent, event = person.detect()
    assert "say --parent-event-id" in person.step("prepare", event, parent, code=2).said
    assert "ion is not prepared: `ion dev module prepare` makes it" in person.step("commit", "1", parent, code=2).said
    person.step("prepare", "1", parent)
    assert "was prepared for the event" in person.step("commit", "2", parent, code=2).said
    assert "nothing was committed for 'x'" in person.ion("module", "select", "--module-id", "x", code=2).said
    assert "no such file" in person.ion("module", "init", "--files", "gone.jpg", code=2).said.lower()


def test_files_are_taken_apart_at_commas(person: Developer) -> None:
    """Unless one is called so."""
    person.here.write("dog.jpg", "a dog")
    person.here.write("a,b.jpg", "both")
    person.init("cat.jpg,dog.jpg")
    person.init("a,b.jpg")
    first, second = person.json("module", "list")
    assert (first["files"], second["files"]) == (["cat.jpg", "dog.jpg"], ["a,b.jpg"])


def test_its_store_is_like_any_other(person: Developer) -> None:
    """Below the home folder, never in ION_HOME; other commands work on it, and trace the flow."""
    person.detect()
    store = str(person.home / ".ion/dev")
    records = json.loads(person.here.ion("--store", store, "trace", "flow", "-c", "dev").out)
    assert {record["context"]["documentType"] for record in records} == {"eventMeta", "insight"}
    jobs = json.loads(person.here.ion("--store", store, "job", "list", "--json").out)
    assert [(job["module"], job["state"]) for job in jobs] == [("dev", "released"), ("detect", "released")]
    person.here.ion("--store", store, "audit")
    shutil.rmtree(person.home)


def test_every_command_has_an_example() -> None:
    """Help shows how each is typed."""
    groups: list[Any] = [dev]
    for group in groups:
        for command in group.commands.values():
            assert "Example:" in (command.epilog or "")
            groups += [command] if hasattr(command, "commands") else []
