"""Modules that behave as badly as programs can, under the real `ion run`.

However it goes, it ends: in the right class, with one sentence, with no process left and nothing for the audit to say.
"""

import os
import signal
import subprocess
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tests.acceptance import conftest
from tests.acceptance.outcomes import LARGE, ROOT, SMALL, assert_failed, assert_nothing_is_left, stored, the_job

from ion.adapters.blobs.filesystem import leases_work
from ion.adapters.executors.local import family
from ion.model.job import FailureClass, Job, State
from ion.ports.executor import Phase
from ion.testing.conformance.executor import assignment, final
from ion.testing.local import open_local

if TYPE_CHECKING:
    from tests.acceptance.conftest import Pipeline


# ---- one run with all of them -----------------------------------------------------------------------------------

PROGRAMS = {
    "daemon.py": """
        import os, pathlib
        if os.fork():
            os.wait()
            raise SystemExit
        os.setsid()
        if os.fork():
            os._exit(0)
        os.chdir("/")
        os.closerange(0, 256)
        with open(PIDS, "a") as pids:
            pids.write(f"{os.getpid()}\\n")
        while True:
            with open(os.environ["ION_DIR"] + "/out/data/late", "a") as late:
                late.write("x")
        """,
    "sockets.py": """
        import os, socket
        os.chdir(os.environ["ION_DIR"] + "/out/data")
        socket.socket(socket.AF_UNIX).bind("socket")
        """,
    "holds.py": """
        import os, pathlib
        file = open(os.environ["ION_DIR"] + "/out/data/held", "wb", buffering=0)
        file.write(b"begun ")
        if os.fork():
            os._exit(0)
        os.setsid()
        while True:
            file.write(b"more ")
        """,
    "interpreter": "#!/no/such/interpreter\n",
}


class Nasty(msgspec.Struct, frozen=True, kw_only=True):
    """A module, as keys of the pipeline file, and its end. `kind` is None for one whose results are kept: `files`."""

    script: str = ""
    more: str = ""
    kind: FailureClass | None = None
    words: str = ""
    files: Mapping[str, bytes] | None = None


LOOPS = "while :; do :; done"
MODULES = {
    "forks": Nasty(script='(while :; do echo x >> "$O/late"; done) & until [ -s "$O/late" ]; do :; done'),
    "daemonises": Nasty(script='python3 daemon.py; until [ -s "$O/late" ]; do :; done'),
    "writes-on": Nasty(script="python3 holds.py"),
    "changes-sessions": Nasty(script=f"setsid -f setsid -f sh -c '{LOOPS}' >/dev/null 2>&1; echo 1 > $O/a"),
    "closes-outputs": Nasty(script="exec >&- 2>&-; echo lost; echo 1 > $O/a; exit 0", files={"a": b"1\n"}),
    "closes-its-input": Nasty(script="exec <&-; cat; echo 1 > $O/a; exit 0", files={"a": b"1\n"}),
    "ignores-sigterm": Nasty(
        script=f'trap "" TERM INT HUP; (trap "" TERM; {LOOPS}) & {LOOPS}',
        more="timeout: 300ms, grace: 100ms",
        kind=FailureClass.TIMEOUT,
        words="it ran longer than its time limit of 0.3 s",
    ),
    "stops-itself": Nasty(
        script="kill -STOP $$", more="timeout: 300ms", kind=FailureClass.TIMEOUT, words="it ran longer than"
    ),
    "leaves-a-stopped-child": Nasty(
        script="sh -c 'kill -STOP $$' & until grep -q '^State.*T' /proc/$!/status; do :; done; echo 1 > $O/a"
    ),
    "kills-its-group": Nasty(script="kill -KILL 0", kind=FailureClass.LOST, words="killed by SIGKILL, by hand"),
    "changes-a-small-input": Nasty(
        script="echo more >> $I/small.txt; cp $I/small.txt $O", files={"small.txt": b"small\nmore\n"}
    ),
    "passes-on-a-changed-input": Nasty(
        script="""echo more >> $I/small.txt; echo '{"type": "x", "inputs": ["small.txt"]}' > $E/x.json""",
        more="emits: x",
        kind=FailureClass.CONTRACT,
        words="out/events/x.json passes on in/data/small.txt, which the module changed",
    ),
    "replaces-an-input": Nasty(
        script="""rm $I/large.bin; echo new > $I/large.bin; ln -s ../../in/data/large.bin $O/a""",
        kind=FailureClass.CONTRACT,
        words="out/data/a passes on in/data/large.bin, which the module changed",
    ),
    "deletes-its-inputs": Nasty(script='rm -rf "$ION_DIR/in"; echo 1 > $O/a', files={"a": b"1\n"}),
    "deletes-its-directory": Nasty(script='rm -rf "$ION_DIR"', kind=FailureClass.CONTRACT, words="out is gone"),
    "deletes-the-folder-above": Nasty(
        script='rm -rf "$(dirname "$ION_DIR")"', kind=FailureClass.CONTRACT, words="out is gone"
    ),
    "moves-its-directory": Nasty(
        script='mv "$ION_DIR" "$ION_DIR.moved"', kind=FailureClass.CONTRACT, words="out is gone"
    ),
    "lets-nobody-read": Nasty(
        script="umask 077; mkdir $O/d; echo 1 > $O/d/a; echo 2 > $O/b; chmod 000 $O/b $O/d/a; chmod 000 $O/d $O $E",
        files={"d/a": b"1\n", "b": b"2\n"},
    ),
    "leaves-a-pipe": Nasty(script="mkfifo $O/p", kind=FailureClass.CONTRACT, words="out/data/p is a named pipe"),
    "leaves-a-socket": Nasty(
        script="python3 sockets.py", kind=FailureClass.CONTRACT, words="out/data/socket is a socket"
    ),
    "leaves-a-pipe-as-insights": Nasty(
        script='mkfifo "$ION_DIR/out/insights.json"',
        kind=FailureClass.CONTRACT,
        words="out/insights.json is a named pipe",
    ),
    "leaves-a-pipe-as-an-event": Nasty(
        script="mkfifo $E/a.json", kind=FailureClass.CONTRACT, words="out/events/a.json is not a file"
    ),
    "leaves-odd-things-beside": Nasty(
        script='mkfifo "$ION_DIR/out/p" "$ION_DIR/p"; ln -s /dev/zero "$ION_DIR/out/z"; echo 1 > $O/a',
        files={"a": b"1\n"},
    ),
    "leaves-a-link-to-itself": Nasty(
        script="ln -s a $O/a", kind=FailureClass.CONTRACT, words="out/data/a is a link to 'a'"
    ),
    "leaves-a-deep-tree": Nasty(
        script="cd $O; for i in $(seq 700); do mkdir d; cd d; done; echo 1 > a",
        kind=FailureClass.CONTRACT,
        words="its path than 900",
    ),
    "has-no-interpreter": Nasty(
        more="command: [./interpreter]", kind=FailureClass.CONTRACT, words="(or its interpreter) does not exist"
    ),
    "has-no-program": Nasty(
        more="command: [./none]", kind=FailureClass.CONTRACT, words="'./none' of module has-no-program"
    ),
    "has-no-place": Nasty(
        script="exit 0", more="workdir: gone", kind=FailureClass.CONTRACT, words="/gone, does not exist: create it"
    ),
}
if ROOT:
    MODULES["leaves-a-device"] = Nasty(
        script="mknod $O/zero c 1 5", kind=FailureClass.CONTRACT, words="out/data/zero is a device"
    )

