"""Modules that behave as badly as programs can, and machines that let Ion down, under the real `ion run`.

However it goes, it ends: in the right class, with one sentence, with no process left and nothing for the audit to say.
"""

import hashlib
import os
import re
import shutil
import signal
import subprocess
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tests.acceptance import conftest

from ion.adapters.blobs.filesystem import LINK_FROM, FilesystemBlobs, leases_work
from ion.adapters.executors.local import family
from ion.dispatcher.manifests import load_manifest
from ion.dispatcher.relay import CHUNK
from ion.dispatcher.service import Stores
from ion.errors import ExistsError
from ion.management.audit import Severity
from ion.model.job import FailureClass, Hold, Job, State
from ion.model.manifest import Manifest
from ion.model.record import Kind
from ion.ports.documents import RecordFilter
from ion.ports.executor import Phase
from ion.testing.conformance.executor import assignment, final
from ion.testing.local import open_local

if TYPE_CHECKING:
    from tests.acceptance.conftest import Pipeline

ROOT = os.geteuid() == 0
MIB = 2**20

SMALL, LARGE = b"small\n", b"large\n" * (LINK_FROM // 4)
"""Inputs, one that is copied for each module and one that is linked."""


def the_job(jobs: list[Job], module: str) -> Job:
    (job,) = [job for job in jobs if job.module == module]
    return job


def manifest_of(pipeline: "Pipeline", job: Job) -> Manifest:
    assert job.manifest is not None, job.failure
    ref = job.manifest
    return pipeline.do(lambda stores: load_manifest(ref, stores.blobs))


def stored(pipeline: "Pipeline", job: Job) -> dict[str, bytes]:
    """The files that a job left, each with the hash that its manifest says."""
    manifest = manifest_of(pipeline, job)

    async def read(stores: Stores) -> dict[str, bytes]:
        return {file.path: await stores.blobs.get_bytes(file.blob) for file in manifest.files}

    found = pipeline.do(read)
    for file in manifest.files:
        assert hashlib.sha256(found[file.path]).hexdigest() == file.sha256
    return found


def log_of(pipeline: "Pipeline", job: Job) -> bytes:
    return pipeline.do(lambda stores: stores.blobs.get_bytes(job.log or manifest_log(job)))


def manifest_log(job: Job) -> str:
    assert job.manifest is not None
    return job.manifest.log


def assert_nothing_is_left(pipeline: "Pipeline") -> None:
    """No process, no folder of an attempt, no fault."""
    assert pipeline.processes() == []
    assert [path for path in (pipeline.store / "work").iterdir() if not path.name.startswith(".")] == []
    assert [finding for finding in pipeline.audit() if finding.severity is Severity.FAULT] == []


def assert_failed(job: Job, kind: FailureClass, words: str) -> None:
    """Dead in this class, with one sentence that has these words."""
    assert job.failure is not None, job.state
    assert (job.state, job.failure.kind) == (State.DEAD, kind), job.failure
    assert words in job.failure.message
    assert job.failure.message.isprintable()


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
    """The run of all of them: what the command said, and the jobs."""

    pipeline: Any
    jobs: list[Job]
    said: str


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
        yield Ended(pipeline=pipeline, jobs=pipeline.jobs(), said=said)
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
    pids = [int(pid) for pid in ended.pipeline.traced()]
    assert len(pids) == 1
    assert [pid for pid in pids if family.look(pid) is not None] == []


def test_nasty_modules_change_no_input(ended: Ended) -> None:
    """Whatever they did to theirs, the stored files are what was given, and so is what each module got."""
    assert stored(ended.pipeline, the_job(ended.jobs, "cli")) == {"small.txt": SMALL, "large.bin": LARGE}


# ---- modules that shed every mark, or what cannot be deleted ----------------------------------------------------


@pytest.fixture
def killed(pipeline: "Pipeline") -> Iterator[None]:
    """Whatever wrote its process id to the traces is ended after the test."""
    yield
    for pid in map(int, pipeline.traced()):
        if family.look(pid) is not None:
            os.kill(pid, signal.SIGKILL)


@pytest.mark.usefixtures("killed")
@pytest.mark.xfail(
    strict=True, reason="executors/local/orphans.py: an orphan without environment, folder and files is nobody's"
)
def test_a_daemon_without_a_mark_does_not_outlive_the_run(pipeline: "Pipeline") -> None:
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


# ---- too much of everything -------------------------------------------------------------------------------------

PEAK_MOST = 160 * MIB
"""What a dispatcher may have in memory at most, whatever its modules do; it begins with a third of that."""
MEASURE = """
  measure: {command: [sh, -c, 'grep VmHWM /proc/$PPID/status > "$ION_DIR/out/data/peak"'], on: measure}
"""


def peak_of_the_dispatcher(pipeline: "Pipeline") -> int:
    """Bytes, as a module that came last saw them."""
    text = stored(pipeline, the_job(pipeline.jobs("measure"), "measure"))["peak"]
    (kibibytes,) = re.findall(rb"(\d+) kB", text)
    return int(kibibytes) * 1024


def test_a_gigabyte_of_log_is_cut_and_costs_no_memory(pipeline: "Pipeline") -> None:
    """Of the log its head and its end are kept, and how much is missing; the dispatcher stays small."""
    pipeline.write(f"""
ion: 1
modules:
  loud: {{command: [python3, loud.py], on: go, emits: measure}}
{MEASURE}
""")
    (pipeline.folder / "loud.py").write_text(
        textwrap.dedent("""
        import os
        os.write(1, b"the first line\\n")
        block = (b"x" * 999 + b"\\n") * 64
        for _ in range(10**9 // len(block) + 1):
            os.write(1, block)
        os.write(2, b"the last line\\n")
        open(os.environ["ION_DIR"] + "/out/events/a.json", "w").write('{"type": "measure"}')
        """)
    )
    pipeline.ion("run", "--event", "go")
    log = log_of(pipeline, the_job(pipeline.jobs(), "loud"))
    assert 15 * MIB < len(log) <= 16 * MIB
    lines = log.splitlines()
    assert (lines[0].split(b" ", 1)[1], lines[-1].split(b" ", 1)[1]) == (b"the first line", b"the last line")
    (missing,) = re.findall(rb"\[ion\] (\d+) bytes of the log were left out here", log)
    assert int(missing) > 950 * 10**6
    assert peak_of_the_dispatcher(pipeline) < PEAK_MOST
    assert_nothing_is_left(pipeline)


def test_ten_thousand_events_are_all_admitted_in_chunks(pipeline: "Pipeline") -> None:
    """Each has its record and its job, and the row of the job that raised them stays small."""
    many = 10_000
    pipeline.write("""
ion: 1
guards: {max_hops: 1}
modules:
  many: {command: [python3, many.py], on: go, emits: part}
  held: {command: 'true', on: part}
""")
    (pipeline.folder / "many.py").write_text(
        textwrap.dedent(f"""
        import os
        for number in range({many}):
            with open(os.environ["ION_DIR"] + f"/out/events/{{number}}.json", "w") as event:
                event.write('{{"type": "part", "subject": "%d"}}' % number)
        """)
    )
    said = pipeline.ion("run", "--event", "go", code=1)
    assert f"{many:,} jobs held by a pause or a guard" in said or f"{many} jobs held by a pause or a guard" in said
    jobs = pipeline.jobs()
    held = [job for job in jobs if job.module == "held"]
    assert Counter(job.hold for job in held) == {Hold.HOPS: many}
    assert {job.event.subject for job in held} == {str(number) for number in range(many)}
    raised = the_job(jobs, "many")
    assert (raised.state, raised.cursor) == (State.RELEASED, many - CHUNK)

    async def recorded(stores: Stores) -> int:
        found = stores.documents.query(RecordFilter(kind=Kind.EVENT_META))
        return len([record async for record in found if record.body["type"] == "part"])

    assert pipeline.do(recorded) == many
    assert_nothing_is_left(pipeline)


def test_very_many_files_are_all_kept(pipeline: "Pipeline") -> None:
    """Every one is stored as it was, and the dispatcher is not much larger for it."""
    many = 25_000  # a hundred thousand take four times as long, and 108 MiB
    pipeline.write(f"""
ion: 1
modules:
  many: {{command: [python3, many.py], on: go, emits: measure}}
{MEASURE}
""")
    (pipeline.folder / "many.py").write_text(
        textwrap.dedent(f"""
        import os
        os.chdir(os.environ["ION_DIR"] + "/out")
        for number in range({many}):
            os.makedirs(f"data/{{number % 100}}", exist_ok=True)
            with open(f"data/{{number % 100}}/{{number}}", "w") as file:
                file.write(str(number))
        open("events/a.json", "w").write('{{"type": "measure"}}')
        """)
    )
    pipeline.ion("run", "--event", "go")
    manifest = manifest_of(pipeline, the_job(pipeline.jobs(), "many"))
    names = {f"{number % 100}/{number}" for number in range(many)}
    assert {file.path for file in manifest.files} == names

    async def some(stores: Stores) -> None:
        for file in manifest.files[::1000]:
            assert await stores.blobs.get_bytes(file.blob) == file.path.partition("/")[2].encode()

    pipeline.do(some)
    assert peak_of_the_dispatcher(pipeline) < PEAK_MOST
    assert_nothing_is_left(pipeline)


ZEROS_GIB = 5
ZEROS_SHA256 = "7f06c62352aebd8125b2a1841e2b9e1ffcbed602f381c3dcb3200200e383d1d5"


def test_a_huge_sparse_file_stays_sparse(pipeline: "Pipeline") -> None:
    """It is stored whole, takes no room on the disk, and is never in memory as a whole."""
    pipeline.write(f"""
ion: 1
modules:
  huge:
    command: [sh, huge.sh]
    on: go
    emits: measure
{MEASURE}
""")
    (pipeline.folder / "huge.sh").write_text(
        f'truncate -s {ZEROS_GIB}G "$ION_DIR/out/data/a"\n'
        """echo '{"type": "measure"}' > "$ION_DIR/out/events/a.json"\n"""
    )
    pipeline.ion("run", "--event", "go")
    (file,) = manifest_of(pipeline, the_job(pipeline.jobs(), "huge")).files
    assert (file.size, file.sha256) == (ZEROS_GIB * 1024 * MIB, ZEROS_SHA256)
    (blob,) = pipeline.store.glob("blobs/*/*/*/*/data/a")
    info = blob.stat()
    assert (info.st_size, info.st_blocks * 512 < MIB) == (file.size, True)
    assert peak_of_the_dispatcher(pipeline) < PEAK_MOST
    assert_nothing_is_left(pipeline)


# ---- inputs that are linked -------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["echo more >> $I", "chmod 666 $I; : > $I", "setsid -f sh -c 'echo x >> '$I; sleep 60"])
def test_a_large_input_that_is_linked_cannot_be_changed(pipeline: "Pipeline", way: str) -> None:
    """By root neither: the module is ended with the contract's sentence, where the file system can tell."""
    (pipeline.folder / "large.bin").write_bytes(LARGE)
    (pipeline.folder / "write.sh").write_text(
        f'I="$ION_DIR/in/data/large.bin"; {"" if ROOT else "chmod u+w $I;"} {way}\n'
    )
    pipeline.write("ion: 1\nmodules: {one: {command: [sh, write.sh], on: go, timeout: 30s}}\n")
    leases = leases_work(pipeline.folder)
    pipeline.ion("run", "--event", "go", "--file", "large.bin", code=1 if leases else 0)
    jobs = pipeline.jobs()
    if leases:
        assert_failed(the_job(jobs, "one"), FailureClass.CONTRACT, "the module writes to its input in/data/large.bin")
    assert stored(pipeline, the_job(jobs, "cli")) == {"large.bin": LARGE}
    assert_nothing_is_left(pipeline)


# ---- the machine ------------------------------------------------------------------------------------------------

Mount = Callable[..., None]


@pytest.fixture
def mount(pipeline: "Pipeline") -> Iterator[Mount]:
    """Mounts a small file system in memory at the store, or mounts it anew with other options."""
    if not ROOT:
        pytest.skip("only root can mount a file system")

    def at(place: Path, *options: str) -> str:
        place.mkdir(exist_ok=True)
        words = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(place)]
        return subprocess.run(words, capture_output=True, text=True, check=False).stderr.strip()

    def mounted(*options: str) -> None:
        if not (refused := at(pipeline.store, *options)):
            return
        elsewhere = pipeline.folder / "elsewhere"
        works = not at(elsewhere, "size=1m")
        if works:
            subprocess.run(["umount", elsewhere], check=True)
        (pytest.fail if works and os.environ.get("CI") else pytest.skip)(f"nothing can be mounted: {refused}")

    yield mounted
    pipeline.close()
    if pipeline.store.is_mount():
        subprocess.run(["umount", "-l", pipeline.store], check=True)


