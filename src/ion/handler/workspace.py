"""The directory that a module sees: its layout, its modes and the variables that name it.

`out/` may be written to by any user, for a container runs as whoever its image says; what keeps others out is the
folder above, which is the executor's. `in/` is readable by all.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import msgspec

from ion.errors import ExistsError, UnavailableError
from ion.messaging import codec, trace
from ion.model.event import Event
from ion.model.record import key_values
from ion.ports.executor import Assignment

IN_DATA = "in/data"
OUT_DATA = "out/data"
OUT_EVENTS = "out/events"
INSIGHTS = "out/insights.json"

_READ = 0o755
_WRITE = 0o777
_FOLDERS = (("", _READ), ("in", _READ), (IN_DATA, _READ), ("out", _WRITE), (OUT_DATA, _WRITE), (OUT_EVENTS, _WRITE))


def build(directory: Path, event: Event) -> None:
    """Makes the directory, without the event's files but with room for them. Raises ExistsError, UnavailableError."""
    with disk_faults(directory):
        try:
            directory.mkdir()
        except FileExistsError as error:
            raise ExistsError(
                f"the job's directory {directory} exists already: each attempt needs a new one"
            ) from error
        for name, mode in _FOLDERS:
            _folder(directory / name, mode)
        for name in _parents(file.path for file in event.files):
            _folder(directory / IN_DATA / name, _READ)
        _document(directory / "in/eventmeta.json", msgspec.json.encode(key_values(event.data)))
        _document(directory / "in/event.json", codec.encode(event))


def environment(assignment: Assignment, sees: str) -> Mapping[str, str]:
    """The variables of the module contract. `sees` is the directory as the module knows it."""
    job, event = assignment.job, assignment.job.event
    return {
        "ION_DIR": sees,
        "HANDLER_BASE_DIR": sees,
        "ION_EVENT_ID": event.id,
        "ION_CORRELATION_ID": event.correlation_id,
        "ION_PARENT_EVENT_ID": event.parent_id,
        "ION_MODULE": assignment.revision.module.name,
        "ION_ATTEMPT": str(job.attempt),
        "TRACEPARENT": trace.child(event.traceparent, job.id),
        "SHARED_SECRET": os.urandom(16).hex(),  # modules of the original read these two; nothing listens any more
        "HANDLER_PORT": "0",
    }


@contextmanager
def disk_faults(directory: Path) -> Iterator[None]:
    """What the operating system refuses in a job's directory is the host's fault, not the module's."""
    try:
        yield
    except OSError as error:
        reason = f"{error.strerror or error} ({error.filename})" if error.filename else str(error)
        raise UnavailableError(f"the job's directory {directory} cannot be used: {reason}") from error


def _folder(folder: Path, mode: int) -> None:
    folder.mkdir(exist_ok=True)
    folder.chmod(mode)  # whatever the umask is


def _document(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    file.chmod(0o644)


def _parents(paths: Iterable[str]) -> list[str]:
    """Every folder that these paths need, outer ones first."""
    folders = {str(parent) for path in paths if "/" in path for parent in PurePosixPath(path).parents}
    return sorted(folders - {"."})
