"""Folders of attempts that ended well, emptied and kept for the next ones.

Making and removing the eight folders of an attempt takes longer than a tiny module does. So the folder of a process
that left nothing odd behind is emptied and renamed, to be renamed again when an attempt begins. One that is not just as
it was made is deleted instead. A spare has the name of an attempt that never was, so the recovery of a dead maker's
folders removes its spares too.
"""

import os
import secrets
from collections.abc import Callable
from pathlib import Path

from ion.adapters.executors.local.recovery import delete

DIRECTORY, SCRATCH = "ion", "scratch"

_KEPT = 16
_FILES_MOST = 64


class Spares:
    """The spare folders of one executor. `clear` empties a module's directory, or says that it cannot be used again."""

    def __init__(self, work: Path, maker: str, clear: Callable[[str], bool]) -> None:
        self._work = work
        self._maker = maker
        self._clear = clear
        self._free: list[str] = []

    def take(self, folder: Path) -> bool:
        """Makes a spare the folder of an attempt; False if there is none."""
        while self._free:
            try:
                os.rename(self._free.pop(), folder)  # noqa: PTH104 - on every job's way
            except FileNotFoundError:  # somebody tidied up
                continue
            return True
        return False

    def give(self, folder: Path) -> bool:
        """Empties the folder and keeps it; False if it has to be deleted."""
        if len(self._free) >= _KEPT or not _emptied(str(folder)) or not self._clear(f"{folder}/{DIRECTORY}"):
            return False
        spare = f"{self._work}/spare-0-{self._maker}-{secrets.token_hex(4)}"
        os.rename(folder, spare)  # noqa: PTH104 - as above
        self._free.append(spare)
        return True

    def close(self) -> None:
        while self._free:
            delete(Path(self._free.pop()))


def _emptied(folder: str) -> bool:
    """Removes the files beside the module's directory, and in its scratch folder if there is nothing but files."""
    try:
        scratch = [f"{SCRATCH}/{name}" for name in os.listdir(f"{folder}/{SCRATCH}")]  # noqa: PTH208 - as above
        beside = [name for name in os.listdir(folder) if name not in (DIRECTORY, SCRATCH)]  # noqa: PTH208
        if len(scratch) > _FILES_MOST:
            return False
        for name in (*scratch, *beside):
            os.unlink(f"{folder}/{name}")  # noqa: PTH108 - refuses a folder, which is none of ours
    except OSError:
        return False
    return True