HEAD = 'O="$ION_DIR/out/data"; E="$ION_DIR/out/events"; I="$ION_DIR/in/data"; '


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """The run of all of them: what the command said, and the jobs. `daemons` are those that were there, with whether
    they still are just after the run: later the number may be another process's.
    """

    pipeline: Any
    jobs: list[Job]
    said: str
    daemons: Mapping[int, bool]


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ended]:
    """All the modules, run beside each other on one event with two files."""
    pipeline = conftest.Pipeline(tmp_path_factory.mktemp("nasty"))
    for name, program in PROGRAMS.items():
        text = textwrap.dedent(program).lstrip().replace("PIDS", repr(str(pipeline.traces)))
        (pipeline.folder / name).write_text(text)
    (pipeline.folder / "interpreter").chmod(0o755)
    (pipeline.folder / "small.txt").write_bytes(SMALL)
    (pipeline.folder / "large.bin").write_bytes(LARGE)
    lines = []
    for name, nasty in MODULES.items():
        keys = {"on": "go", **msgspec.yaml.decode(f"{{{nasty.more}}}")} if nasty.more else {"on": "go"}
        script = (HEAD + nasty.script).replace("$", "$$")  # a pipeline file reads two dollars as one
        lines.append(msgspec.json.encode({name: {"command": ["sh", "-c", script], **keys}}).decode()[1:-1])
    pipeline.write(f"ion: 1\nmachine: {{cpu: 8}}\nmodules: {{{', '.join(lines)}}}\n")
    try:
        said = pipeline.ion("run", "--event", "go", "--file", "small.txt", "--file", "large.bin", code=1)
        daemons = {int(pid): family.look(int(pid)) is not None for pid in pipeline.traced()}
        yield Ended(pipeline=pipeline, jobs=pipeline.jobs(), said=said, daemons=daemons)
    finally:
        pipeline.close()


@pytest.mark.parametrize("name", MODULES)
def test_a_nasty_module_ends_as_it_should(ended: Ended, name: str) -> None:
    """In its class and with one sentence, or with just the files that it had written when it ended."""
    nasty, job = MODULES[name], the_job(ended.jobs, name)
    if nasty.kind is not None:
        assert_failed(job, nasty.kind, nasty.words)
        return
    assert (job.state, job.failure) == (State.RELEASED, None)
    found = stored(ended.pipeline, job)
    assert found
    if nasty.files is not None:
        assert found == nasty.files


