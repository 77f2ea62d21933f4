"""`ion run`: the real command, on real folders with small modules in shell."""

import json
import os
import re
from pathlib import Path

from tests.cli.programs import WAITS, Ended, Folder, keeps, raises, results, shell, states, until

from ion.model.job import Hold, State

COUNTS = 'for n in $(seq 1 30); do echo "line $n"; done; exit 3'
"""A script that fails with thirty lines in its log."""


# ---- how it ends ------------------------------------------------------------------------------------------------


def test_a_flow_that_ends_well_exits_with_0_and_names_its_files(here: "Folder", cat: Path) -> None:
    """Every job is released; what the last modules left is named, with the place where it lies."""
    here.pipeline(
        {
            "detect": shell(keeps("boxed.jpg") + raises("face"), on="photo", emits="face"),
            "count": shell(keeps("faces.txt", "two faces"), on="face"),
        }
    )
    ended = here.run("--event", "photo", "--file", "cat.jpg")
    assert states(here) == [("cli", "released"), ("detect", "released"), ("count", "released")]
    assert f"\nflow {here.jobs()[0].correlation_id}: 3 released\n" in ended.out
    steps = [line.split() for line in ended.out.splitlines()[:2]]
    assert [(mark, module, about) for mark, module, _, about in steps] == [
        ("✓", "detect", "cat.jpg"),
        ("✓", "count", "cat.jpg"),
    ]
    (row,) = [line.split() for line in ended.out.splitlines() if ".ion/blobs/" in line]
    assert row[:2] == ["count", "faces.txt"]
    assert (here.path / row[-1]).read_text() == "two faces\n"
    assert "store: .ion\n" in ended.err


def test_files_of_every_last_module_are_named_and_no_others(here: "Folder", cat: Path) -> None:
    """A module that raised nothing is one, also where another that heard the same event raised something."""
    here.pipeline(
        {
            "detect": shell(keeps("boxed.jpg") + raises("face"), on="photo", emits="face"),
            "frame": shell(keeps("framed.jpg"), on="photo"),
            "count": shell(keeps("faces.txt"), on="face"),
        }
    )
    ended = here.run("--event", "photo", "--file", "cat.jpg")
    assert files(ended) == {("count", "faces.txt"), ("frame", "framed.jpg")}


def test_what_was_brought_is_not_named_as_a_result(here: "Folder", cat: Path) -> None:
    """The file of the root event is an input, although it was stored by a job."""
    here.pipeline({"detect": shell(keeps("boxed.jpg"), on="photo")})
    assert files(here.run("--event", "photo", "--file", "cat.jpg")) == {("detect", "boxed.jpg")}


def files(ended: "Ended") -> set[tuple[str, str]]:
    """The modules and files of the summary."""
    rows = [line.split() for line in ended.out.splitlines() if ".ion/blobs/" in line]
    return {(row[0], row[1]) for row in rows}


def test_failed_jobs_are_named_with_exit_code_1(here: "Folder", cat: Path) -> None:
    """Each with its module, what it was about and why; the command that shows the log really shows it."""
    here.pipeline(
        {
            "detect": shell(raises("face"), on="photo", emits="face"),
            "count": shell("echo no faces here; exit 3", on="face"),
        }
    )
    ended = here.run("--event", "photo", "--file", "cat.jpg", code=1)
    (job,) = here.jobs("count")
    assert job.state is State.DEAD
    assert f": 1 dead, 2 released\n  ✗ count  {job.id[:8]}  cat.jpg: exit code 3\n" in ended.out
    assert f"  ion job logs {job.id[:8]} " in ended.out
    assert here.ion("job", "logs", job.id[:8]).out.endswith("no faces here\n")


def test_the_log_of_a_modules_first_failure_is_shown_at_once(here: "Folder") -> None:
    """Its last 20 lines, once a module, while other jobs of the flow still run."""
    here.pipeline(
        {
            "loud": shell(COUNTS, on="photo"),
            "terse": shell("echo no; exit 1", on="photo"),
            "slow": shell(WAITS, on="photo"),
        }
    )
    program = here.start("run", "--event", "photo", "--each-set", "n=1", "--each-set", "n=2", "--each-set", "n=3")
    until(lambda: program.out.count("✗ loud") == program.out.count("✗ terse") == 3)
    shown = [line.split(maxsplit=1)[1] for line in program.out.splitlines() if line.startswith("    ")]
    assert sorted(shown) == sorted(["no", *(f"line {n}" for n in range(11, 31))])
    assert "\nflow " not in program.out
    here.go()
    assert ": 6 dead, 6 released\n" in program.wait(1).out


