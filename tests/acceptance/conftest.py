"""Whole pipelines on a store of their own, run by the real command in processes that may be killed at any time."""

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import pytest
from tests.waiting import waited

from ion.dispatcher.stores import Stores
from ion.management.audit import Finding, audit
from ion.management.run import jobs_of
from ion.model.job import Job
from ion.ports.ledger import JobFilter
from ion.wiring import open_store

T = TypeVar("T")

HERE = Path(__file__).parent
PATIENCE_S = 300.0
"""For what ends by itself, on however slow a machine."""


class Pipeline:
    """A folder with a pipeline file, and its store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = folder / ".ion"
        self.traces = folder / "traces"
        """A file outside of the store that modules append to: what really ran."""
        self._started: list[subprocess.Popen[bytes]] = []

    def write(self, text: str, name: str = "ion.yaml") -> None:
        (self.folder / name).write_text(text.replace("TRACES", str(self.traces)))

    def start(self, *arguments: str, env: dict[str, str] | None = None) -> "subprocess.Popen[bytes]":
        """Starts a command in a session of its own, so that only it is killed."""
        return self._start(["-m", "ion.cli.main", *arguments], env)

    def start_program(
        self, program: str, *arguments: str, env: dict[str, str] | None = None
    ) -> "subprocess.Popen[bytes]":
        """The same for a program of this folder."""
        return self._start([str(HERE / program), *arguments], env)

    def _start(self, arguments: list[str], env: dict[str, str] | None) -> "subprocess.Popen[bytes]":
        with (self.folder / "output").open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=self.folder,
                env={**os.environ, "ION_LOG": "text", **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._started.append(process)
        return process

    def ion(self, *arguments: str, code: int = 0, env: dict[str, str] | None = None, error: bool = False) -> str:
        """Runs a command to its end and expects an exit code; gives its standard output, or its standard error."""
        done = subprocess.run(
            [sys.executable, "-m", "ion.cli.main", *arguments],
            cwd=self.folder,
            env={**os.environ, **(env or {})},
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )
        assert done.returncode == code, (done.stdout[-4000:], done.stderr[-4000:])
        return done.stderr if error else done.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self.ion(*arguments))

    def do(self, work: Callable[[Stores], Awaitable[T]]) -> T:
        async def run() -> T:
            async with open_store(self.store) as stores:
                return await work(stores)

        return asyncio.run(run())

    def jobs(self, module: str = "") -> list[Job]:
        async def work(stores: Stores) -> list[Job]:
            return [job async for job in jobs_of(stores.ledger, JobFilter(module=module))]

        return self.do(work)

    def audit(self) -> list[Finding]:
        async def work(stores: Stores) -> list[Finding]:
            return [finding async for finding in audit(stores.ledger, stores.documents, stores.blobs)]

        return self.do(work)

    def traced(self) -> Sequence[str]:
        return self.traces.read_text().splitlines() if self.traces.exists() else ()

    def processes(self) -> list[int]:
        """Living processes that were started for an attempt in this store."""
        mark = f"ION_DIR={self.store}/".encode()
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    if mark in (entry / "environ").read_bytes():
                        found.append(int(entry.name))
                except OSError:  # gone meanwhile
                    continue
        return found

    def until(self, met: Callable[[], bool], patience_s: float = PATIENCE_S) -> None:
        """Waits for a condition, for a while."""
        assert waited(met, patience_s), (self.folder / "output").read_text()[-4000:]

    def put_to_sleep(self, process: "subprocess.Popen[bytes]") -> None:
        """Stops a dispatcher, but not within a write: SQLite's lock is its own until it goes on or dies."""
        while True:
            process.send_signal(signal.SIGSTOP)
            with closing(sqlite3.connect(self.store / "ion.db", timeout=3)) as connection:
                try:
                    connection.execute("BEGIN IMMEDIATE")
                except sqlite3.OperationalError:
                    process.send_signal(signal.SIGCONT)
                    continue
                return

    def close(self) -> None:
        for process in self._started:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.wait()
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def pipeline(tmp_path: Path) -> Iterator[Pipeline]:
    made = Pipeline(tmp_path)
    yield made
    made.close()
