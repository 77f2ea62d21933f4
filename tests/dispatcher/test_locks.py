"""The lock by which a dispatcher's life is told on its own host."""

import asyncio
from pathlib import Path

import pytest

from ion.dispatcher.ownership import LockFile, lock_is_free
from ion.testing.conformance.elsewhere import running

PATIENCE_S = 120.0
HOLDS = """
import sys, time
from pathlib import Path
from ion.dispatcher.ownership import LockFile
with LockFile(Path({lock!r})):
    print("locked", flush=True)
    time.sleep(1000)
"""


def test_a_lock_is_held_while_its_context_is_open(tmp_path: Path) -> None:
    """Its folder is made when missing; afterwards the file is gone, and so is the lock."""
    lock = tmp_path / "run" / "one.lock"
    with LockFile(lock):
        assert not lock_is_free(lock)
        assert lock.exists()
    assert not lock.exists()
    assert lock_is_free(lock)


def test_asking_takes_nothing(tmp_path: Path) -> None:
    """A free lock is free for the next who asks, and can be taken; the file of a dead one stays where it is."""
    lock = tmp_path / "one.lock"
    lock.touch()
    assert lock_is_free(lock)
    assert lock_is_free(lock)
    assert lock.exists()
    with LockFile(lock):
        assert not lock_is_free(lock)


def test_a_missing_file_is_a_lock_that_was_let_go(tmp_path: Path) -> None:
    """Whoever wrote its name down held it then, and removed the file when it ended."""
    assert lock_is_free(tmp_path / "gone.lock")


def test_locks_are_independent(tmp_path: Path) -> None:
    """Two dispatchers of one store hold one each; the end of one is not that of the other."""
    one, other = tmp_path / "one.lock", tmp_path / "other.lock"
    with LockFile(one):
        with LockFile(other):
            assert not lock_is_free(one)
        assert lock_is_free(other)
        assert not lock_is_free(one)


def test_the_lock_is_let_go_by_an_error_too(tmp_path: Path) -> None:
    """However the context is left."""
    lock = tmp_path / "one.lock"
    with pytest.raises(RuntimeError), LockFile(lock):
        raise RuntimeError
    assert lock_is_free(lock)


async def test_the_kernel_lets_go_of_a_killed_process_lock(tmp_path: Path) -> None:
    """While the process lives it is held for everybody; after SIGKILL it is free, its file left behind."""
    lock = tmp_path / "one.lock"
    async with asyncio.timeout(PATIENCE_S), running(HOLDS.format(lock=str(lock))) as output:
        assert await output.readline() == b"locked\n"
        assert not lock_is_free(lock)
    assert lock.exists()
    assert lock_is_free(lock)
