"""`ion module`: every command on a real store, in this process."""

from pathlib import Path

import pytest
from tests.cli.conftest import Bench

from ion.model.event import Event
from ion.model.job import State
from ion.model.module import Module, Retries, Subscription

CREATE = ("module", "create", "-n", "made", "-i", "photo", "-o", "face")


def registered(bench: Bench, name: str) -> Module | None:
    found = {one.module.name: one.module for one in bench.do(lambda stores: stores.ledger.modules())}
    return found.get(name)


def test_a_module_is_created_as_the_original_does(bench: Bench, tmp_path: Path) -> None:
    """The original's flags and defaults; the deployed name is printed, and the variables come from a file."""
    (tmp_path / "x.env").write_text("THRESHOLD=0.7\n")
    printed = bench.ion(*CREATE, "-m", "acme/detect:1", "--config-map-file", str(tmp_path / "x.env")).stdout
    assert registered(bench, "made") == Module(
        name="made",
        on=(Subscription(type="photo"),),
        emits=("face",),
        image="acme/detect:1",
        provider="kubernetes",
        concurrency=1,
        retries=Retries(module=1, timeout=1),
        timeout_s=300.0,
        env={"THRESHOLD": "0.7"},
        folder=str(Path.cwd()),
    )
    deployed = printed.strip()
    assert deployed.startswith("made-")
    assert bench.json("module", "get", "-n", deployed, "--json")["deployed"] == deployed


def test_every_number_of_the_original_can_be_given(bench: Bench) -> None:
    """Long names, in place of the short ones too."""
    bench.ion(
        *("module", "create", "--name", "made", "--event-subscriptions", "a,b", "--event-publications", "c"),
        *("--module-image", "acme/x", "--handler-image", "acme/handler", "--provider", "AzureBatch"),
        *("--instance-count", "3", "--retry-count", "0", "--max-exec-mins", "90"),
    )
    made = registered(bench, "made")
    assert made is not None
    assert [one.type for one in made.on] == ["a", "b"]
    assert (made.provider, made.concurrency, made.retries.module, made.timeout_s) == ("azurebatch", 3, 0, 5400.0)
    assert made.azurebatch == {"handlerImage": "acme/handler"}