def fill(place: Path) -> Path:
    """A file that takes all the room that is left on a file system."""
    ballast = place / "ballast"
    with suppress(OSError), ballast.open("ab", buffering=0) as stream:
        while stream.write(b"x" * 4096):
            pass
    assert shutil.disk_usage(place).free == 0
    return ballast


def test_results_wait_for_room_on_a_full_disk(pipeline: "Pipeline", mount: Mount) -> None:
    """They are committed when there is some, and the module is not run again."""
    mount("size=32m")
    ballast = pipeline.store / "ballast"
    ballast.write_bytes(b"x" * (20 * MIB))
    script = 'echo ran >> TRACES; dd if=/dev/zero of="$ION_DIR/out/data/a" bs=4k 2>/dev/null; exit 0'
    pipeline.write(f"ion: 1\nmodules: {{one: {{command: [sh, -c, '{script}'], on: go}}}}\n")
    process = pipeline.start("run", "--event", "go")
    pipeline.until(lambda: any(pipeline.store.glob("blobs/*/*/*/*/data/a")) or process.poll() is not None)
    assert shutil.disk_usage(pipeline.store).free < MIB
    ballast.unlink()
    assert process.wait(60) == 0, (pipeline.folder / "output").read_text()[-4000:]
    assert list(pipeline.traced()) == ["ran"]
    job = the_job(pipeline.jobs(), "one")
    assert (job.state, job.attempt) == (State.RELEASED, 1)
    assert set(stored(pipeline, job)["a"]) == {0}
    assert_nothing_is_left(pipeline)


