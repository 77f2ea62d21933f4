"""`ion run`: the real command, on real folders with small modules in shell."""

import hashlib
import json
import os
import re
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ion.dispatcher.service import Stores
from ion.management.events import RootEvent, raise_event
from ion.model.job import FailureClass, Hold, State
from ion.model.module import Module, Subscription, revise

if TYPE_CHECKING:  # mypy sees the tests from the root of the tree, pytest from their own folder
    from tests.cli.programs import WAITS, Ended, Folder, alive, keeps, raises, shell, until
else:
    from programs import WAITS, Folder, alive, keeps, raises, shell, until

COUNTS = 'for n in $(seq 1 30); do echo "line $n"; done; exit 3'
"""A script that fails with thirty lines in its log."""


@pytest.fixture
def here(tmp_path: Path) -> Iterator["Folder"]:
    """A folder to run commands in."""
    with Folder(tmp_path) as folder:
        yield folder


@pytest.fixture
def cat(here: "Folder") -> Path:
    """A picture in the folder."""
    return here.write("cat.jpg", "a cat")


def results(ended: "Ended") -> list[Any]:
    """The lines of `--json`."""
    return [json.loads(line) for line in ended.out.splitlines()]


def states(here: "Folder") -> list[tuple[str, str]]:
    return [(job.module, job.state.value) for job in here.jobs()]


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


# ---- refusals ---------------------------------------------------------------------------------------------------


@pytest.fixture
def looked(here: "Folder") -> Callable[[], Any]:
    """A store in which something stands already, and how to look at it: what a refusal must leave as it was.

    A dispatcher that was opened on it would release the root event, and one module would be there too many.
    """
    old = Module(name="old", on=(Subscription(type="old"),), command=("true",), folder="/")

    async def fill(stores: Stores) -> None:
        await stores.ledger.apply([revise(old)], "test")
        await raise_event(RootEvent(type="old"), gateway="test", ledger=stores.ledger, blobs=stores.blobs)

    async def look(stores: Stores) -> Any:
        modules = [(one.module.name, one.revision.id) for one in await stores.ledger.modules()]
        return modules, [flow async for flow in stores.ledger.flows()]

    here.do(fill)
    return lambda: (here.do(look), [(job.id, job.state) for job in here.jobs()])


def refused(here: "Folder", looked: Callable[[], Any], *arguments: str, env: Mapping[str, str] | None = None) -> str:
    """Runs what is to be refused, and sees to it that nothing was done; gives the sentence."""
    before = looked()
    ended = here.run(*arguments, code=2, env=env)
    assert ended.out == ""
    assert looked() == before
    return ended.said


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        pytest.param(
            ("--event", "foto"), "no module of the pipeline hears 'foto'; did you mean 'photo'?", id="unknown type"
        ),
        pytest.param(
            ("--event", "photo", "--set", "kind"), "'kind' is no key and value: write KEY=VALUE", id="no value"
        ),
        pytest.param(
            ("--event", "photo", "--each-set", "=1"), "'=1' is no key and value: write KEY=VALUE", id="no key"
        ),
        pytest.param(
            ("--event", "photo", "--each", "*.jpg", "--each", "*.gif"),
            "--each '*.gif' matches no file: quote the pattern, and mind the folder",
            id="no match",
        ),
        pytest.param(
            ("--set", "kind=cat"),
            "say which event to raise: --event TYPE goes with --set, --file, --each and --subject",
            id="no type",
        ),
        pytest.param(("--profile", "big"), "ion.yaml:1: there is no profile 'big'; none is known", id="no profile"),
        pytest.param(
            ("gone.yaml",), "gone.yaml: the file cannot be read (No such file or directory); check its path", id="file"
        ),
    ],
)
def test_bad_input_is_refused(
    here: "Folder", cat: Path, looked: Callable[[], Any], arguments: tuple[str, ...], sentence: str
) -> None:
    """With exit code 2 and a sentence that says what to give instead; nothing is registered, raised or run."""
    here.pipeline({"detect": shell("true", on="photo")})
    assert refused(here, looked, *arguments) == sentence


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        pytest.param(("--event", "photo", "--file", "gone.jpg"), "gone.jpg cannot be read", id="no file"),
        pytest.param(("--event", "photo", "--subject", "a\tcat"), "the subject 'a\\tcat' cannot be used", id="subject"),
        pytest.param(("--event", "ion.dead"), "events of type 'ion.dead' are Ion's own", id="own type"),
    ],
)
def test_events_that_cannot_be_raised_are_refused_before_anything_is_done(
    here: "Folder", cat: Path, looked: Callable[[], Any], arguments: tuple[str, ...], sentence: str
) -> None:
    """With exit code 2 and a sentence; neither are the modules registered, nor do open flows run."""
    here.pipeline({"detect": shell("true", on=["photo", "ion.dead"])})
    assert sentence in refused(here, looked, *arguments)


