"""The real command in a process of its own, on a folder with small modules in shell.

What a program says goes into files, so that it never waits for a reader, and can be read while it runs. Modules wait
for a file, and tests for what modules have written: nothing depends on how long a thing takes.
"""

import asyncio
import contextlib
import json
import os
import re
import select
import signal
import subprocess
import sys
from codecs import getincrementaldecoder
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

import httpx
from tests.waiting import waited

from ion.adapters.executors.local import family
from ion.dispatcher.stores import Stores
from ion.management.run import jobs_of
from ion.model.job import Job, State
from ion.ports.ledger import JobFilter
from ion.testing.local import left_of
from ion.wiring import open_store

T = TypeVar("T")

ION = (sys.executable, "-m", "ion.cli.main")
PATIENCE_S = 120.0

NO_PORTS = {"ION_MANAGEMENT_PORT": "off", "ION_METRICS_PORT": "off"}
"""An `ion up` of a test takes no port that another one, or an Ion of this host, may have."""

WAITS = 'echo "$$" >> begun; while [ ! -e go ]; do sleep 0.02; done; '
"""A script that tells its process id in `begun` and goes on once there is a file `go`, both beside the pipeline."""


def shell(script: str, **keys: Any) -> dict[str, Any]:
    """A module that runs a script beside the pipeline file; `keys` as in a pipeline file."""
    escaped = script.replace("$", "$$")  # what is for the shell is not a variable of the pipeline file
    return {"command": ["sh", "-c", f"set -e; {escaped}"], **keys}


def keeps(name: str, text: str = "x") -> str:
    """A script that writes an output file."""
    return f'echo {text} > "$ION_DIR/out/data/{name}"; '


def raises(event_type: str) -> str:
    """A script that raises an event."""
    return f"""printf '{{"type": "{event_type}"}}' > "$ION_DIR/out/events/{event_type}.json"; """


def until(met: Callable[[], bool]) -> None:
    """Waits for what another process brings about, for a while."""
    assert waited(met, PATIENCE_S), "it has not come about"


def alive(pid: int) -> bool:
    """Whether a process still does something; one that only waits to be reaped does not."""
    process = family.look(pid)
    return process is not None and not process.zombie


class Ended(NamedTuple):
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """The sentence of a refusal, and that there is no more than one."""
        (line,) = [line for line in self.err.splitlines() if line.startswith("Error: ")]
        assert self.err.endswith(line + "\n"), self.err
        return line.removeprefix("Error: ")


class Program:
    """A command that was started; to be ended by `wait`, or by the fixture."""

    def __init__(self, process: "subprocess.Popen[bytes]", out: Path, err: Path) -> None:
        self._process, self._out, self._err = process, out, err
        self.pid = process.pid

    @property
    def out(self) -> str:
        return self._out.read_text()

    @property
    def err(self) -> str:
        return self._err.read_text()

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def wait(self, code: int = 0) -> Ended:
        """Its end, with the exit code that is expected."""
        try:
            self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it has not ended; it said: {self.out[-4000:]}{self.err[-4000:]}") from None
        ended = Ended(self._process.returncode, self.out, self.err)
        assert ended.code == code, ended
        return ended

    def kill(self) -> None:
        """Ends it by SIGKILL, as a machine would that runs out of memory."""
        self.signal(signal.SIGKILL)
        self._process.wait()


class Serving(NamedTuple):
    """An `ion up` that takes requests at `url`."""

    program: Program
    url: str

    def post(self, path: str, **content: Any) -> httpx.Response:
        return httpx.post(self.url + path, timeout=PATIENCE_S, **content)