async def test_a_commit_that_is_made_again_needs_no_room_for_what_is_stored(pipeline: "Pipeline", mount: Mount) -> None:
    """A large file that an earlier try has stored is found, however little room there is, and not read again."""
    mount("size=16m")
    file = pipeline.store / "a"
    file.write_bytes(b"x" * (6 * MIB))
    async with FilesystemBlobs(pipeline.store / "blobs") as blobs:
        await blobs.put("job/1/x/data/a", file, move=True)
        fill(pipeline.store)
        with pytest.raises(ExistsError):
            await blobs.put("job/1/x/data/a", file, move=True)


def test_a_module_that_meets_a_full_disk_says_so_itself(pipeline: "Pipeline", mount: Mount) -> None:
    """Its exit code is its own failure, its log is kept, and the room that it took is free again."""
    mount("size=32m")
    script = 'A="$ION_DIR/out/data/a"; dd if=/dev/zero of=$A bs=64k 2>/dev/null || { rm $A; echo no room; exit 7; }'
    pipeline.write(f"ion: 1\nmodules: {{one: {{command: [sh, -c, '{script}'], on: go}}}}\n")
    pipeline.ion("run", "--event", "go", code=1)
    job = the_job(pipeline.jobs(), "one")
    assert_failed(job, FailureClass.MODULE, "exit code 7")
    assert b"no room" in log_of(pipeline, job)
    assert shutil.disk_usage(pipeline.store).free > 24 * MIB
    assert_nothing_is_left(pipeline)