def test_a_bad_pipeline_file_is_refused_with_the_line(here: "Folder", looked: Callable[[], Any]) -> None:
    """The sentence begins with FILE:LINE and offers the nearest key."""
    here.write("ion.yaml", "ion: 1\nmodules:\n  detect:\n    comand: [true]\n    on: photo\n")
    sentence = refused(here, looked, "--event", "photo")
    assert sentence.startswith("ion.yaml:4: ")
    assert "did you mean 'command'?" in sentence


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"resources": {"cpu": 5}}, "module greedy wants 5 cpus, this machine has 4: ask for fewer"),
        (
            {"resources": {"memory": "512Mi"}},
            "module greedy wants 512 MiB of memory, this machine has 256 MiB: ask for less",
        ),
        ({"resources": {"gpu": 2}}, "module greedy wants 2 gpus, this machine has 1: ask for fewer"),
        (
            {"provider": "kubernetes"},
            "module greedy is for the provider 'kubernetes', and this Ion has local: set `provider: local`",
        ),
        (
            {"secrets": {"API_KEY": "vision-key"}},
            "module greedy needs the secret 'vision-key' (as API_KEY): ",
        ),
    ],
    ids=["cpu", "memory", "gpu", "provider", "secret"],
)
def test_a_module_that_cannot_run_here_is_refused(
    here: "Folder", looked: Callable[[], Any], keys: Mapping[str, Any], sentence: str
) -> None:
    """Even where it stands last in the pipeline: before anything is raised, not after the others have run."""
    machine = {"cpu": 4, "memory": "256Mi", "gpus": 1}
    here.pipeline({"detect": shell("true", on="photo"), "greedy": shell("true", on="face", **keys)}, machine=machine)
    assert refused(here, looked, "--event", "photo").startswith(sentence)


def test_a_refusal_makes_no_store(here: "Folder") -> None:
    """Where there was none, a module that cannot run leaves none behind."""
    here.pipeline({"greedy": shell("true", on="photo", resources={"cpu": 5})})
    here.run("--event", "photo", code=2)
    assert not here.store.exists()


@pytest.mark.parametrize(
    ("arguments", "env", "settings"),
    [
        pytest.param(("--endpoint", "acme:9000"), {}, {}, id="option"),
        pytest.param((), {"ION_ENDPOINT": "acme:9000"}, {}, id="environment"),
        pytest.param((), {}, {"endpoint": "acme:9000"}, id="pipeline file"),
        pytest.param(("--profile", "far"), {}, {"profiles": {"far": {"endpoint": "acme:9000"}}}, id="profile"),
        pytest.param(("--config", "client.yaml"), {}, {}, id="config"),
        pytest.param((), {"HOME": "home"}, {}, id="home"),
    ],
)
def test_an_endpoint_is_refused(
    here: "Folder", looked: Callable[[], Any], arguments: tuple[str, ...], env: dict[str, str], settings: dict[str, Any]
) -> None:
    """Wherever it is configured: working here instead of there would be worse than not working."""
    here.pipeline({"detect": shell("true", on="photo")}, **settings)
    for file in ("client.yaml", "home/.ioncli.yaml"):
        here.write(file, "endpoint: acme:9000\n")
    env = {name: str(here.path / value) if name == "HOME" else value for name, value in env.items()}
    sentence = "the endpoint acme:9000 cannot be used: this Ion works on local stores only; use --store"
    assert refused(here, looked, "--event", "photo", *arguments, env=env) == sentence


def test_a_store_that_cannot_be_made_is_refused(here: "Folder", cat: Path) -> None:
    """One sentence, and no traceback."""
    here.pipeline({"detect": shell("true", on="photo")})
    assert "cat.jpg" in here.run("--event", "photo", "--store", "cat.jpg", code=2).said


FILTERED = shell("true", on=[{"type": "photo", "filters": [{"exact": {"data.kind": "cat"}}]}])