class Folder:
    """A folder with a pipeline file, in which commands are run; what was started in it is gone when it is left.

    `apart` is another, for what must not lie in it.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.apart = path / "here", path / "apart"
        self.store = self.path / ".ion"
        self._programs: list[Program] = []

    def __enter__(self) -> Self:
        self.path.mkdir()
        self.apart.mkdir()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, program in enumerate(self._programs):
            program.kill()
            if kind is not None:
                print(f"--- program {number} said:\n{program.out[-4000:]}\n{program.err[-4000:]}")
        for pid in left_of(self.store):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    # ---- files ------------------------------------------------------------------------------------------------

    def pipeline(self, modules: Mapping[str, Any], **settings: Any) -> None:
        """Writes the pipeline file. The machine is said to have four processors, so that tests do not depend on it."""
        document = {"ion": 1, "machine": {"cpu": 4}, "modules": modules, **settings}
        self.write("ion.yaml", json.dumps(document))

    def write(self, name: str, text: str = "") -> Path:
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def lines(self, name: str) -> list[str]:
        """The lines of a file that modules append to."""
        file = self.path / name
        return file.read_text().splitlines() if file.exists() else []

    def begun(self) -> list[int]:
        """The processes of the modules that wait, or waited, for `go`."""
        return [int(line) for line in self.lines("begun")]

    def go(self) -> None:
        """Lets them go on, and all that come later."""
        self.write("go")

    # ---- commands ---------------------------------------------------------------------------------------------

    def start(self, *arguments: str, env: Mapping[str, str] | None = None, out: int | None = None) -> Program:
        """Starts a command; `out` is a descriptor for what it prints, in place of a file."""
        name = f"{len(self._programs)}"
        printed, err = self.apart / f"{name}.out", self.apart / f"{name}.err"
        with printed.open("wb") as stdout, err.open("wb") as stderr:
            process = subprocess.Popen(
                [*ION, *arguments],
                cwd=self.path,
                env={**self._environ(), **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=stdout if out is None else out,
                stderr=stderr,
            )
        program = Program(process, printed, err)
        self._programs.append(program)
        return program

    def ion(self, *arguments: str, code: int = 0, env: Mapping[str, str] | None = None) -> Ended:
        """Runs a command to its end."""
        return self.start(*arguments, env=env).wait(code)

    def run(self, *arguments: str, code: int = 0, env: Mapping[str, str] | None = None) -> Ended:
        return self.ion("run", *arguments, code=code, env=env)

    def up(self, *arguments: str, env: Mapping[str, str] | None = None) -> Serving:
        """Starts `ion up` on a free port, and waits until it says which."""
        program = self.start("up", "--port", "0", *arguments, env=env)
        pattern = re.compile(r"^front API: (http://127\.0\.0\.1:\d+)/$", re.MULTILINE)
        until(lambda: pattern.search(program.out) is not None)
        found = pattern.search(program.out)
        assert found is not None
        return Serving(program, found[1])

    def on_terminal(
        self,
        *arguments: str,
        code: int = 0,
        enough: Callable[[str], bool] = lambda _: True,
        then: Callable[[], None] = lambda: None,
    ) -> str:
        """Runs a command whose output is a terminal, and gives all that it wrote there.

        Once that is `enough`, `then` is called.
        """
        ours, theirs = os.openpty()
        try:
            program = self.start(*arguments, env={"TERM": "xterm", "COLUMNS": "100", "LINES": "40"}, out=theirs)
            os.close(theirs)
            text, pending, decoder = "", [then], getincrementaldecoder("utf-8")("replace")
            while piece := _piece(ours):
                text += decoder.decode(piece)
                if pending and enough(text):
                    pending.pop()()
            program.wait(code)
        finally:
            os.close(ours)
        assert not pending, text
        return text

    def _environ(self) -> dict[str, str]:
        """Ours without what would configure Ion, and with a home where nothing does."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ION_")}
        return {**kept, "HOME": str(self.apart), **NO_PORTS}

    # ---- the store --------------------------------------------------------------------------------------------

    def do(self, work: Callable[[Stores], Awaitable[T]]) -> T:
        """Looks into the store, also beside a command that runs."""

        async def look() -> T:
            async with open_store(self.store) as stores:
                return await work(stores)

        return asyncio.run(look())

    def jobs(self, module: str = "", *states: State) -> list[Job]:
        """Jobs in the order of their admission."""

        async def work(stores: Stores) -> list[Job]:
            return [job async for job in jobs_of(stores.ledger, JobFilter(module=module, states=states))]

        return self.do(work)

    def released(self, module: str, count: int = 1) -> bool:
        return len(self.jobs(module, State.RELEASED)) == count

    def log(self, job: Job) -> str:
        """The log of a job that succeeded."""
        log = job.manifest.log if job.manifest else job.log
        return self.do(lambda stores: stores.blobs.get_bytes(log)).decode()

    def results(self, module: str) -> dict[str, str]:
        """The files that a module's one job left."""
        (job,) = self.jobs(module)
        prefix = f"{job.id}/{job.attempt}/{job.execution}/data/"

        async def work(stores: Stores) -> dict[str, str]:
            found = [blob.path async for blob in stores.blobs.list(prefix)]
            return {path.removeprefix(prefix): (await stores.blobs.get_bytes(path)).decode() for path in found}

        return self.do(work)


def _piece(terminal: int) -> bytes:
    """What has been written there since, which may end within a character; nothing once the last writer is gone."""
    ready, _, _ = select.select([terminal], [], [], PATIENCE_S)
    assert ready, "nothing more comes"
    try:
        return os.read(terminal, 65536)
    except OSError:  # what Linux answers at the end
        return b""


def results(ended: Ended) -> list[Any]:
    """The lines of `--json`."""
    return [json.loads(line) for line in ended.out.splitlines()]


def states(here: Folder) -> list[tuple[str, str]]:
    """Each job's module and state, in the order of admission."""
    return [(job.module, job.state.value) for job in here.jobs()]
