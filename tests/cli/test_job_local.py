"""A job is run again here, in place of where it ran, and carried elsewhere."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from tests.cli.conftest import Bench
from tests.cli.programs import WAITS, Folder, alive, raises, shell, until
from tests.cli.remote import Remote

from ion.model.event import Event
from ion.model.job import State

SECRET = 'hush "quoted" hush'
LOOKS = (
    'echo looking at $(cat "$ION_DIR"/in/data/*); cp "$ION_DIR"/in/data/cat.jpg "$ION_DIR/out/data/boxed.jpg"; '
    """echo '{"faces": 2}' > "$ION_DIR/out/insights.json"; """
)


def only_job(here: Folder, module: str = "look") -> str:
    """The id of the one job of a module."""
    (found,) = json.loads(here.ion("job", "list", "--module", module, "--json").out)
    assert isinstance(found["id"], str)
    return found["id"]


@pytest.fixture
def looked(here: Folder, cat: Path) -> str:
    """A job that ran in a store, and was released."""
    here.pipeline({"look": shell(LOOKS + raises("face"), on="photo", emits="face")})
    here.run("--event", "photo", "--file", "cat.jpg")
    return only_job(here)


def stored(here: Folder) -> set[Path]:
    """Every blob of the store."""
    return {path for path in (here.store / "blobs").rglob("*") if path.is_file()}


def test_a_job_runs_here_and_nothing_is_stored(here: Folder, looked: str) -> None:
    """Its log as it comes, then what would be committed, and whether the job left the same."""
    before = stored(here)
    ended = here.ion("job", "run-local", looked)
    assert "looking at a cat" in ended.out
    assert [line.split() for line in ended.out.splitlines()[-3:]] == [
        ["file", "boxed.jpg", "5", "B"],
        ["insight", "faces", "2"],
        ["event", "face", "cat.jpg"],
    ]
    assert "nothing was stored; the job left the same" in ended.err
    assert stored(here) == before
    assert only_job(here) == looked
    assert sorted(path.name for path in here.path.iterdir()) == [".ion", "cat.jpg", "ion.yaml"]


def test_another_command_runs_in_its_place(here: Folder, looked: str) -> None:
    """As a process in this folder; what it leaves differently is named."""
    here.write("new.sh", 'echo better; echo dog > "$ION_DIR/out/data/boxed.jpg"')
    ended = here.ion("job", "run-local", "--json", looked, "--", "sh", "new.sh")
    left = json.loads(ended.out)
    assert (left["exitCode"], list(left["files"]), left["events"]) == (0, ["boxed.jpg"], [])
    assert "better" in ended.err
    assert "the job left other" not in ended.err  # a script has its answer in the document
    ended = here.ion("job", "run-local", looked, "--", "sh", "new.sh")
    assert "the job left other boxed.jpg, insights, events" in ended.err


def test_the_exit_code_is_the_modules(here: Folder, looked: str) -> None:
    """A signal's as a shell has it."""
    assert "exit code 7" in here.ion("job", "run-local", looked, "--", "sh", "-c", "exit 7", code=7).err
    here.ion("job", "run-local", looked, "--", "sh", "-c", "kill -TERM $$", code=128 + 15)


def test_a_breach_of_the_contract_is_told_as_a_commit_would(here: Folder, looked: str) -> None:
    """One sentence, and the exit code of what is given wrong."""
    wrong = raises("fcae")
    said = here.ion("job", "run-local", looked, "--", "sh", "-c", wrong, code=2).said
    assert "nothing would be committed: out/events/fcae.json raises 'fcae'" in said
    assert "did you mean 'face'?" in said


def test_the_folder_may_be_kept(here: Folder, looked: str) -> None:
    """Also when the module failed; never over one that is there."""
    half = 'echo half > "$ION_DIR/out/data/a"; exit 3'
    here.ion("job", "run-local", "--dir", "try", looked, "--", "sh", "-c", half, code=3)
    assert (here.path / "try/in/data/cat.jpg").read_text() == "a cat"
    assert (here.path / "try/out/data/a").read_text() == "half\n"
    assert "try exists already" in here.ion("job", "run-local", "--dir", "try", looked, code=2).said
    assert f"it ran in look-{looked[:8]}" in here.ion("job", "run-local", "--keep", looked).err
    assert (here.path / f"look-{looked[:8]}/out/data/boxed.jpg").read_text() == "a cat"