def test_a_root_event_that_every_filter_turns_away_is_refused(here: "Folder") -> None:
    """It would start nothing, which was hardly meant; one that a filter lets through is not."""
    here.pipeline({"detect": FILTERED})
    ended = here.run("--event", "photo", "--set", "kind=dog", code=2)
    assert ended.said == "no module takes 'photo': the filters of all that hear it turn it away"
    here.run("--event", "photo", "--each-set", "kind=dog", "--each-set", "kind=cat")
    assert len(here.jobs("detect", State.RELEASED)) == 1


def test_a_refused_root_event_is_not_raised(here: "Folder", looked: Callable[[], Any]) -> None:
    """Where every filter turns it away, there is no event in the ledger, and no result that says `ok`."""
    here.pipeline({"detect": FILTERED})
    said = refused(here, looked, "--event", "photo", "--set", "kind=dog", "--json")
    assert said.startswith("no module takes 'photo'")


# ---- going on ---------------------------------------------------------------------------------------------------

TWO = {
    "detect": shell(f"{WAITS}{raises('face')}", on="photo", emits="face", retries={"backoff": "1ms"}),
    "count": shell("true", on="face"),
}


def test_a_run_that_was_killed_is_finished_by_the_next(here: "Folder") -> None:
    """Without --event `ion run` takes up the open flow: the lost attempt is made again, and nothing is doubled."""
    here.pipeline(TWO)
    program = here.start("run", "--event", "photo")
    until(lambda: len(here.begun()) == 1)
    program.kill()
    assert states(here) == [("cli", "released"), ("detect", "running")]
    here.go()
    ended = here.run()
    assert "going on with 1 open flow\n" in ended.err
    assert ": 3 released\n" in ended.out
    (job,) = here.jobs("detect")
    assert (job.attempt, job.failures) == (2, {FailureClass.LOST: 1})
    assert states(here) == [("cli", "released"), ("detect", "released"), ("count", "released")]
    assert not alive(here.begun()[0])


def test_with_no_open_flow_there_is_nothing_to_do(here: "Folder") -> None:
    """`ion run` alone says so and exits with 0."""
    here.pipeline(TWO)
    ended = here.run()
    assert "\nno flow is open; " in ended.err
    assert ended.out == ""


def test_an_interrupt_lets_the_running_job_end(here: "Folder") -> None:
    """Its results count; what comes after it is left for the next run. The exit code is 130."""
    here.pipeline(TWO)
    program = here.start("run", "--event", "photo")
    until(lambda: len(here.begun()) == 1)
    program.signal(signal.SIGINT)
    until(lambda: "stopping: running jobs have 30 s to end" in program.err)
    here.go()
    ended = program.wait(130)
    assert ended.out.startswith("✓ detect ")
    assert ended.err.endswith("stopped; `ion run` without --event goes on with what is open\n")
    assert states(here) == [("cli", "released"), ("detect", "released"), ("count", "waiting")]
    here.run()
    assert states(here) == [("cli", "released"), ("detect", "released"), ("count", "released")]
    assert len(here.begun()) == 1


def test_a_second_interrupt_gives_the_running_job_up(here: "Folder") -> None:
    """Its processes are gone, nothing of it counts as a failure, and the next run does it again."""
    here.pipeline(TWO)
    program = here.start("run", "--event", "photo")
    until(lambda: len(here.begun()) == 1)
    program.signal(signal.SIGINT)
    until(lambda: "stopping: " in program.err)
    program.signal(signal.SIGINT)
    assert program.wait(130).out.startswith("↩ detect ")
    assert not alive(here.begun()[0])
    (job,) = here.jobs("detect")
    assert (job.state, job.failures, job.failure) == (State.WAITING, {}, None)
    here.go()
    here.run()
    (job,) = here.jobs("detect")
    assert (job.state, job.attempt) == (State.RELEASED, 2)


def test_a_request_to_end_stops_it_like_an_interrupt(here: "Folder") -> None:
    """SIGTERM, as a supervisor sends it; the exit code names the signal."""
    here.pipeline(TWO)
    program = here.start("run", "--event", "photo")
    until(lambda: len(here.begun()) == 1)
    program.signal(signal.SIGTERM)
    until(lambda: "stopping: " in program.err)
    here.go()
    program.wait(128 + signal.SIGTERM)
    assert states(here)[1] == ("detect", "released")


# ---- secrets ----------------------------------------------------------------------------------------------------

SECRETS = {
    "ENV": "swordfish-of-the-environment",
    "FOLDER": "swordfish-of-the-folder",
    "NAMED_ENV": "swordfish-of-a-named-variable",
    "NAMED_FILE": "swordfish-of-a-named-file",
}


