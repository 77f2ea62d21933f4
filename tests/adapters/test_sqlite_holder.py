"""A database that stays locked: the message names who holds it, and whether it can let go by itself."""

import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ion.adapters.sqlite import database as subject
from ion.adapters.sqlite.database import Database
from ion.errors import UnavailableError

HOLD = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN IMMEDIATE")
db.execute("INSERT INTO registry (version) VALUES (7)")
print(flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits five seconds here."""
    monkeypatch.setattr(subject, "_PATIENCE_S", 0.05)


@pytest.fixture
async def file(tmp_path: Path) -> Path:
    """A store's database."""
    async with Database(tmp_path / "ion.db"):
        return tmp_path / "ion.db"


@pytest.fixture
def holder(file: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A process in the middle of a write."""
    command = [sys.executable, "-c", HOLD, str(file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def stop(process: "subprocess.Popen[bytes]") -> None:
    """Returns when it has stopped."""
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED)


async def told(file: Path) -> str:
    """What a write is told that waited in vain."""
    async with Database(file) as database:
        with pytest.raises(UnavailableError) as caught:
            await database.write(lambda db: db.execute("DELETE FROM registry").rowcount)
    return str(caught.value)


async def test_who_writes_for_too_long_is_named(file: Path, holder: "subprocess.Popen[bytes]") -> None:
    """By its process id and its name; it may be done soon."""
    assert re.search(rf"{file} is locked by process {holder.pid} \(.+\); try again", await told(file))


async def test_who_was_stopped_in_a_write_is_named_with_what_to_do(
    file: Path, holder: "subprocess.Popen[bytes]"
) -> None:
    """It will not let go by itself; once it is continued, its write ends as any other."""
    stop(holder)
    text = await told(file)
    assert "which is stopped" in text
    assert f"kill -CONT {holder.pid}" in text
    holder.send_signal(signal.SIGCONT)
    holder.communicate()
    async with Database(file) as database:
        await database.write(lambda db: db.execute("DELETE FROM registry").rowcount)


async def test_a_lock_of_this_process_names_nobody(file: Path) -> None:
    """Another connection of our own holds it: no other process is to blame."""
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert "locked by another process; try again" in await told(file)


async def test_without_the_kernels_list_nobody_is_named(
    file: Path, holder: "subprocess.Popen[bytes]", monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message is the one that it always was."""

    def hidden(_: Path) -> str:
        raise PermissionError

    monkeypatch.setattr(Path, "read_text", hidden)
    assert "locked by another process; try again" in await told(file)
