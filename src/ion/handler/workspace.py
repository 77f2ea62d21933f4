"""The directory that a module sees: its layout and its modes.

`out/` may be written to by any user, for a container runs as whoever its image says; what keeps others out is the
folder above, which is the executor's. `in/` is readable by all.
"""

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

import msgspec

from ion.errors import ExistsError, UnavailableError
from ion.messaging import codec
from ion.model.event import Event
from ion.model.record import key_values

IN_DATA = "in/data"
OUT_DATA = "out/data"
OUT_EVENTS = "out/events"
INSIGHTS = "out/insights.json"

_READ = 0o755
_WRITE = 0o777
_FOLDERS = {"": _READ, "in": _READ, IN_DATA: _READ, "out": _WRITE, OUT_DATA: _WRITE, OUT_EVENTS: _WRITE}
_INSIDE = {
    name: {other.rpartition("/")[2] for other in _FOLDERS if other and other.rpartition("/")[0] == name}
    for name in _FOLDERS
}
_DOCUMENTS = ("eventmeta.json", "event.json")
_CLEARED_MOST = 256
"""Files: as many are removed at once, in a few milliseconds."""


def build(directory: Path, event: Event, *, cleared: bool = False) -> None:
    """Makes the directory, without the event's files but with room for them. Raises ExistsError, UnavailableError.

    With `cleared` its folders are there already, and its documents perhaps, to be written anew.
    """
    with disk_faults(directory):
        top = os.fspath(directory)
        if not cleared:
            _make(top)
        for name in _parents(file.path for file in event.files):
            _folder(f"{top}/{IN_DATA}/{name}", _READ)
        for name, content in zip(
            _DOCUMENTS, (msgspec.json.encode(key_values(event.data)), codec.encode(event)), strict=True
        ):
            if not (cleared and _rewritten(f"{top}/in/{name}", content)):
                _written(f"{top}/in/{name}", content)


def _make(top: str) -> None:
    try:
        os.mkdir(top)  # noqa: PTH102 - strings here and below: this is on every job's way
    except FileExistsError as error:
        raise ExistsError(f"the job's directory {top} exists already: each attempt needs a new one") from error
    for name, mode in _FOLDERS.items():
        _folder(f"{top}/{name}" if name else top, mode)


def clear(directory: str) -> bool:
    """Empties a directory for another attempt. False, with some of it gone perhaps, if it is not as it was made.

    The documents of `in/` stay, if they are, for the next ones to be written over them: files are dear to make.
    """
    room = _CLEARED_MOST
    try:
        for name, mode in _FOLDERS.items():
            folder = f"{directory}/{name}" if name else directory
            if os.lstat(folder).st_mode != stat.S_IFDIR | mode:
                return False
            files = [file for file in os.listdir(folder) if file not in _INSIDE[name]]  # noqa: PTH208 - as above
            room -= len(files)
            if room < 0:
                return False
            for file in files:
                if not (name == "in" and file in _DOCUMENTS and _as_made(f"{folder}/{file}")):
                    os.unlink(f"{folder}/{file}")  # noqa: PTH108 - refuses a folder, which is none of ours
    except OSError:  # a folder is missing or closed, a file cannot be removed
        return False
    return True


def _as_made(file: str) -> bool:
    """Whether nobody did anything to a document but write to it."""
    info = os.lstat(file)
    return info.st_mode == stat.S_IFREG | 0o644 and info.st_nlink == 1 and info.st_uid == os.geteuid()


@contextmanager
def disk_faults(directory: Path) -> Iterator[None]:
    """What the operating system refuses in a job's directory is the host's fault, not the module's."""
    try:
        yield
    except OSError as error:
        reason = f"{error.strerror or error} ({error.filename})" if error.filename else str(error)
        raise UnavailableError(f"the job's directory {directory} cannot be used: {reason}") from error


def _folder(folder: str, mode: int) -> None:
    with suppress(FileExistsError):
        os.mkdir(folder)  # noqa: PTH102
    os.chmod(folder, mode)  # noqa: PTH101 - whatever the umask is


def _written(file: str, content: bytes) -> None:
    descriptor = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644)
    try:
        os.fchmod(descriptor, 0o644)
        _fill(descriptor, content)
    finally:
        os.close(descriptor)


def _rewritten(file: str, content: bytes) -> bool:
    """Writes over a document that `clear` left; False if it left none."""
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        _fill(descriptor, content)
        os.ftruncate(descriptor, len(content))
    finally:
        os.close(descriptor)
    return True


def _fill(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def _parents(paths: Iterable[str]) -> list[str]:
    """Every folder that these paths need, outer ones first."""
    folders = {str(parent) for path in paths if "/" in path for parent in PurePosixPath(path).parents}
    return sorted(folders - {"."})