def test_a_module_that_raised_nothing_is_marked(here: "Folder") -> None:
    """Where it declares events; one that declares none, or raised some, is not."""
    here.pipeline(
        {
            "detect": shell(raises("face"), on="photo", emits="face"),
            "count": shell("true", on="face", emits="crowd"),
            "store": shell("true", on="face"),
        }
    )
    ended = here.run("--event", "photo")
    marked = {line.split()[1]: line.endswith("  (raised nothing)") for line in ended.out.splitlines() if "✓" in line}
    assert marked == {"detect": False, "count": True, "store": False}


def test_a_flow_that_cannot_go_on_exits_with_1_and_says_why(here: "Folder") -> None:
    """A job that a guard holds keeps its flow open; the run does not wait for a person."""
    here.pipeline({"echo": shell(raises("photo"), on="photo", emits="photo")}, guards={"max_hops": 2})
    ended = here.run("--event", "photo", code=1)
    (held,) = here.jobs("echo", State.WAITING)
    assert held.hold is Hold.HOPS
    assert re.search(r": 3 released, 1 waiting\n  1 job\b.* held by a \w+ or a \w+", ended.out)


# ---- root events ------------------------------------------------------------------------------------------------


def test_a_root_event_brings_values_files_and_a_subject(here: "Folder", cat: Path) -> None:
    """The module finds them in its directory."""
    script = 'cp "$ION_DIR"/in/data/* "$ION_DIR"/in/event.json "$ION_DIR"/in/eventmeta.json "$ION_DIR"/out/data'
    here.pipeline({"detect": shell(script, on="photo")})
    here.write("models/m.bin", "a model")
    given = ("--set", "kind=cat", "--set", "q=a=b", "--file", "cat.jpg", "--file", "models/m.bin")
    here.run("--event", "photo", *given, "--subject", "a fat cat")
    found = here.results("detect")
    assert (found["cat.jpg"], found["m.bin"]) == ("a cat", "a model")
    event = json.loads(found["event.json"])
    assert (event["type"], event["subject"]) == ("photo", "a fat cat")
    assert (event["data"]["kind"], event["data"]["q"]) == ("cat", "a=b")
    meta = {pair["key"]: pair["value"] for pair in json.loads(found["eventmeta.json"])}
    assert (meta["kind"], meta["q"]) == ("cat", "a=b")


def test_a_series_is_one_flow_in_order(here: "Folder") -> None:
    """One root event a matching file, then one a value, each with what all share; their jobs all run."""
    here.pipeline({"detect": shell("true", on="photo")})
    for name in ("img/c.jpg", "img/a.jpg", "img/b.png", "img/d.gif", "model.bin"):
        here.write(name, name)
    series = ("--each", "img/*.jpg", "--each", "img/*.png", "--each-set", "n=1", "--each-set", "n=2")
    ended = here.run("--event", "photo", *series, "--set", "n=0", "--file", "model.bin")
    roots = [job.event for job in here.jobs("cli")]
    assert [([file.path for file in event.files], event.subject, event.data) for event in roots] == [
        (["model.bin", "a.jpg"], "a.jpg", {"n": "0"}),
        (["model.bin", "c.jpg"], "c.jpg", {"n": "0"}),
        (["model.bin", "b.png"], "b.png", {"n": "0"}),
        (["model.bin"], "model.bin", {"n": "1"}),
        (["model.bin"], "model.bin", {"n": "2"}),
    ]
    (flow,) = {event.correlation_id for event in roots}
    assert f"\nflow {flow}: 10 released\n" in ended.out
    assert len(here.jobs("detect", State.RELEASED)) == 5


def test_a_profile_is_laid_over_the_file(here: "Folder") -> None:
    """By its option, or by the environment."""
    here.pipeline(
        {"detect": shell("true", on="photo"), "count": shell("true", on="photo")},
        profiles={"small": {"modules": {"count": None}}, "tiny": {"modules": {"detect": None}}},
    )
    assert "✓ count" not in here.run("--event", "photo", "--profile", "small", env={"ION_PROFILE": "tiny"}).out
    assert "✓ detect" not in here.run("--event", "photo", env={"ION_PROFILE": "tiny"}).out


