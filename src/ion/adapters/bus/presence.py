"""Who is alive, told by the kernel: a process holds a file locked for as long as it lives, however it ends.

Each open bus locks a file of its own in a folder beside the database. Whoever can lock that file knows that its owner
is gone, at once after a SIGKILL and without a clock. The file is locked before anybody is told its name, so a missing
file means gone too. In memory all receivers are in this process, and present until they are closed.
"""

import fcntl
import os
import uuid
from pathlib import Path

from ion.errors import UnavailableError


class Presence:
    """The lock of one bus. `database` is the database's file, None for one in memory."""

    def __init__(self, database: Path | None) -> None:
        self._folder = None if database is None else database.with_name(f"{database.name}.receivers")
        self._file = -1
        self.name = ""

    def show(self) -> str:
        """Takes the lock, if it is not held yet, and gives its name. Raises UnavailableError."""
        if not self.name:
            self.name = uuid.uuid4().hex if self._folder is None else self._locked_name(self._folder)
        return self.name

    def hide(self) -> None:
        """Gives the lock up, and with it everything that is still in its name."""
        if self._folder is not None and self.name:
            (self._folder / self.name).unlink(missing_ok=True)
            os.close(self._file)
        self.name, self._file = "", -1

    def gone(self, name: str) -> bool:
        """Whether the holder of that lock, not this one, has died or closed."""
        return self._folder is not None and _removed(self._folder / name)

    def _locked_name(self, folder: Path) -> str:
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            for path in folder.iterdir():
                _removed(path)
            while True:
                path = folder / uuid.uuid4().hex
                self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                if _locked(self._file) and path.exists():  # nobody removed it before it was locked
                    return path.name
                os.close(self._file)
        except OSError as error:
            raise UnavailableError(
                f"the folder {folder} cannot be used ({error.strerror}); give this user write permission on it"
            ) from error


def _removed(path: Path) -> bool:
    """Removes a lock that nobody holds; while it is held here, since its owner may be just about to lock it."""
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    except PermissionError:
        return False  # another user's: nothing is known of it, so nothing is taken from it
    try:
        if not _locked(file):
            return False
        path.unlink(missing_ok=True)
    finally:
        os.close(file)
    return True


def _locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
