"""A folder for logs while they grow: one process's own, and gone after it, however that ends."""

import contextlib
import fcntl
import os
import shutil
from pathlib import Path

from ion.errors import UnavailableError
from ion.model.ids import new_id


class LogFolder:
    """Below `within`. Its process holds a lock on it while it lives; what has none is removed by the next that opens.

    Where the file system knows no locks, what a killed process left stays.
    """

    def __init__(self, within: Path) -> None:
        self._within = within.absolute()
        self._held: int | None = None
        self.path = self._within

    def open(self) -> None:
        """Raises UnavailableError: it cannot be made."""
        try:
            self._within.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._clear()
            while self._held is None:
                self._make()
        except OSError as error:
            raise UnavailableError(f"no folder for logs can be made in {self._within}: {error.strerror}") from error

    def close(self) -> None:
        if self._held is not None:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(self._held)
            self._held = None

    def _make(self) -> None:
        """Another process may take it for left behind before it is locked."""
        self.path = self._within / new_id()[:8]
        self.path.mkdir(mode=0o700)
        with contextlib.suppress(FileNotFoundError):
            held = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
            with contextlib.suppress(OSError):
                fcntl.flock(held, fcntl.LOCK_EX)
            if self.path.exists():
                self._held = held
            else:
                os.close(held)

    def _clear(self) -> None:
        for folder in self._within.iterdir():
            with contextlib.suppress(OSError):  # it is held, or gone
                found = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
                try:
                    fcntl.flock(found, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder, ignore_errors=True)
                finally:
                    os.close(found)