def test_secrets_reach_the_module_and_nothing_else(here: "Folder") -> None:
    """From each of their sources; they are in no file of the store, running or ended, and masked in the log."""
    shown = " ".join(f"${name}" for name in SECRETS)
    script = f'echo "{shown}"; echo "{shown}" | sha256sum > "$ION_DIR/out/data/sum"; {WAITS}'
    names = {"ENV": "VISION_KEY", "FOLDER": "folder-key", "NAMED_ENV": "vault", "NAMED_FILE": "disk"}
    sources = {"vault": {"env": "VAULT_TOKEN"}, "disk": {"file": "keys/disk"}}
    here.pipeline({"detect": shell(script, on="photo", secrets=names)}, secrets=sources)
    here.write("keys/disk", SECRETS["NAMED_FILE"] + "\n")
    (here.apart / "folder-key").write_text(SECRETS["FOLDER"] + "\n")
    env = {"VISION_KEY": SECRETS["ENV"], "VAULT_TOKEN": SECRETS["NAMED_ENV"], "ION_SECRETS_DIR": str(here.apart)}
    program = here.start("run", "--event", "photo", env=env)
    until(lambda: len(here.begun()) == 1)
    assert leaks(here) == set()
    here.go()
    ended = program.wait()
    assert leaks(here) == set()
    assert not any(secret in ended.out + ended.err for secret in SECRETS.values())
    said = " ".join(SECRETS.values()) + "\n"
    assert here.results("detect")["sum"].split()[0] == hashlib.sha256(said.encode()).hexdigest()
    assert here.log(here.jobs("detect")[0]).endswith("Z *** *** *** ***\n")


def leaks(here: "Folder") -> set[tuple[str, str]]:
    """Which secrets stand in which files of the store."""
    content = {file: file.read_bytes() for file in here.store.rglob("*") if file.is_file()}
    assert any(b"photo" in found for found in content.values())
    return {(file.name, name) for file, found in content.items() for name, s in SECRETS.items() if s.encode() in found}


# ---- terminals --------------------------------------------------------------------------------------------------

CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
"""What moves the cursor, clears lines and colours."""


def test_a_terminal_shows_a_live_tree_and_then_the_summary(here: "Folder") -> None:
    """While a module runs, the tree names all of the pipeline, one below the other; the summary stands last."""
    here.pipeline(TWO)
    shown = here.on_terminal(
        "run", "--event", "photo", enough=lambda text: "▶ 1" in text and "count" in text, then=here.go
    )
    assert "\x1b[1A" in shown
    tree, _, summary = CODES.sub("", shown).replace("\r\n", "\n").rpartition("\n\nflow ")
    assert tree.splitlines()[-3:] == ["photo", "└── detect          ✓ 1", "    └── count           ✓ 1"]
    assert summary.splitlines()[0] == f"{here.jobs()[0].correlation_id}: 3 released"
    assert not CODES.search(shown.rpartition("flow ")[2])


def test_a_terminal_shows_failures_above_the_tree(here: "Folder") -> None:
    """The job, why it failed, and the end of its log."""
    here.pipeline({"loud": shell(COUNTS, on="photo")})
    shown = here.on_terminal("run", "--event", "photo", "--subject", "a cat", code=1)
    assert "loud" in shown
    assert "a cat: exit code 3" in shown
    assert "line 10\r\n" not in shown
    assert shown.count("line 30") == 1


def test_plain_draws_nothing_on_a_terminal(here: "Folder") -> None:
    """--plain prints the lines that a pipe would get."""
    here.pipeline({"detect": shell("true", on="photo")})
    shown = here.on_terminal("run", "--plain", "--event", "photo", "--subject", "a cat")
    assert shown.startswith("✓ detect ")
    assert "\x1b" not in shown


@pytest.mark.parametrize("option", ["--plain", "--no-retries"])
def test_a_modules_log_does_not_steer_the_terminal(here: "Folder", option: str) -> None:
    """Control characters of a log never reach it: neither in plain lines nor above the tree."""
    here.pipeline({"loud": shell("printf 'clear\\033]0;title\\007and\\033[2J\\n'; exit 1", on="photo")})
    shown = here.on_terminal("run", option, "--event", "photo", code=1)
    assert "clear" in shown
    assert "\x1b]0;" not in shown
    assert "\x1b[2J" not in shown