def test_after_nasty_modules_nothing_is_left(ended: Ended) -> None:
    """No process, whatever it had shed; no folder; and the audit has nothing to say."""
    assert_nothing_is_left(ended.pipeline)
    assert list(ended.daemons.values()) == [False]


def test_nasty_modules_change_no_input(ended: Ended) -> None:
    """Whatever they did to theirs, the stored files are what was given, and so is what each module got."""
    assert stored(ended.pipeline, the_job(ended.jobs, "cli")) == {"small.txt": SMALL, "large.bin": LARGE}


# ---- modules that shed everything, or leave what cannot be deleted ----------------------------------------------


@pytest.fixture
def killed(pipeline: "Pipeline") -> Iterator[None]:
    """Whatever wrote its process id to the traces is ended after the test."""
    yield
    for pid in map(int, pipeline.traced()):
        if family.look(pid) is not None:
            os.kill(pid, signal.SIGKILL)


@pytest.mark.usefixtures("killed")
def test_a_daemon_that_shed_everything_does_not_outlive_the_run(pipeline: "Pipeline") -> None:
    """A child that left its session, its folder, its files and its environment behind is ended like any other."""
    (pipeline.folder / "daemon.py").write_text(
        textwrap.dedent("""
        import os, sys
        if os.environ.pop("ION_DIR", None):
            os.execve(sys.executable, [sys.executable, *sys.argv], {})
        if os.fork():
            os.wait()
            raise SystemExit
        os.setsid()
        if os.fork():
            os._exit(0)
        os.chdir("/")
        with open(sys.argv[1], "a") as traces:
            traces.write(f"{os.getpid()}\\n")
        os.closerange(0, 256)
        while True:
            os.sched_yield()
        """)
    )
    script = "python3 daemon.py TRACES; until [ -s TRACES ]; do :; done"
    pipeline.write(f"ion: 1\nmodules: {{one: {{command: [sh, -c, '{script}'], on: go}}}}\n")
    pipeline.ion("run", "--event", "go")
    (pid,) = map(int, pipeline.traced())
    assert family.look(pid) is None


UNDELETABLE = {
    "immutable": 'echo 1 > "$ION_DIR/out/data/a"; chattr +i "$ION_DIR/out/data/a"',
    "mounted": 'mkdir "$ION_DIR/m"; mount -t tmpfs none "$ION_DIR/m"',
}


@pytest.fixture
def freed(tmp_path: Path) -> Iterator[None]:
    """What could not be deleted can be, after the test."""
    yield
    for path in tmp_path.glob("work/*/ion/**/*"):
        subprocess.run(
            ["umount", path] if path.is_mount() else ["chattr", "-i", path], check=False, capture_output=True
        )


@pytest.mark.usefixtures("freed")
@pytest.mark.skipif(not ROOT, reason="only root can make what root cannot delete")
@pytest.mark.parametrize("kind", UNDELETABLE)
async def test_what_cannot_be_deleted_holds_nothing_up(tmp_path: Path, kind: str) -> None:
    """Its folder stays behind; the attempt is forgotten, and a later dispatcher starts as on any other store."""
    async with open_local(tmp_path) as executor:
        handle = await executor.submit(assignment(UNDELETABLE[kind]))
        status = await final(executor, handle)
        if status.phase is not Phase.SUCCEEDED:
            pytest.skip("this place has nothing that root cannot delete")
        await executor.remove(handle)
        assert (await executor.state(handle)).phase is Phase.UNKNOWN
    async with open_local(tmp_path) as executor:
        assert [status.handle for status in await executor.recover()] in ([], [handle])


# ---- inputs that are linked -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "way", ["echo more >> $I", "chmod 666 $I; : > $I", "setsid -f sh -c 'echo x >> '$I; sleep 1000"]
)
def test_a_large_input_that_is_linked_cannot_be_changed(pipeline: "Pipeline", way: str) -> None:
    """By root neither: the module is ended with the contract's sentence, where the file system can tell."""
    (pipeline.folder / "large.bin").write_bytes(LARGE)
    (pipeline.folder / "write.sh").write_text(
        f'I="$ION_DIR/in/data/large.bin"; {"" if ROOT else "chmod u+w $I;"} {way}\n'
    )
    pipeline.write("ion: 1\nmodules: {one: {command: [sh, write.sh], on: go, timeout: 200s}}\n")
    leases = leases_work(pipeline.folder)
    pipeline.ion("run", "--event", "go", "--file", "large.bin", code=1 if leases else 0)
    jobs = pipeline.jobs()
    if leases:
        assert_failed(the_job(jobs, "one"), FailureClass.CONTRACT, "the module writes to its input in/data/large.bin")
    assert stored(pipeline, the_job(jobs, "cli")) == {"large.bin": LARGE}
    assert_nothing_is_left(pipeline)