def test_pipelines_of_one_folder_leave_each_other_alone(here: "Folder") -> None:
    """Another file without a name shares the store, and takes no module away from the first."""
    here.pipeline({"detect": shell("true", on="photo")})
    here.run("--event", "photo")
    here.write("other.yaml", (here.path / "ion.yaml").read_text().replace("detect", "count"))
    here.run("other.yaml", "--event", "photo")
    assert [job.module for job in here.jobs() if job.module != "cli"] == ["detect", "count", "detect"]


# ---- retries ----------------------------------------------------------------------------------------------------

FAILS_TWICE = shell(
    'echo try >> tries; echo "try $(wc -l < tries)"; [ $(wc -l < tries) -ge 3 ]',
    on="photo",
    retries={"module": 2, "backoff": "1ms"},
)


def test_a_failure_is_final_by_default(here: "Folder") -> None:
    """Whoever tries a pipeline sees its first fault, not the third."""
    here.pipeline({"detect": FAILS_TWICE})
    ended = here.run("--event", "photo", code=1)
    assert ended.out.startswith("✗ detect ")
    assert len(here.lines("tries")) == 1


def test_with_retries_the_files_budget_counts(here: "Folder") -> None:
    """A job that fails twice of three times is released; only its first failure shows its log."""
    here.pipeline({"detect": FAILS_TWICE})
    ended = here.run("--event", "photo", "--retries")
    assert len(here.lines("tries")) == 3
    first, log, second, third = ended.out.splitlines()[:4]
    assert log.startswith("    ")
    assert log.endswith("try 1")
    for line in (first, second):
        assert line.startswith("↻ detect ")
        assert line.endswith("exit code 1; will be tried again")
    assert third.startswith("✓ detect ")


# ---- for scripts ------------------------------------------------------------------------------------------------


def test_json_is_one_document_a_line_with_the_result_last(here: "Folder", cat: Path) -> None:
    """Each step is told with its job; the result counts the flow's jobs by module and names those that failed."""
    here.pipeline(
        {
            "detect": shell(raises("face"), on="photo", emits="face"),
            "count": shell(COUNTS, on="face"),
        }
    )
    *steps, result = results(here.run("--event", "photo", "--file", "cat.jpg", "--json", code=1))
    (detect,), (count,) = here.jobs("detect"), here.jobs("count")
    assert [(step["step"], step["job"], step["attempt"], step["subject"]) for step in steps] == [
        ("started", detect.id, 1, "cat.jpg"),
        ("committed", detect.id, 1, "cat.jpg"),
        ("started", count.id, 1, "cat.jpg"),
        ("dead", count.id, 1, "cat.jpg"),
    ]
    assert steps[-1]["failure"] == {"class": "module", "message": "exit code 3"}
    assert [line.split(maxsplit=1)[1] for line in steps[-1]["log_tail"]] == [f"line {n}" for n in range(11, 31)]
    assert result == {
        "flow": detect.correlation_id,
        "ok": False,
        "jobs": {"cli": {"released": 1}, "detect": {"released": 1}, "count": {"dead": 1}},
        "failed": [{"job": count.id, "module": "count", "message": "exit code 3"}],
        "stuck": "",
    }


def test_json_says_that_all_went_well(here: "Folder") -> None:
    """Then the result is `ok`, and names no failed job."""
    here.pipeline({"detect": shell("true", on="photo")})
    *_, result = results(here.run("--event", "photo", "--json"))
    assert (result["ok"], result["failed"], result["stuck"]) == (True, [], "")


def test_a_reader_that_leaves_ends_the_run(here: "Folder") -> None:
    """`ion run | head -1` does not hang, and says nothing of the broken pipe; the next run finishes the flow."""
    here.pipeline({"detect": shell(raises("face"), on="photo", emits="face"), "count": shell(WAITS, on="face")})
    reading, writing = os.pipe()
    program = here.start("run", "--event", "photo", out=writing)
    os.close(writing)
    os.close(reading)
    assert "Traceback" not in program.wait(1).err
    here.go()
    here.run()
    assert states(here) == [("cli", "released"), ("detect", "released"), ("count", "released")]


def test_an_output_without_the_marks_breaks_nothing(here: "Folder") -> None:
    """On a Latin-1 terminal a mark may be shown as something else; the flow runs to its end."""
    here.pipeline({"detect": shell("true", on="photo")})
    assert ": 2 released\n" in here.run("--event", "photo", env={"PYTHONIOENCODING": "latin-1"}).out
