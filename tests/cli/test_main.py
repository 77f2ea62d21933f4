"""The command line as a whole: its start, its help, its global options, its exit codes."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner

from ion import __version__
from ion.cli.main import COMMANDS, Commands, main
from ion.errors import ConflictError, InvalidError, IonError, NotFoundError, UnavailableError, UnsupportedError
from ion.model.event import Event

if TYPE_CHECKING:
    from tests.cli.conftest import Bench

ION = (sys.executable, "-m", "ion.cli.main")
HEAVY = ("asyncio", "msgspec", "yaml", "rich", "sqlite3", "starlette", "logging", "grpc", "cryptography")


def raising(error: BaseException) -> Commands:
    """A command line whose command `job` fails so."""

    def fail() -> None:
        raise error

    return Commands(commands={"job": click.Command("job", callback=fail)})


@pytest.mark.parametrize("argument", ["--help", "version"])
def test_help_and_version_import_nothing_heavy(argument: str) -> None:
    """`ion --help` and `ion version` start at once: no command and no library but click is imported."""
    probe = (
        "import sys; from ion.cli.main import main\n"
        f"try: main(['{argument}'])\n"
        f"finally: print(*(m for m in {HEAVY} if m in sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stderr.split() == []


def test_version_prints_the_version(bench: "Bench") -> None:
    """`ion version` names the program and its version."""
    assert bench.ion("version").stdout == f"ion {__version__}\n"


def commands_below(command: click.Command, names: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield names
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            found = command.get_command(click.Context(command), name)
            assert found is not None, name
            yield from commands_below(found, (*names, name))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name: str) -> None:
    """`--help` of each command says what it does and shows a command to try."""
    command = main.get_command(click.Context(main), name)
    assert command is not None
    for names in commands_below(command, (name,)):
        result = CliRunner().invoke(main, [*names, "--help"])
        assert result.exit_code == 0, result.output
        assert f"ion {names[0]}" in result.output.partition("Example:")[2], names
        assert click.unstyle(result.output.splitlines()[2]).strip(), names


def test_help_names_every_command() -> None:
    """`ion --help` lists all commands, each with one line."""
    lines = CliRunner().invoke(main, ["--help"]).output.splitlines()
    for name, (_, text) in COMMANDS.items():
        assert any(line.split(None, 1) == [name, text] for line in lines), name


def test_an_unknown_command_is_refused_with_the_nearest(bench: "Bench") -> None:
    """A misspelt command exits with 2 and offers the one that was meant."""
    assert "No such command 'jbo'; did you mean 'job'?" in bench.ion("jbo", code=2).stderr


@pytest.mark.parametrize(
    ("error", "code", "end"),
    [
        (InvalidError("the thing is wrong: mend it"), 2, "the thing is wrong: mend it"),
        (NotFoundError("no such thing"), 2, "no such thing"),
        (ConflictError("not now"), 2, "not now"),
        (UnsupportedError("not here"), 2, "not here"),
        (UnavailableError("the store is away"), 1, "the store is away"),
    ],
)
def test_errors_become_one_sentence_and_an_exit_code(error: IonError, code: int, end: str) -> None:
    """What a person can mend exits with 2, what may be gone later with 1; both say one sentence on standard error."""
    for raised in (error, ExceptionGroup("tasks", [ExceptionGroup("tasks", [error])])):
        result = CliRunner().invoke(raising(raised), ["job"])
        assert (result.exit_code, result.stderr, result.stdout) == (code, f"Error: {end}\n", "")


def test_an_unknown_error_keeps_its_traceback() -> None:
    """An error that is nobody's but Ion's comes out as it is."""
    for error in (ValueError("a bug"), ExceptionGroup("tasks", [ValueError("a"), InvalidError("b")])):
        assert CliRunner().invoke(raising(error), ["job"]).exception is error


def test_an_interrupt_exits_with_130(bench: "Bench") -> None:
    """Ctrl-C ends a command that waits, with exit code 130 and no traceback."""
    bench.photo()
    job = bench.claim("detect")
    command = [*ION, "--store", str(bench.store), "job", "logs", "-f", job.id]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("store: ")
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
    assert (process.returncode, "Traceback" in rest) == (130, False), rest


def test_a_reader_that_left_is_no_error(bench: "Bench", flow: Event) -> None:
    """`ion trace flow | head` says nothing about the broken pipe."""
    command = [*ION, "--store", str(bench.store), "trace", "flow", "-c", flow.correlation_id]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert [line for line in done.stderr.splitlines() if not line.startswith("store: ")] == []


# ---- global options ---------------------------------------------------------------------------------------------


def test_global_options_may_stand_before_or_after_the_command(bench: "Bench", flow: Event) -> None:
    """`--store` is taken at every place, as the original's global flags are."""
    store = str(bench.store)
    for arguments in (
        ("--store", store, "job", "list"),
        ("job", "--store", store, "list"),
        ("job", "list", "--store", store),
        ("--store", "/nowhere", "job", "list", "--store", store),
    ):
        assert "detect" in bench.ion(*arguments, store=False).stdout