def test_an_attempt_without_room_for_its_log_is_made_again(pipeline: "Pipeline", mount: Mount) -> None:
    """It fails as the machine's, which is written down as soon as that can be, and uses up none of its tries."""
    mount("size=32m")
    ballast = pipeline.store / "ballast"
    script = f"[ $ION_ATTEMPT != 1 ] || dd if=/dev/zero of={ballast} bs=4k; echo attempt $ION_ATTEMPT"
    pipeline.write(f"ion: 1\nmodules: {{one: {{command: [sh, -c, '{script}'], on: go, retries: 0}}}}\n")
    process = pipeline.start("run", "--event", "go", "--retries")
    output = pipeline.folder / "output"
    pipeline.until(lambda: b"has no room left on its disk" in output.read_bytes() or process.poll() is not None)
    ballast.unlink()
    assert process.wait(60) == 0, output.read_text()[-4000:]
    job = the_job(pipeline.jobs(), "one")
    assert (job.state, job.attempt, job.failures) == (State.RELEASED, 2, {FailureClass.INFRASTRUCTURE: 1})
    assert b"attempt 2\n" in log_of(pipeline, job)
    assert_nothing_is_left(pipeline)


async def test_a_failed_attempt_gives_its_room_back_before_anything_else(pipeline: "Pipeline", mount: Mount) -> None:
    """When its failure is told there is room to write it down, though it had filled the disk."""
    mount("size=32m")
    async with open_local(pipeline.store) as executor:
        script = 'dd if=/dev/zero of="$ION_DIR/out/data/a" bs=64k 2>/dev/null || exit 7'
        status = await final(executor, await executor.submit(assignment(script)))
        assert status.failure is not None
        assert shutil.disk_usage(pipeline.store).free > 24 * MIB


