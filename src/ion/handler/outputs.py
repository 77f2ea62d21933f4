"""The files that a module left in `out/data`: found, judged and told apart, without opening one.

A regular file is stored. A symbolic link to a file of `in/data`, and a hard link to one, pass that input on. Everything
else is refused: a link elsewhere would carry foreign files into the store, or into the next module; one from link to
link, or to a folder, says less clearly what is meant than a link to each file. Empty folders are not kept.

What else lies in `out/` is the module's own affair, and is lost.
"""

import asyncio
import os
import posixpath
import stat
from collections.abc import AsyncIterator, Iterator

import msgspec

from ion.errors import ContractError
from ion.handler.inputs import Inputs
from ion.handler.paths import fault_in, shown
from ion.handler.reading import enter, folder_exists, kind, listed
from ion.handler.workspace import IN_DATA, OUT_DATA
from ion.model.event import FileRef

_TURN = 256


class Output(msgspec.Struct, frozen=True, kw_only=True):
    """A file of `out/data` by its path there: to be stored, or the input `forwards` under a new name."""

    path: str
    size: int
    forwards: FileRef | None = None


async def scan(directory: str, sees: str, inputs: Inputs) -> AsyncIterator[Output]:
    """Every file of `out/data`. Raises ContractError for what is not allowed there.

    `sees` is the path under which the module knew the directory: absolute links begin with it.
    """
    if not folder_exists(directory, OUT_DATA):
        return
    for count, (path, info) in enumerate(_entries(f"{directory}/{OUT_DATA}"), 1):
        if count % _TURN == 0:
            await asyncio.sleep(0)
        ref: FileRef | None
        if stat.S_ISREG(info.st_mode):
            ref = await inputs.linked(info)
        elif stat.S_ISLNK(info.st_mode):
            ref = await _behind(directory, sees, path, inputs)
        else:
            raise ContractError(
                f"{OUT_DATA}/{shown(path)} is {kind(info)}: only files and links to {IN_DATA} can be kept"
            )
        yield Output(path=path, size=ref.size if ref else info.st_size, forwards=ref)


def _entries(top: str) -> Iterator[tuple[str, os.stat_result]]:
    """What lies below a folder and is not a folder, by its path from there."""
    folders = [""]
    while folders:
        folder = folders.pop()
        with listed(f"{top}/{folder}", f"{OUT_DATA}/{folder}") as entries:
            for entry in entries:
                path = f"{folder}/{entry.name}" if folder else entry.name
                if fault := fault_in(path):
                    raise ContractError(f"{OUT_DATA}/{shown(path)} cannot be kept: {fault}")
                info = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(info.st_mode):
                    enter(f"{top}/{path}", info)
                    folders.append(path)
                else:
                    yield path, info


async def _behind(directory: str, sees: str, path: str, inputs: Inputs) -> FileRef:
    """The input that a symbolic link names."""
    name = f"{OUT_DATA}/{path}"
    target = os.readlink(f"{directory}/{name}")  # noqa: PTH115 - a string
    inside = _inside(directory, sees, posixpath.join(sees, posixpath.dirname(name), target))
    ref = None
    if inside.startswith(f"{IN_DATA}/"):
        ref = await inputs.forward(inside.removeprefix(f"{IN_DATA}/"), f"{OUT_DATA}/{shown(path)}")
    if ref is None:
        where = f"{OUT_DATA}/{shown(path)}"
        raise ContractError(
            f"{where} is a link to '{shown(target)}': only links to single files of {IN_DATA} can be passed on"
        )
    return ref


def _inside(directory: str, sees: str, target: str) -> str:
    """A target as a path within the directory, by its text alone; empty if it leads elsewhere."""
    plain = posixpath.normpath(target)
    for base in (sees, directory, os.path.realpath(directory)):
        inside = plain.removeprefix(f"{posixpath.normpath(base)}/")
        if inside != plain:
            return inside
    return ""