def test_the_store_is_named_on_standard_error(bench: "Bench") -> None:
    """Which store was used is said beside the results, not among them."""
    result = bench.ion("flow", "list", "--json")
    assert (result.stdout, result.stderr) == ("[]\n", f"store: {bench.store}\n")


def test_the_store_is_found_by_environment_and_from_folders_below(
    bench: "Bench", monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Without `--store`, ION_HOME names the store, else it is `.ion` here or in a folder above."""
    deep = bench.folder / "a" / "b"
    deep.mkdir(parents=True)
    monkeypatch.delenv("ION_HOME", raising=False)
    monkeypatch.chdir(deep)
    assert f"store: {bench.store}\n" in bench.ion("job", "list", store=False).stderr
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    home = {"ION_HOME": str(bench.store)}
    assert f"{bench.store}\n" in bench.ion("job", "list", store=False, env=home).stderr


def test_without_a_store_commands_are_refused_and_make_none(
    bench: "Bench", monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A look at a store that is not there exits with 2 and leaves nothing behind."""
    gone = tmp_path / "gone"
    refused = bench.ion("--store", str(gone), "flow", "list", store=False, code=2).stderr
    assert refused == f"Error: {gone} is no store: run a pipeline first (`ion run`), or name another by --store\n"
    assert not gone.exists()


def test_with_neither_store_nor_ion_both_are_told(bench: "Bench", monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody listens at the endpoint that is tried last, the sentence says how to get a store as well."""
    monkeypatch.delenv("ION_HOME", raising=False)
    monkeypatch.chdir("/")
    monkeypatch.setattr("ion.cli.target.LOCALHOST", "localhost:1")
    refused = bench.ion("job", "list", store=False, code=1).stderr
    assert (
        "there is no store here or above (run a pipeline first, `ion run`, or name one by --store), and no" in refused
    )
    assert "localhost:1" in refused


def test_a_config_file_that_cannot_be_read_is_refused(bench: "Bench", tmp_path: Path) -> None:
    """`--config` names a file that must be there and be YAML."""
    broken = tmp_path / "broken.yaml"
    broken.write_text("{")
    for file in (broken, tmp_path / "gone.yaml"):
        assert (
            f"the configuration {file} cannot be read" in bench.ion("--config", str(file), "job", "list", code=2).stderr
        )


def test_the_originals_global_options_are_taken(bench: "Bench") -> None:
    """The time limit and the certificates of the original do no harm on a local store."""
    flags = ("--timeout", "5", "--certfile", "a", "--keyfile", "b", "--cacertfile", "c")
    bench.ion(*flags, "job", "list")
    bench.ion("job", "list", *flags)
