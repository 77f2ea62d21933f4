"""`ion apply`: the real command on a folder, beside an `ion up` that runs."""

import json

import pytest
from tests.cli.conftest import Bench
from tests.cli.programs import Folder, shell, until

from ion.model.job import State

OLD = {"detect": shell("true", on="photo"), "old": shell("true", on="old")}
NEW = {"detect": shell("true", on="photo", timeout="2h"), "frame": shell("true", on="photo", emits="frame")}


def test_the_difference_is_told(here: Folder) -> None:
    """New, changed and removed modules have a line each; a dry run changes nothing, and pruning is asked for."""
    here.pipeline({"first": shell("true", on="photo")})
    here.run("--event", "photo")
    here.pipeline(OLD)
    assert here.ion("apply").out == "+ detect\n+ old\n2 added\n"
    here.pipeline(NEW)
    told = "~ detect: timeout_s 3600 → 7200\n- first\n+ frame\n- old\n"
    dry = here.ion("apply", "--dry-run", "--prune")
    assert dry.out == told + "1 added, 1 changed, 2 removed (nothing was changed)\n"
    assert here.ion("apply").out == "~ detect: timeout_s 3600 → 7200\n+ frame\n1 added, 1 changed\n"
    assert here.ion("apply", "ion.yaml", "--prune").out == "- first\n- old\n2 removed, 2 unchanged\n"
    applied = json.loads(here.ion("apply", "--json").out)
    assert [change["fate"] for change in applied["changes"]] == ["unchanged", "unchanged"]


def test_what_is_odd_is_said_beside_it(here: Folder) -> None:
    """A cycle is a warning on standard error, with exit code 0."""
    here.pipeline({"first": shell("true", on="photo")})
    here.run("--event", "photo")
    here.pipeline({"loop": shell("true", on=["photo", "again"], emits="again")})
    assert "warning: events may go round for ever: loop → loop" in here.ion("apply").err


def test_a_file_s_profile_and_endpoint_count(here: Folder) -> None:
    """The file's endpoint is where it goes to, unless a flag names a store; one that is away is exit code 1."""
    here.pipeline({"first": shell("true", on="photo")})
    here.run("--event", "photo")
    here.pipeline(OLD, profiles={"far": {"endpoint": "127.0.0.1:1"}})
    away = here.ion("apply", "--profile", "far", "--timeout", "5", code=1)
    assert "127.0.0.1:1" in away.said
    assert here.ion("apply", "--profile", "far", "--store", ".ion").out.endswith("2 added\n")


def test_a_module_created_while_ion_runs_gets_the_next_event(here: Folder) -> None:
    """Created, changed and deleted beside a running `ion up`: it follows without a restart."""
    here.pipeline({"detect": shell("true", on="photo")})
    up = here.up()
    here.ion("module", "create", "-n", "count", "-i", "clip", "-p", "local", "--", "sh", "-c", "echo one")
    assert up.post("/events/clip", files={"file": ("a.mp4", b"x")}).status_code == 200
    until(lambda: here.released("count"))
    here.ion("module", "create", "-n", "count", "-i", "clip", "-p", "local", "--", "sh", "-c", "echo two")
    assert up.post("/events/clip", files={"file": ("a.mp4", b"x")}).status_code == 200
    until(lambda: here.released("count", 2))
    assert [here.log(job).split()[-1] for job in here.jobs("count")] == ["one", "two"]
    here.ion("module", "delete", "count")
    assert up.post("/events/clip", files={"file": ("a.mp4", b"x")}).status_code == 422


def test_a_module_that_cannot_run_here_is_held(here: Folder) -> None:
    """One sentence says why, its jobs wait, and the others go on; with another provider they run."""
    here.pipeline({"detect": shell("true", on="photo")})
    up = here.up()
    here.ion("module", "create", "-n", "far", "-i", "photo", "-m", "acme/far")
    assert up.post("/events/photo", files={"file": ("a.jpg", b"x")}).status_code == 200
    until(lambda: here.released("detect"))
    until(lambda: "module far is held: it is for the provider 'kubernetes', and here is local" in up.program.err)
    assert [job.state for job in here.jobs("far")] == [State.WAITING]
    here.ion("module", "create", "-n", "far", "-i", "photo", "-p", "local", "--", "true")
    until(lambda: here.released("far"))


def test_a_bad_file_changes_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused with its line, and the registry stays as it was."""
    monkeypatch.chdir(bench.folder)
    (bench.folder / "ion.yaml").write_text("ion: 1\nmodules:\n  a: {command: 'true', on: x, emits: ion.x}\n")
    assert "ion.yaml:3: " in bench.ion("apply", code=2).stderr
    assert [one["name"] for one in bench.json("module", "list", "--json")] == ["count", "detect"]