def test_a_program_of_this_host_is_a_module(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `file:PATH` from this folder, or as a command behind two dashes; only with the local provider."""
    monkeypatch.chdir(bench.folder)
    bench.ion(*CREATE, "-p", "local", "-m", "file:./detect -v", "--", "--fast")
    made = registered(bench, "made")
    assert made is not None
    assert (made.image, made.command) == ("", (f"{bench.folder}/detect", "-v", "--fast"))
    bench.ion(*CREATE, "-p", "local", "--", "python3", "detect.py")
    made = registered(bench, "made")
    assert made is not None
    assert (made.command, made.folder) == (("python3", "detect.py"), str(bench.folder))
    refused = bench.ion(*CREATE, "-m", "file:./detect", code=2)
    assert "is a file of one host, which kubernetes has not" in refused.stderr


def test_what_cannot_be_created_is_refused(bench: Bench) -> None:
    """With the module and the fault, and nothing is created."""
    said = bench.ion(*CREATE, "-m", "Acme", "-o", "ion.x", code=2).stderr
    assert "module made: it may not raise 'ion.x'" in said
    assert registered(bench, "made") is None


def test_modules_are_listed(bench: Bench) -> None:
    """A line each, with what it runs; as JSON with the whole configuration."""
    lines = bench.ion("module", "list").stdout.splitlines()
    assert lines[0].split()[:3] == ["MODULE", "DEPLOYED", "PIPELINE"]
    assert [line.split()[0] for line in lines[1:]] == ["count", "detect"]
    listed = bench.json("module", "list", "--json")
    assert [(one["name"], one["module"]["command"]) for one in listed] == [("count", ["true"]), ("detect", ["true"])]


def test_a_module_is_described(bench: Bench, flow: Event) -> None:
    """How it stands, its jobs by state, and what it is told to do."""
    assert flow.id
    bench.photo()
    text = bench.ion("module", "describe", "detect").stdout
    for said in ("unserved: jobs of detect wait", "1 waiting", "hears      photo", "emits      face", "1 h 0 min"):
        assert said in text
    described = bench.json("module", "describe", "count", "--json")
    assert (described["status"], described["jobs"]) == ("ready", {"dead": 1})


def test_pausing_and_resuming_are_shown(bench: Bench) -> None:
    """`get` tells the original's status."""
    assert bench.ion("module", "pause", "detect").stdout == "module detect is paused\n"
    assert "status     paused" in bench.ion("module", "get", "-n", "detect").stdout
    bench.ion("module", "resume", "-n", "detect")
    assert bench.json("module", "get", "detect", "--json")["status"] == "ready"


def test_changes_are_told_and_kept(bench: Bench) -> None:
    """Scaling and rolling back print the difference; the history has all of it, and who did it."""
    assert bench.ion("module", "scale", "detect", "8").stdout == "~ detect: concurrency 4 → 8\n"
    assert bench.ion("module", "scale", "-n", "detect", "8").stdout == "= detect\n"
    assert bench.ion("module", "rollback", "detect").stdout == "~ detect: concurrency 8 → 4\n"
    history = bench.json("module", "history", "detect", "--json")
    assert [past["revision"]["module"].get("concurrency", 4) for past in history] == [4, 8, 4]
    lines = bench.ion("module", "history", "-n", "detect").stdout.splitlines()
    assert lines[0].split() == ["WHEN", "BY", "REVISION", "RUNS"]
    assert (len(lines), "test" in lines[3]) == (4, True)
    earliest = history[-1]["revision"]["id"]
    assert bench.json("module", "rollback", "detect", "--to", earliest[:6], "--json")["fate"] == "unchanged"


def test_jobs_are_found_by_a_deployed_name(bench: Bench, flow: Event) -> None:
    """Wherever modules narrow what is listed or done, the original's name of one is as good."""
    assert flow.id
    deployed = bench.json("module", "get", "count", "--json")["deployed"]
    assert [one["module"] for one in bench.json("job", "list", "-n", deployed, "--json")] == ["count"]
    assert bench.jobs("count")[0].id[:8] in bench.ion("dlq", "list", "-n", deployed).stdout
    detect = bench.json("module", "get", "detect", "--json")["deployed"]
    assert bench.ion("rerun", "--module", detect, "--dry-run").stdout


def test_a_deleted_module_keeps_its_history(bench: Bench) -> None:
    """What waited becomes a dead letter, or is cancelled; the history tells when it was removed."""
    bench.photo()
    assert bench.ion("module", "delete", "detect", "--cancel").stdout == "deleted detect\n"
    assert [job.state for job in bench.jobs("detect")] == [State.CANCELLED]
    assert "removed" in bench.ion("module", "history", "detect").stdout
    assert "there is no module 'detect'" in bench.ion("module", "delete", "detect", code=2).stderr


def test_the_log_of_the_latest_job_is_printed(bench: Bench, flow: Event) -> None:
    """With which job it is on standard error; a module without jobs has none."""
    assert flow.id
    printed = bench.ion("module", "logs", "count")
    assert printed.stdout == "it broke\n"
    assert bench.jobs("count")[0].id in printed.stderr
    bench.apply(Module(name="idle", on=(Subscription(type="x"),), command=("true",)))
    assert "the module idle has had no job yet" in bench.ion("module", "logs", "-n", "idle", code=2).stderr


@pytest.mark.parametrize("arguments", [("get",), ("get", "detect", "-n", "detect"), ("scale", "detect")])
def test_a_module_is_named_once(bench: Bench, arguments: tuple[str, ...]) -> None:
    """Without a name, or with two, the sentence says what to give."""
    assert "say which module" in bench.ion("module", *arguments, code=2).stderr


def test_a_misspelt_name_is_told_the_nearest(bench: Bench) -> None:
    """On every command that takes one."""
    for command in ("get", "describe", "pause", "resume", "delete", "rollback", "logs"):
        assert "did you mean 'detect'?" in bench.ion("module", command, "detcet", code=2).stderr