def test_a_disk_that_is_nearly_full_is_told_and_waited_for(pipeline: "Pipeline", mount: Mount) -> None:
    """No job is started, and the run says why; with room again it goes on by itself."""
    mount("size=64m")
    ballast = pipeline.store / "ballast"
    ballast.write_bytes(b"x" * (61 * MIB))
    pipeline.write("ion: 1\nmodules: {one: {command: [sh, -c, 'echo ran >> TRACES'], on: go}}\n")
    process = pipeline.start("run", "--event", "go")
    output = pipeline.folder / "output"
    pipeline.until(
        lambda: b"of the disk is free; no job is started" in output.read_bytes() or process.poll() is not None
    )
    assert list(pipeline.traced()) == []
    ballast.unlink()
    assert process.wait(60) == 0, output.read_text()[-4000:]
    assert list(pipeline.traced()) == ["ran"]
    assert_nothing_is_left(pipeline)


@pytest.mark.parametrize("command", [("run", "--event", "go"), ("run",), ("job", "list"), ("audit",)])
@pytest.mark.parametrize("state", ["full", "read-only"])
def test_a_store_that_cannot_be_written_is_told_in_one_sentence(
    pipeline: "Pipeline", mount: Mount, state: str, command: tuple[str, ...]
) -> None:
    """Full or read-only, whichever command it is; with room or rights again the store is as it was."""
    pipeline.write("ion: 1\nmodules: {one: {command: [sh, -c, 'echo ran >> TRACES'], on: go}}\n")
    mount("size=16m")
    pipeline.ion("run", "--event", "go")
    if state == "full":
        fill(pipeline.store)
    else:
        mount("remount,ro")
    said = pipeline.ion(*command, code=1, error=True).splitlines()
    assert [line for line in said if line.startswith("Error: ")] == said[-1:], said
    assert "Traceback" not in "".join(said)
    if state == "full":
        (pipeline.store / "ballast").unlink()
    else:
        mount("remount,rw")
    pipeline.ion("run", "--event", "go")
    assert list(pipeline.traced()) == ["ran", "ran"]
    assert_nothing_is_left(pipeline)


def test_a_store_may_lie_anywhere(tmp_path: Path) -> None:
    """Blanks, quotes, other scripts and signs in its path mean nothing, to the stores as to the modules."""
    folder = tmp_path / "a b  'c' \"d\" $e %20 #f ?g=h été 日本 💥"
    folder.mkdir()
    pipeline = conftest.Pipeline(folder)
    (folder / "in ö.txt").write_text("hello")
    (folder / "one.sh").write_text(
        """
        cp "$ION_DIR/in/data/in ö.txt" "$ION_DIR/out/data/ä b.txt"
        printf '{"type": "more", "files": ["ä b.txt"], "inputs": ["in ö.txt"]}' > "$ION_DIR/out/events/a.json"
        """
    )
    pipeline.write("""
ion: 1
modules:
  one: {command: [sh, one.sh], on: go, emits: more}
  two: {command: [sh, -c, 'cat "$ION_DIR"/in/data/* > "$ION_DIR/out/data/all"'], on: more}
""")
    try:
        pipeline.ion("run", "--event", "go", "--file", "in ö.txt")
        assert stored(pipeline, the_job(pipeline.jobs(), "two")) == {"all": b"hellohello"}
        pipeline.ion("audit")
        assert_nothing_is_left(pipeline)
    finally:
        pipeline.close()
