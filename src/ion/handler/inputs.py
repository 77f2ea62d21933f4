"""The inputs of a job: what was brought into `in/data`, and recognising it in `out/`.

A module passes an input on without copying it: by `inputs` in an event file, by a symbolic link or by a hard link. All
three come to the same: the new event names the stored blob, with the hash it has. That is right only while the input is
what was prepared: the executor may have put a true copy in its place, the module may have changed it. A small file is
hashed to find out. For a large one prepare notes its identity, so that passing on a video does not mean reading it.
"""

import os
import stat
from contextlib import suppress
from functools import cached_property
from pathlib import Path

import msgspec

from ion.errors import ContractError, UnavailableError
from ion.handler.paths import clash_of, fault_in, shown
from ion.handler.reading import HASH_INLINE, sha256
from ion.handler.workspace import IN_DATA, disk_faults
from ion.model.event import Event, FileRef


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """A file of `in/data` as prepare left it: its identity, `size` in bytes and time of change in nanoseconds."""

    path: str
    device: int
    inode: int
    size: int
    modified_ns: int

    def is_still(self, info: os.stat_result) -> bool:
        # An inode is used again as soon as it is free: the time tells a new file from the old one.
        return (self.device, self.inode, self.size, self.modified_ns) == _identity(info)


def check(event: Event) -> None:
    """Refuses with ContractError an event whose files cannot lie side by side in one folder."""
    for file in event.files:
        if fault := fault_in(file.path):
            raise ContractError(f"the event {event.id} brings the file '{shown(file.path)}', but {fault}")
    if clash := clash_of(file.path for file in event.files):
        raise ContractError(f"the event {event.id} brings {clash}: rename one of them where it is raised")


def note(directory: Path, event: Event) -> None:
    """Keeps beside the directory what its large inputs are, for a commit in this process or another."""
    if large := _large(event):
        with disk_faults(directory):
            _beside(directory).write_bytes(msgspec.json.encode([_prepared(directory, path) for path in large]))


def forget(directory: Path) -> None:
    """Removes that note, where nobody needs it: a commit hashes large inputs then, if they are passed on."""
    _beside(directory).unlink(missing_ok=True)


class Inputs:
    """The event's files, by path and by the identity that they have in `in/data`."""

    def __init__(self, directory: Path, event: Event) -> None:
        self._directory = directory
        self._refs = {file.path: file for file in event.files}
        self._noted = {prepared.path: prepared for prepared in _recall(directory)} if _large(event) else {}
        self._noted_inodes = {(noted.device, noted.inode): noted for noted in self._noted.values()}

    @property
    def paths(self) -> frozenset[str]:
        return frozenset(self._refs)

    async def linked(self, info: os.stat_result) -> FileRef | None:
        """The input that a file is, unchanged, whatever name it has now; None for a file of the module's own."""
        noted = self._noted_inodes.get((info.st_dev, info.st_ino))
        if noted and noted.is_still(info):
            return self._refs.get(noted.path)
        if info.st_nlink == 1:
            return None
        ref = self._inodes.get((info.st_dev, info.st_ino))
        return ref if ref is not None and await self._unchanged(ref) else None

    @cached_property
    def _inodes(self) -> dict[tuple[int, int], FileRef]:
        """The inputs that are still in their place, by device and inode."""
        present = {}
        for ref in self._refs.values():
            with suppress(FileNotFoundError, NotADirectoryError):
                info = (self._directory / IN_DATA / ref.path).lstat()
                present[info.st_dev, info.st_ino] = ref
        return present

    async def forward(self, path: str, by: str) -> FileRef | None:
        """The input to pass on, None if there is none of that path. Raises ContractError if the module changed it.

        Args:
            path: Below `in/data`.
            by: The file that asks for it, for the message.
        """
        ref = self._refs.get(path)
        if ref is not None and not await self._unchanged(ref):
            raise ContractError(
                f"{by} passes on {IN_DATA}/{shown(path)}, which the module changed: write what is new to out/data"
            )
        return ref

    async def _unchanged(self, ref: FileRef) -> bool:
        file = self._directory / IN_DATA / ref.path
        try:
            info = file.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return True  # deleted here, but stored all the same
        noted = self._noted.get(ref.path)
        if noted and noted.is_still(info):
            return True
        if not stat.S_ISREG(info.st_mode) or info.st_size != ref.size:
            return False
        return await sha256(os.fspath(file), info.st_size, f"{IN_DATA}/{ref.path}") == ref.sha256


def _large(event: Event) -> list[str]:
    """The paths of the inputs that are noted."""
    return [file.path for file in event.files if file.size > HASH_INLINE or not file.sha256]


def _beside(directory: Path) -> Path:
    return directory.with_name(f"{directory.name}.inputs.json")


def _recall(directory: Path) -> list[Prepared]:
    try:
        return msgspec.json.decode(_beside(directory).read_bytes(), type=list[Prepared])
    except FileNotFoundError:
        return []
    except (OSError, msgspec.MsgspecError) as error:
        raise UnavailableError(
            f"{_beside(directory)}, the note of the job's inputs, cannot be read: {error}"
        ) from error


def _prepared(directory: Path, path: str) -> Prepared:
    device, inode, size, modified_ns = _identity((directory / IN_DATA / path).lstat())
    return Prepared(path=path, device=device, inode=inode, size=size, modified_ns=modified_ns)


def _identity(info: os.stat_result) -> tuple[int, int, int, int]:
    return info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns
