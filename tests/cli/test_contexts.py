"""`ion context`: the Ions of a client, by name; and what shells complete."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.cli.remote import invoke

from ion.cli.completion import SHELLS

if TYPE_CHECKING:
    from tests.cli.conftest import Bench

CONFIG = """# mine
timeout: 5s
contexts:
  lab:
    endpoint: lab:9000  # upstairs
  home: {store: /data/.ion}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "ioncli.yaml"
    file.write_text(CONFIG)
    file.chmod(0o600)
    return file


def said(config: Path, *arguments: str, code: int = 0) -> str:
    result = invoke("--config", str(config), "context", *arguments, code=code)
    return result.stdout if code == 0 else result.stderr


def test_list_marks_the_context_in_use(config: Path) -> None:
    """A row a context, with where it leads; JSON has all that it says."""
    assert said(config, "list").splitlines() == ["  NAME  ION", "  lab   lab:9000", "  home  /data/.ion"]
    said(config, "use", "home")
    assert said(config, "list").splitlines()[2] == "*  home  /data/.ion"
    assert json.loads(said(config, "list", "--json")) == [
        {"name": "lab", "used": False, "endpoint": "lab:9000"},
        {"name": "home", "used": True, "store": "/data/.ion"},
    ]


def test_use_changes_one_line_and_leaves_the_rest_as_it_was_written(config: Path) -> None:
    """Comments, order and the file's rights stay; choosing again, or none, changes the same line."""
    said(config, "use", "lab")
    assert config.read_text() == f"context: lab\n{CONFIG}"
    said(config, "use", "home")
    assert config.read_text() == f"context: home\n{CONFIG}"
    said(config, "use", "--none")
    said(config, "use", "--none")
    assert config.read_text() == CONFIG
    assert config.stat().st_mode & 0o777 == 0o600


def test_a_context_that_is_gone_can_be_left(config: Path) -> None:
    """The list still shows what there is, and another one can be chosen."""
    config.write_text(f"Context: gone\n{CONFIG}")
    assert "there is no context 'gone'" in said(config, "show", code=2)
    assert len(said(config, "list").splitlines()) == 3
    said(config, "use", "lab")
    assert config.read_text() == f"context: lab\n{CONFIG}"


def test_use_refuses_what_it_cannot_do(config: Path) -> None:
    """An unknown name, no name, and a file that is written on one line: each with one sentence, and nothing changed."""
    assert "there is no context 'lbb'" in said(config, "use", "lbb", code=2)
    assert "say which context" in said(config, "use", code=2)
    assert "say which context" in said(config, "use", "lab", "--none", code=2)
    config.write_text(text := '{"contexts": {"lab": {"endpoint": "a"}}}')
    assert "set `context` by hand" in said(config, "use", "lab", code=2)
    assert config.read_text() == text


def test_show_tells_where_each_option_was_said(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a command would work on from here, and why."""
    monkeypatch.setenv("ION_KEYFILE", "/k")
    said(config, "use", "lab")
    shown = json.loads(said(config, "show", "--json"))
    assert (shown["context"], shown["endpoint"], shown["timeout"]) == ("lab", "lab:9000", "5 s")
    assert shown["origins"] == {"endpoint": "context lab", "timeout": str(config), "keyfile": "the environment"}
    assert "endpoint   lab:9000  (context lab)" in said(config, "show")


def test_the_file_in_the_home_folder_is_read_unless_another_is_named(
    config: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """~/.ioncli.yaml, as the original had it."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    assert invoke("context", "list").stdout.splitlines()[1:] == []
    (home / ".ioncli.yaml").write_text("contexts: {mine: {endpoint: mine}}")
    assert "mine" in invoke("context", "list").stdout


# ---- completion -------------------------------------------------------------------------------------------------


def completed(line: str, cwd: Path, env: dict[str, str] | None = None) -> list[str]:
    """What bash would offer at the end of a line."""
    words = line.split(" ")
    variables = {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1), "_ION_COMPLETE": "bash_complete"}
    program = "from ion.cli.main import main; main(prog_name='ion')"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=cwd,
        env={**os.environ, **(env or {}), **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return [word.partition(",")[2] for word in done.stdout.splitlines() if word]


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_is_printed_for_each_shell(shell: str) -> None:
    """It calls `ion` back with what was typed."""
    assert "_ION_COMPLETE" in invoke("completion", shell).stdout


def test_commands_states_modules_and_contexts_are_completed(bench: "Bench", config: Path) -> None:
    """Names of modules come from the store here, contexts from the file; both without a network."""
    here = bench.folder
    assert completed("ion fl", here) == ["flow"]
    assert completed("ion job lis", here) == ["list"]
    assert completed("ion job list --state d", here) == ["dead"]
    assert completed("ion job list --module d", here) == ["detect"]
    assert completed(f"ion --store {bench.store} rerun -n ", Path("/")) == ["count", "detect"]
    assert completed(f"ion --config {config} context use l", here) == ["lab"]
    assert completed(f"ion --config {config} --context h", here) == ["home"]


def test_nothing_is_completed_where_names_would_cost_a_connection(bench: "Bench") -> None:
    """A remote Ion is not asked, a broken configuration is not complained about."""
    assert completed("ion --endpoint nowhere:1 job list -n ", bench.folder) == []
    assert completed("ion --config /nowhere --context ", bench.folder) == []
    assert "job" in completed("ion nonsense ", bench.folder)