def test_large_inputs_and_data_come_whole(here: Folder) -> None:
    """They are the module's to write to here: nothing of the store is behind them."""
    here.write("big.bin", "x" * 500_000)
    count = 'wc -c < "$ION_DIR/in/data/big.bin"; wc -c < "$ION_DIR/in/eventmeta.json"; '
    here.pipeline({"look": shell(count, on="photo")})
    here.run("--event", "photo", "--file", "big.bin", "--set", f"k={'y' * 20_000}")
    job = only_job(here)
    spoil = f'{count} echo z >> "$ION_DIR/in/data/big.bin"'
    out = here.ion("job", "run-local", job, "--", "sh", "-c", spoil).out
    assert [line.split()[-1] for line in out.splitlines()] == ["500000", str(20_000 + len('[{"key":"k","value":""}]'))]
    assert "500000" in here.ion("job", "run-local", job).out


@pytest.fixture
def secretive(here: Folder) -> str:
    """A job whose module has a secret, which stands in its input, its event and its variables as well."""
    here.write("in.txt", f"before {SECRET} after")
    here.pipeline(
        {
            "look": shell(
                'printf "%s\\n" "key $KEY"; cat "$ION_DIR/in/data/in.txt" > "$ION_DIR/out/data/a"',
                on="photo",
                secrets={"KEY": "vision-key"},
                env={"LIKE": f"<{SECRET}>", "PLAIN": "p"},
            )
        },
        secrets={"vision-key": {"env": "VISION"}},
    )
    here.run("--event", "photo", "--file", "in.txt", "--set", f"k={SECRET}", env={"VISION": SECRET})
    return only_job(here)


def test_secrets_come_from_this_environment(here: Folder, secretive: str) -> None:
    """By the variable that the module reads; masked in the log, and asked for where they are missing."""
    out = here.ion("job", "run-local", secretive, env={"KEY": SECRET}).out
    assert "key ***" in out
    assert SECRET not in out
    said = here.ion("job", "run-local", secretive, code=1).said
    assert "needs the secret 'vision-key' (as KEY)" in said


def contents(folder: Path) -> bytes:
    """All that is in the files of a folder."""
    return b"\n".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def test_no_secret_is_in_a_bundle(here: Folder, secretive: str) -> None:
    """Neither as it is nor as JSON writes it; what was masked, and what to set, is said."""
    ended = here.ion("job", "repro", secretive, "-o", "bundle", env={"KEY": SECRET})
    bundle = contents(here.path / "bundle")
    assert SECRET.encode() not in bundle
    assert json.dumps(SECRET)[1:-1].encode() not in bundle
    assert (here.path / "bundle/in/data/in.txt").read_text() == "before *** after"
    module = json.loads((here.path / "bundle/module.json").read_bytes())
    assert (module["env"], module["secrets"]) == ({"LIKE": "<***>", "PLAIN": "p"}, ["KEY"])
    readme = (here.path / "bundle/README.md").read_text()
    for said in (ended.err, readme):
        assert "et the variable KEY to the secret 'vision-key'" in said
        assert "he input in.txt held a secret" in said
        assert "he event's data held a secret" in said


def run_pytest(folder: Path, **env: str) -> "subprocess.CompletedProcess[str]":
    """The bundle's own test, in a process that knows nothing of the store."""
    environ = {**{k: v for k, v in os.environ.items() if not k.startswith("ION")}, **env}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "test_repro.py"],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", ["bundle", "bundle.zip", "bundle.tar.gz"])
