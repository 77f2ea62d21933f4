"""`ion run` that is interrupted and goes on, with secrets, and on a terminal."""

import hashlib
import re
import signal

import pytest
from tests.cli.programs import WAITS, Folder, alive, raises, shell, states, until

from ion.model.job import FailureClass, State

COUNTS = 'for n in $(seq 1 30); do echo "line $n"; done; exit 3'
"""A script that fails with thirty lines in its log."""


# ---- going on ---------------------------------------------------------------------------------------------------

TWO = {
    "detect": shell(f"{WAITS}{raises('face')}", on="photo", emits="face", retries={"backoff": "1ms"}),
    "count": shell("true", on="face"),
}


def test_a_run_that_was_killed_is_finished_by_the_next(here: "Folder") -> None:
    """Without --event `ion run` takes up the open flow: the lost attempt is made again, and nothing is doubled."""
    here.pipeline(TWO)
    program = here.start("run", "--event", "photo")
    until(lambda: len(here.begun()) == 1 and states(here) == [("cli", "released"), ("detect", "running")])
    program.kill()
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
