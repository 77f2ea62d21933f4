"""The mark of an attempt's processes: what bears it, and what does not."""

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ion.adapters.executors.local.marks import WearingDraft, bears, drafted, mark_of, put

MARK = mark_of(f"job-1-0123abcd-{'ab' * 16}")

SCRIPT = """
import os, sys
sys.stdin.readline()
if os.fork():
    os.wait()
    sys.exit()
os.setsid()
os.execve("/bin/sh", ["sh", "-c", "grep 'Max file locks' /proc/self/limits"], {"PATH": os.environ["PATH"]})
"""


@contextmanager
def started(script: str = SCRIPT) -> Iterator["subprocess.Popen[bytes]"]:
    """A program that waits for a line, and goes on in another session, with no environment, as another program."""
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(
    "name", ["", "job", ".makers", "job-1-0123abcd-ef0123", f"job-1-0123abcd-{'xy' * 16}", f"job-1-0-{'ab' * 16}/ion"]
)
def test_what_is_no_attempts_folder_has_no_mark(name: str) -> None:
    """Its mark is 0, which nothing bears."""
    assert mark_of(name) == 0
    assert not bears(os.getpid(), 0)


def test_marks_differ_and_are_the_folders_own() -> None:
    """However the folder is reached."""
    assert mark_of(f"/some/where/job-1-0123abcd-{'ab' * 16}") == MARK
    assert mark_of(f"job-1-0123abcd-{'ac' * 16}") != MARK


def test_what_a_marked_process_starts_is_marked() -> None:
    """Over fork, session and exec; this process is not, nor does anything bear another mark."""
    with started() as process:
        put(process.pid, MARK)
        assert (bears(process.pid, MARK), bears(process.pid, MARK + 1), bears(os.getpid(), MARK)) == (
            True,
            False,
            False,
        )
        told, _ = process.communicate(b"\n")
        assert told.split()[3] == str(MARK).encode()
        assert not bears(process.pid, MARK)


def test_what_is_started_at_first_has_the_draft() -> None:
    """It is an attempt's if it came after the leader, and of another session than this process's."""
    with WearingDraft(MARK), started() as process:
        pid, here = process.pid, os.getsid(0)
        assert drafted(pid, pid, MARK, pid - 1, here)
        assert not drafted(pid, here, MARK, pid - 1, here)
        assert not drafted(pid, pid, MARK, pid + 1, here)
        assert not drafted(pid, pid, MARK + 1, pid - 1, here)
        assert not bears(pid, MARK)
        put(pid, MARK)
        assert bears(pid, MARK)
        assert not drafted(pid, pid, MARK, pid - 1, here)


def test_this_process_wears_nothing_afterwards() -> None:
    """Not even when the start failed."""
    before = resource.prlimit(0, 10)
    with pytest.raises(FileNotFoundError), WearingDraft(MARK):
        subprocess.Popen(["no-such-program"])
    assert resource.prlimit(0, 10) == before


def test_a_process_that_is_gone_is_passed_over() -> None:
    """It may have ended, and been reaped, before."""
    with subprocess.Popen(["true"]) as process:
        process.wait()
    put(process.pid, MARK)
    assert not bears(process.pid, MARK)
