"""The files that a root event brings along: are their names safe, and how they get into the blob store.

Names come from strangers. They become paths below `in/data` of a module's directory, so a name is refused rather than
mended: two names that were mended alike would hide one another.
"""

import asyncio
import contextlib
import hashlib
import os
import stat
import unicodedata
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec

from ion.errors import ConflictError, InvalidError, UnavailableError
from ion.model.event import FileRef
from ion.ports.blobs import Blobs

T = TypeVar("T")

AT_ONCE = 8
HASHED_INLINE = 256 * 1024
"""A file of so many bytes is hashed within a millisecond; a larger one in a thread, so that the loop goes on."""
NAME_LIMIT = 1024
UNFIT = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode's controls, lone surrogates, line and paragraph separators."""


class RootFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file to raise an event with. `name` is its path below `in/data`, with forward slashes.

    `temporary`: the file is given up, so the store may take it instead of a copy.
    """

    name: str
    file: Path
    temporary: bool = False


def is_plain(text: str) -> bool:
    """Whether a person may be shown the text: no control characters, no broken ones."""
    return text.isprintable() or not any(unicodedata.category(character) in UNFIT for character in text)


def check_files(files: Sequence[RootFile]) -> None:
    """Raises InvalidError if a name is unsafe, given twice, or names a folder of another's."""
    folders: set[str] = set()
    for file in files:
        parts = check_name(file.name).split("/")
        folders.update("/".join(parts[:depth]) for depth in range(1, len(parts)))
    seen: set[str] = set()
    for file in files:
        if file.name in seen or file.name in folders:
            raise InvalidError(f"the file name {file.name!r} is given twice: name each file differently")
        seen.add(file.name)


def check_name(name: str) -> str:
    """Raises InvalidError unless the name is a safe relative path: `photo.jpg`, `clips/a b.mp4`."""
    parts = name.split("/")
    sizes = [len(part.encode(errors="replace")) for part in parts]
    unsafe = any(part in {"", ".", ".."} for part in parts) or "\\" in name or not is_plain(name)
    if unsafe or max(sizes) > 255 or sum(sizes) > NAME_LIMIT:
        raise InvalidError(
            f"the file name {name[:60]!r} cannot be used: give a relative path without '.', '..', backslashes "
            f"and control characters, of at most {NAME_LIMIT} bytes, 255 each part"
        )
    return name


async def store_files(files: Sequence[RootFile], prefix: str, blobs: Blobs) -> tuple[FileRef, ...]:
    """Stores the files below `prefix`/data, several at once; in the order given.

    Raises:
        InvalidError: there is no such file. ConflictError: it changed while it was being read.
    """
    return tuple(await gathered([partial(_store, file, prefix, blobs) for file in files]))


async def _store(root: RootFile, prefix: str, blobs: Blobs) -> FileRef:
    file = root.file.resolve()  # a store takes no symlinks; a person may well name one
    before = seen(file)
    digest = await _digest(file, before.st_size)
    blob = f"{prefix}data/{root.name}"
    await blobs.put(blob, file, move=root.temporary)
    if not root.temporary and _mark(before) != _mark(seen(file)):
        raise ConflictError(f"the file {file} changed while it was being read: raise the event again")
    return FileRef(path=root.name, blob=blob, size=before.st_size, sha256=digest)


def seen(file: Path) -> os.stat_result:
    """How a file stands. Raises InvalidError if it cannot be read, or is none."""
    try:
        found = file.stat()
    except OSError as error:
        raise InvalidError(f"the file {file} cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(found.st_mode):
        raise InvalidError(f"{file} is not a regular file: an event carries files only")
    return found


def _mark(seen: os.stat_result) -> tuple[int, int]:
    return seen.st_size, seen.st_mtime_ns


async def _digest(file: Path, size: int) -> str:
    try:
        return _sha256(file) if size <= HASHED_INLINE else await asyncio.to_thread(_sha256, file)
    except OSError as error:
        raise InvalidError(f"the file {file} cannot be read: {error.strerror}") from error


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


async def gathered(works: Sequence[Callable[[], Awaitable[T]]]) -> list[T]:
    """The results of all, in order, a few at a time. The first error ends the others and is raised."""
    results: dict[int, T] = {}
    queue = iter(enumerate(works))
    if len(works) == 1:
        return [await works[0]()]
    try:
        async with asyncio.TaskGroup() as group:
            for number in range(min(AT_ONCE, len(works))):
                group.create_task(_work(queue, results), name=f"root-event-{number}")
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from errors
    return [results[index] for index in range(len(works))]


async def _work(queue: Iterator[tuple[int, Callable[[], Awaitable[T]]]], results: dict[int, T]) -> None:
    for index, work in queue:
        results[index] = await work()


async def sweep(prefix: str, blobs: Blobs) -> None:
    """Removes an execution that no row names, as far as the store answers: what stays is invisible."""
    with contextlib.suppress(UnavailableError):
        await blobs.delete(prefix)
