"""A module's author tests it in three lines."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ion.errors import ContractError, InvalidError, UnsupportedError
from ion.testing import ModuleFailedError, run_module

INSIGHTS = """echo '{"n": 1.5, "k": "v"}' > out/insights.json"""
RAISES = (
    """printf '{"type": "found", "files": ["a.txt"], "inputs": ["in.txt"], "data": {"n": 2}}' > out/events/a.json"""
)


def sh(script: str) -> list[str]:
    """A module in shell that works in its directory."""
    return ["sh", "-ec", f'cd "$ION_DIR"; {script}']


def test_what_a_module_leaves_is_given_back() -> None:
    """Files as paths, insights with their types, events with their files, the log without times."""
    run = run_module(
        sh(f"""echo said; cp in/data/in.txt out/data/a.txt; {INSIGHTS}; {RAISES}"""),
        files={"in.txt": b"hello"},
        emits=["found"],
    )
    assert (run.exit_code, run.failure, run.log) == (0, "", "said\n")
    assert {name: path.read_text() for name, path in run.files.items()} == {"a.txt": "hello"}
    assert run.insights == {"n": 1.5, "k": "v"}
    (event,) = run.events
    assert (event.type, event.subject, event.data) == ("found", "in.txt", {"n": 2})
    assert {name: path.read_text() for name, path in event.files.items()} == {"a.txt": "hello", "in.txt": "hello"}


def test_a_module_sees_the_event_that_is_described(tmp_path: Path) -> None:
    """Type, data, subject, variables and files, which may also be given by where they are."""
    (tmp_path / "cat.txt").write_text("a cat")
    run = run_module(
        sh('cp in/event.json out/data; cat in/data/sub/cat.txt; echo " $K $ION_MODULE"'),
        name="look",
        files={"sub/cat.txt": tmp_path / "cat.txt"},
        event_type="photo",
        data={"kind": "cat"},
        subject="Tom",
        env={"K": "v"},
    )
    event = json.loads(run.files["event.json"].read_bytes())
    assert (event["type"], event["subject"], event["data"]["kind"]) == ("photo", "Tom", "cat")
    assert run.log == "a cat v look\n"


def test_a_whole_event_may_be_given() -> None:
    """It comes as it is, ids included; its files must be there."""
    script = sh("cp in/event.json out/data")
    first = run_module(script, files={"a": b"1"}, data={"files": "mine"}).files["event.json"].read_bytes()
    again = run_module(script, event=first, files={"a": b"2"})
    assert again.files["event.json"].read_bytes() == first
    with pytest.raises(InvalidError, match="differ in a"):
        run_module(script, event=first)


def test_large_data_comes_back() -> None:
    """What a store would keep apart is in the event all the same."""
    run = run_module(
        sh(
            """k=$(head -c 40000 /dev/zero | tr '\\0' x)
            printf '{"type": "t", "data": {"k": "%s"}}' "$k" > out/events/a.json"""
        ),
        emits=["t"],
    )
    assert run.events[0].data == {"k": "x" * 40_000}


@pytest.mark.parametrize(
    ("script", "fault"),
    [
        ("""echo '{"type": "fuond"}' > out/events/a.json""", "did you mean 'found'"),
        ("""echo '{"type": "found", "files": ["no"]}' > out/events/a.json""", "'no', which is not in out/data"),
        ("echo nonsense > out/insights.json", "out/insights.json is not good JSON"),
        ("ln -s /etc/passwd out/data/p", "only links to single files of in/data"),
    ],
)
def test_what_a_commit_would_refuse_is_refused(script: str, fault: str) -> None:
    """With the sentence that the job would die of."""
    with pytest.raises(ContractError, match=fault):
        run_module(sh(script), emits=["found"])


def test_a_program_that_is_not_there_is_refused() -> None:
    """As it would be in a store."""
    with pytest.raises(ContractError, match=r"'no-such-program' of module .* does not exist"):
        run_module(["no-such-program"])


def test_a_failure_shows_the_end_of_the_log() -> None:
    """The exit code and what the module said are in the message."""
    with pytest.raises(ModuleFailedError, match=r"exit code 3; it logged:\n(.|\n)*broken\n") as caught:
        run_module(sh("echo broken; exit 3"))
    assert (caught.value.exit_code, caught.value.log) == (3, "broken\n")


def test_a_failure_can_be_looked_at() -> None:
    """Without the check it is a result like any other, and what was written is there."""
    run = run_module(sh("echo half > out/data/a; exit 3"), check=False)
    assert (run.exit_code, run.failure, dict(run.files)) == (3, "exit code 3", {})
    assert (run.directory / "out/data/a").read_text() == "half\n"


def test_a_module_that_takes_too_long_is_ended() -> None:
    """A test of a module that hangs does not hang."""
    with pytest.raises(ModuleFailedError, match="longer than its time limit"):
        run_module(["sleep", "1000"], timeout_s=0.2)


def test_secrets_are_given_and_masked() -> None:
    """The module has the value, the log has not."""
    run = run_module(sh('echo "$KEY"; printf %s "$KEY" | wc -c'), secrets={"KEY": "hush-hush"})
    assert run.log.split() == ["***", "9"]


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    """The folder goes when the process ends; the rest at once."""
    program = (
        "from ion.testing import run_module; import os\n"
        "run = run_module(['sh', '-c', 'echo a > $ION_DIR/out/data/a'])\n"
        "print(run.files['a'].read_text(), len(os.listdir(os.environ['TMPDIR'])))"
    )
    where = {**os.environ, "TMPDIR": str(tmp_path)}
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=where)
    assert said.stdout.split() == ["a", "1"]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_may_be_chosen(tmp_path: Path) -> None:
    """It is as the module left it."""
    run_module(sh("echo a > out/data/a"), folder=tmp_path / "here")
    assert (tmp_path / "here/out/data/a").read_text() == "a\n"


async def test_it_works_in_an_asynchronous_test() -> None:
    """A loop that runs already is in nobody's way."""
    assert run_module(sh("echo said")).log == "said\n"


def test_an_image_needs_an_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where there is none, a sentence says what to do."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnsupportedError, match="install podman"):
        run_module(image="localhost/none:1")


def test_importing_it_needs_no_pytest() -> None:
    """Nor does it bring in what only servers need."""
    program = (
        "import sys; from ion.testing import run_module; print({'pytest', 'grpc', 'starlette'} & set(sys.modules))"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert said.stdout == "set()\n"
