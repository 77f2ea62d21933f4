"""The folders of a store: they come and go with the blobs in them, under several processes' hands at once.

A folder that is being filled may be removed by another's clearing up while it is still empty. So nothing here takes a
folder for granted: what is missing is made again, what is gone was removed, what is not empty stays.
"""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path


def make(folder: str, root: str) -> None:
    """Makes the folders down to `folder`, below a `root/` that exists. Some may be gone again on return: try again.

    The root itself is never made: where it is missing, its disk may just not be mounted.
    """
    with suppress(FileNotFoundError):  # mostly all but the last one are there
        with suppress(FileExistsError):
            os.mkdir(folder, 0o755)  # noqa: PTH102 - strings here, since each small blob may come by
        return
    if not os.path.isdir(root):  # noqa: PTH112 - as above
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), root)
    place = root.rstrip("/")
    for part in folder[len(root) :].split("/"):
        place = f"{place}/{part}"
        with suppress(FileExistsError, FileNotFoundError):
            os.mkdir(place, 0o755)  # noqa: PTH102 - as above


def walk(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """The files below a folder, by their path from there; what vanishes meanwhile is left out."""
    start = len(str(folder)) + 1
    folders = [str(folder)]
    while folders:
        with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                    continue
                with suppress(FileNotFoundError):
                    yield entry.path[start:], entry.stat(follow_symlinks=False)


def clear(folder: Path, kept: Callable[[str], bool]) -> int:
    """Removes the files below a folder except those kept, then the folders that are empty. Returns how many files."""
    removed = 0
    folders = [str(folder)]
    for known in folders:  # grows while it is walked: parents come before their children
        with suppress(FileNotFoundError, NotADirectoryError), os.scandir(known) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                elif not kept(entry.path):
                    removed += _unlinked(entry.path)
    for known in reversed(folders):
        _emptied(Path(known))
    return removed


def prune(folder: Path, top: Path) -> None:
    """Removes a folder and those above it, as long as they are empty and below `top`."""
    while folder != top and top in folder.parents and _emptied(folder):
        folder = folder.parent


def _unlinked(file: str) -> bool:
    try:
        Path(file).unlink()
    except FileNotFoundError:
        return False
    return True


def _emptied(folder: Path) -> bool:
    """Whether a folder was empty and is gone now, by us or by another."""
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            return False
        raise
    return True