def test_a_bundle_runs_elsewhere(here: Folder, cat: Path, tmp_path: Path, name: str) -> None:
    """Its test passes where the store is gone, with the program that the command named, and fails if that changes."""
    here.write("modules/look.sh", f"set -e; {LOOKS} {raises('face')}")
    here.pipeline({"look": {"command": ["sh", "modules/look.sh"], "on": "photo", "emits": "face"}})
    here.run("--event", "photo", "--file", "cat.jpg", "--set", "k=v")
    assert here.ion("job", "repro", only_job(here), "-o", name).out == f"{name}\n"
    away = tmp_path / "away"
    away.mkdir()
    if name.endswith(".zip"):
        zipfile.ZipFile(here.path / name).extractall(away)
    elif name.endswith(".tar.gz"):
        with tarfile.open(here.path / name) as archive:
            archive.extractall(away, filter="data")
    else:
        shutil.move(here.path / name, away)
    shutil.rmtree(here.path)
    here.path.mkdir()
    ended = run_pytest(away / "bundle")
    assert ended.returncode == 0, ended.stdout
    (away / "bundle/program/modules/look.sh").write_text('echo other > "$ION_DIR/out/data/boxed.jpg"')
    assert run_pytest(away / "bundle").returncode == 1


def test_a_bundle_of_a_dead_job_fails_until_it_is_mended(here: Folder, cat: Path) -> None:
    """Its test shows what the module said."""
    here.write("look.sh", "echo too dark; exit 3")
    here.pipeline({"look": {"command": ["sh", "look.sh"], "on": "photo", "retries": 0}})
    here.run("--event", "photo", "--file", "cat.jpg", code=1)
    job = only_job(here)
    here.ion("job", "repro", job)
    bundle = here.path / f"repro-look-{job[:8]}"
    assert json.loads((bundle / "expected.json").read_bytes()) == {"failure": "exit code 3"}
    ended = run_pytest(bundle)
    assert (ended.returncode, "too dark" in ended.stdout) == (1, True)
    (bundle / "program/look.sh").write_text("echo better")
    assert run_pytest(bundle).returncode == 0


def test_what_cannot_be_carried_is_refused(bench: Bench) -> None:
    """A gateway's job ran nothing; and nothing is written over what is there."""
    bench.photo()
    (root,) = bench.jobs("cli", State.RELEASED)
    assert "belongs to no module" in bench.ion("job", "run-local", root.id, code=2).stderr
    assert "belongs to no module" in bench.ion("job", "repro", root.id, code=2).stderr
    (bench.folder / "there").mkdir()
    (waiting,) = bench.jobs("detect")
    refused = bench.ion("job", "repro", waiting.id, "-o", str(bench.folder / "there"), code=2)
    assert "exists already" in refused.stderr


def test_an_interrupted_run_leaves_nothing(here: Folder, looked: str) -> None:
    """The module is ended, and the folder that it ran in is gone."""
    scratch = here.apart / "tmp"
    scratch.mkdir()
    program = here.start("job", "run-local", looked, "--", "sh", "-c", WAITS, env={"TMPDIR": str(scratch)})
    until(lambda: bool(here.begun()))
    program.signal(signal.SIGINT)
    program.wait(130)
    assert not alive(here.begun()[0])
    assert list(scratch.iterdir()) == []


def test_a_remote_job_runs_here(bench: Bench, flow: Event, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Its inputs come through the API, over mutual TLS; a bundle is the same as of a store here."""
    (detect,) = bench.jobs("detect")
    again = ("--", "sh", "-c", 'cp "$ION_DIR/in/data/cat.jpg" "$ION_DIR/out/data/boxed.jpg"')
    with Folder(tmp_path_factory.mktemp("remote")) as place:
        remote = Remote(bench.store, place)
        said = remote.same("job", "run-local", detect.id, *again)
        assert "boxed.jpg  5 B" in said.stdout
        assert "the job left other boxed.jpg, insights, events" in said.stderr
        there, here = (place.apart / name / "bundle" for name in ("there", "here"))
        remote.ion("job", "repro", detect.id, "-o", str(there))
        bench.ion("job", "repro", detect.id, "-o", str(here))
        assert contents(there) == contents(here)
